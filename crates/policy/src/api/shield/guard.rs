//! The flood guard as people write it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rule::Rate;
use crate::shield::guard::{Blocking, Guard, GuardError, HalfOpen, PacketRate};
use crate::span::Span;

/// What the flood guard is to do. What is missing is off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardSpec {
    /// What a source (IPv4 address, IPv6 /64) may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<RateSpec>,
    /// SYNs that a destination (address and port) may get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn: Option<RateSpec>,
    /// Handshakes with a destination that may stay unfinished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_open: Option<HalfOpenSpec>,
    /// How sources over their limit are blocked; none: they are limited only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockingSpec>,
    /// Answer SYNs of a flood by SYN cookies, without state (XDP, Linux 6.0): for servers on this machine, whose
    /// `net.ipv4.tcp_syncookies` is 2.
    #[serde(skip_serializing_if = "is_false")]
    pub syn_cookies: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A rate of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateSpec {
    /// In the long run, such as `10kpps`.
    #[schema(value_type = String)]
    pub rate: Rate,
    /// Packets at once; none: those of two seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub burst: Option<u64>,
}

/// Which share of handshakes may stay unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HalfOpenSpec {
    /// Percent, 0 to 99.
    pub percent: u8,
    /// So many must have begun within the window for it to count.
    #[serde(default = "two_hundred")]
    pub least: u32,
    /// The window.
    #[serde(default = "second")]
    pub window: Span,
}

const fn two_hundred() -> u32 {
    200
}

const fn second() -> Span {
    Span::from_secs(1)
}

/// How sources are blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockingSpec {
    /// Packets over the limit, one after the other, that are one too many.
    #[serde(default = "hundred")]
    pub strikes: u32,
    /// How long the first time; twice as long each time after.
    pub first: Span,
    /// The longest; none: a day.
    #[serde(default = "day")]
    pub longest: Span,
    /// How long a source must behave for its offences to be forgotten.
    #[serde(default = "hour")]
    pub forget: Span,
    /// Only sources that have proved that they are real.
    #[serde(default)]
    pub strict: bool,
    /// Sources that may be blocked at once.
    #[serde(default = "most")]
    pub most: u32,
}

const fn hundred() -> u32 {
    100
}

const fn hour() -> Span {
    Span::from_secs(3600)
}

const fn day() -> Span {
    Span::from_millis(86_400_000)
}

const fn most() -> u32 {
    4096
}

impl GuardSpec {
    /// The guard that is compiled, if this is one.
    pub fn guard(&self) -> Result<Guard, GuardError> {
        let rate = |spec: RateSpec| match spec.rate {
            Rate { bytes: true, .. } => Err(GuardError::Bytes),
            Rate { per_second, .. } => {
                let burst = spec.burst.unwrap_or_else(|| per_second.saturating_mul(2));
                Ok(PacketRate { per_second, burst })
            }
        };
        let guard = Guard {
            source: self.source.map(rate).transpose()?,
            syn: self.syn.map(rate).transpose()?,
            half_open: self.half_open.map(|share| HalfOpen {
                percent: share.percent,
                least: share.least,
                window: share.window,
            }),
            block: self.block.map(|block| Blocking {
                strikes: block.strikes,
                first: block.first,
                longest: block.longest,
                forget: block.forget,
                strict: block.strict,
                most: block.most,
            }),
            cookies: self.syn_cookies,
        };
        guard.compile()?;
        Ok(guard)
    }
}

/// `GET /api/v1/shield/guard`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuardView {
    /// What it is to do; none: it is off.
    pub guard: Option<GuardSpec>,
    /// Sources that are blocked now.
    pub blocked: Vec<BlockedSource>,
    /// What it never blocks, and why.
    pub protected: Vec<String>,
}

/// A source that is blocked for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlockedSource {
    /// Its address, of IPv6 the /64.
    pub source: String,
    /// What for: a drop reason.
    pub reason: String,
    /// Since when (RFC 3339).
    pub since: String,
    /// Until when (RFC 3339).
    pub until: String,
    /// Blocks one after the other, this one included.
    pub offences: u32,
}
