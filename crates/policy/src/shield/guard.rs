//! The flood guard: what a person says, and what the kernel programs are told.

use std::time::Duration;

use portcullis_abi::shield::guard::GuardConfig;
use portcullis_abi::shield::rules::TICKS_PER_NS;
use thiserror::Error;

use crate::span::Span;

/// A rate of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketRate {
    /// In the long run.
    pub per_second: u64,
    /// At once.
    pub burst: u64,
}

/// What a guard is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What a source (IPv4 address, IPv6 /64) may send; nothing: no limit, and nobody is blocked.
    pub source: Option<PacketRate>,
    /// SYNs that a destination (address and port) may get.
    pub syn: Option<PacketRate>,
    /// Handshakes with a destination that may stay unfinished.
    pub half_open: Option<HalfOpen>,
    /// How a source that goes over its limit is blocked; nothing: it is limited only.
    pub block: Option<Blocking>,
    /// SYNs of a flood are answered without state, by cookies (XDP, Linux 6.0); what answers to one is real.
    pub cookies: bool,
}

/// Which share of handshakes may stay unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfOpen {
    /// Percent.
    pub percent: u8,
    /// So many handshakes must have begun within the window for it to count.
    pub least: u32,
    /// The window.
    pub window: Span,
}

/// How sources are blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Packets over the limit, one after the other, that are one too many.
    pub strikes: u32,
    /// How long the first time; twice as long each time after.
    pub first: Span,
    /// The longest.
    pub longest: Span,
    /// How long a source must behave for its offences to be forgotten.
    pub forget: Span,
    /// Only sources that have proved that they are real.
    pub strict: bool,
    /// Sources that may be blocked at once.
    pub most: u32,
}

impl Default for Guard {
    /// What an ordinary server can take: ten thousand packets a second of each source, a thousand SYNs of each port.
    fn default() -> Self {
        Self {
            source: Some(PacketRate { per_second: 10_000, burst: 20_000 }),
            syn: Some(PacketRate { per_second: 1000, burst: 2000 }),
            half_open: Some(HalfOpen { percent: 80, least: 200, window: Span::from_secs(1) }),
            block: Some(Blocking {
                strikes: 100,
                first: Span::from_secs(60),
                longest: Span::from_millis(86_400_000),
                forget: Span::from_secs(3600),
                strict: false,
                most: 4096,
            }),
            cookies: false,
        }
    }
}

/// Why a guard is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GuardError {
    /// A rate of nothing, or of more than can be told apart.
    #[error("a rate and its burst are 1 to 1,000,000,000 packets, and a burst takes an hour at the most")]
    Rate,
    /// No share.
    #[error("a share is 0 to 99 percent, of at least 1 handshake, in a window that is not empty")]
    Share,
    /// Blocks that are none.
    #[error("a block needs at least 1 strike and a time, and the longest is not shorter than the first")]
    Block,
    /// A rate of bytes.
    #[error("the flood guard counts packets: write a rate such as 10kpps")]
    Bytes,
    /// Blocks without a limit.
    #[error("sources are blocked for going over a limit: say how much a source may send")]
    NoLimit,
}

impl PacketRate {
    fn ticks(self) -> Result<(u64, u64), GuardError> {
        const MOST: u64 = 1_000_000_000;
        const HOUR_S: u64 = 3600;
        let range = 1..=MOST;
        if !range.contains(&self.per_second) || !range.contains(&self.burst) {
            return Err(GuardError::Rate);
        }
        if self.burst / self.per_second > HOUR_S {
            return Err(GuardError::Rate);
        }
        let cost = 1_000_000_000 * TICKS_PER_NS / self.per_second;
        Ok((cost, cost * self.burst))
    }
}

impl Guard {
    /// What the kernel programs are told.
    pub fn compile(&self) -> Result<GuardConfig, GuardError> {
        let ticks = |rate: Option<PacketRate>| rate.map_or(Ok((0, 0)), PacketRate::ticks);
        let (source_cost, source_burst) = ticks(self.source)?;
        let (syn_cost, syn_burst) = ticks(self.syn)?;
        let mut config =
            GuardConfig { source_cost, source_burst, syn_cost, syn_burst, ..GuardConfig::default() };
        if let Some(share) = self.half_open {
            if share.percent > 99 || share.least == 0 || share.window.millis() == 0 {
                return Err(GuardError::Share);
            }
            config.half_open_share = u32::from(share.percent);
            config.half_open_least = share.least;
            config.window_ns = nanoseconds(share.window);
        }
        config.cookies = u32::from(self.cookies);
        if let Some(block) = self.block {
            if self.source.is_none() {
                return Err(GuardError::NoLimit);
            }
            if block.strikes == 0 || block.first.millis() == 0 || block.longest < block.first {
                return Err(GuardError::Block);
            }
            config.strikes = block.strikes;
            config.block_ns = nanoseconds(block.first);
            config.block_max_ns = nanoseconds(block.longest);
            config.forget_ns = nanoseconds(block.forget);
            config.strict = u32::from(block.strict);
            config.block_most = block.most;
        }
        Ok(config)
    }
}

fn nanoseconds(span: Span) -> u64 {
    u64::try_from(Duration::as_nanos(&span.duration())).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_make_sense_and_nonsense_does_not() {
        let config = Guard::default().compile().unwrap();
        assert_eq!(config.source_cost, 100_000 * TICKS_PER_NS);
        assert_eq!(config.source_burst, 2_000_000_000 * TICKS_PER_NS);
        assert_eq!(config.block_ns, 60_000_000_000);
        let off = Guard { source: None, syn: None, half_open: None, block: None, cookies: false };
        assert_eq!(off.compile(), Ok(GuardConfig::default()));
        assert_eq!(Guard { source: None, ..Guard::default() }.compile(), Err(GuardError::NoLimit));
        let rate = Some(PacketRate { per_second: 0, burst: 1 });
        assert_eq!(Guard { syn: rate, ..Guard::default() }.compile(), Err(GuardError::Rate));
        let slow = Some(PacketRate { per_second: 1, burst: 1_000_000 });
        assert_eq!(Guard { syn: slow, ..Guard::default() }.compile(), Err(GuardError::Rate));
    }
}
