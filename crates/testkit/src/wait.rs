//! Waiting for what must come, by looking.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to wait for what must come: an end of waiting, not a measure of speed.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks until the answer is there, at most for [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if start.elapsed() > PATIENCE {
            bail!("waited {} s in vain: {what}", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Looks until it is so, at most for [`PATIENCE`].
pub fn wait_until(what: &str, mut look: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, || look().then_some(()))
}
