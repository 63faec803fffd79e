//! Time by which leadership and patience are judged.

use std::time::Duration;

/// Time since the machine was started, including the time that it slept: a hub that slept must know that its lease ran
/// out meanwhile.
pub type Moment = Duration;

/// Now.
#[must_use]
pub fn now() -> Moment {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Now, for people and for the API (RFC 3339).
#[must_use]
pub fn wall() -> String {
    jiff::Timestamp::now().to_string()
}
