//! The flood guard's decisions. It is asked of packets that lists and rules let pass.

use portcullis_abi::DropReason;
use portcullis_abi::shield::guard::{Block, BlockCount, Destination, GuardConfig, PeerKey, Source};
use portcullis_abi::shield::rules::Rate;

use super::facts::{Facts, Family, Fragment};
use super::rules::charge;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const TCP: u8 = 6;
/// Shifts of a duration that cannot be anything but over the longest block.
const MOST_DOUBLINGS: u32 = 30;

/// The part that a packet has in a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// It begins one.
    Begins,
    /// It may go on with one, or belongs to a connection.
    GoesOn,
    /// None.
    None,
}

/// A moment, in both of the guard's units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub ns: u64,
    /// The same in ticks.
    pub ticks: u64,
}

/// What comes of a packet for its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It keeps to its limit.
    Within,
    /// It does not.
    Over,
    /// It has done so once too often, and may be blocked.
    Struck,
}

/// The part of a packet.
#[inline(always)]
#[must_use]
pub const fn part_of(facts: &Facts) -> Part {
    if facts.protocol != TCP || facts.fragment as u8 == Fragment::Later as u8 {
        return Part::None;
    }
    match facts.detail & (FIN | SYN | RST | ACK) {
        SYN => Part::Begins,
        ACK => Part::GoesOn,
        _ => Part::None,
    }
}

/// Who a packet comes from: of IPv6 the /64, since whoever has one address of it has all.
#[inline(always)]
#[must_use]
pub const fn source_key(facts: &Facts, profile: u32) -> PeerKey {
    let [high, low] = facts.source;
    match facts.family {
        Family::V4 => PeerKey { address: [0, low], profile, family: 4, port: 0 },
        Family::V6 => PeerKey { address: [high, 0], profile, family: 6, port: 0 },
    }
}

/// Where it goes.
#[inline(always)]
#[must_use]
pub const fn destination_key(facts: &Facts, profile: u32) -> PeerKey {
    let family = match facts.family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    PeerKey { address: facts.destination, profile, family, port: facts.port }
}

/// Charges a packet to its source.
#[inline(always)]
pub const fn note_source(source: &mut Source, config: &GuardConfig, part: Part, now: Now) -> Standing {
    match part {
        Part::Begins => source.flags |= Source::BEGAN,
        Part::GoesOn if source.flags & Source::BEGAN != 0 => source.flags |= Source::ANSWERED,
        Part::GoesOn | Part::None => {}
    }
    if config.source_cost == 0 {
        return Standing::Within;
    }
    let rate = Rate { cost: config.source_cost, burst: config.source_burst };
    if let Some(bucket) = charge(source.bucket, now.ticks, rate, 1) {
        source.bucket = bucket;
        return Standing::Within;
    }
    if now.ns.wrapping_sub(source.struck_ns) > config.forget_ns {
        source.strikes = 0;
    }
    source.struck_ns = now.ns;
    source.strikes = source.strikes.saturating_add(1);
    if source.strikes < config.strikes {
        return Standing::Over;
    }
    source.strikes = 0;
    Standing::Struck
}

/// Whether a source that was struck may be blocked. A forger can have anybody's address struck, but not have it prove
/// that it is real.
#[inline(always)]
#[must_use]
pub const fn may_block(source: &Source, config: &GuardConfig, is_protected: bool) -> bool {
    !is_protected && config.block_ns != 0 && (config.strict == 0 || source.flags & Source::PROVED != 0)
}

/// Whether an ACK may be the proof that its source is real, and its cookie is to be looked at; `fresh` where nothing was
/// known of the source, `answers` as [`note_destination`] has it.
#[inline(always)]
#[must_use]
pub const fn may_prove(source: &Source, part: Part, fresh: bool, answers: bool) -> bool {
    matches!(part, Part::GoesOn)
        && source.flags & Source::PROVED == 0
        && (fresh || answers || source.flags & Source::ASKED != 0)
}

/// Takes a block from the firewall's share; says whether there was one left.
#[inline(always)]
pub const fn take_share(count: &mut BlockCount, config: &GuardConfig, now: Now) -> bool {
    if now.ns.wrapping_sub(count.since_ns) > config.block_max_ns {
        // What had begun before that is over: no block is longer.
        count.earlier = count.recent;
        count.recent = 0;
        count.since_ns = now.ns;
    }
    if config.block_most != 0 && count.recent.saturating_add(count.earlier) >= config.block_most {
        return false;
    }
    count.recent = count.recent.saturating_add(1);
    true
}

/// The block of a source that was blocked before, or was not.
#[inline(always)]
#[must_use]
pub const fn block(before: Option<Block>, config: &GuardConfig, reason: DropReason, now: Now) -> Block {
    let offences = match before {
        Some(before) if now.ns < before.until_ns.saturating_add(config.forget_ns) => before.offences,
        _ => 0,
    };
    let doublings = if offences < MOST_DOUBLINGS { offences } else { MOST_DOUBLINGS };
    // A day, doubled so often, still fits.
    let day_ns = 86_400_000_000_000;
    let first = if config.block_ns < day_ns { config.block_ns } else { day_ns };
    let doubled = if doublings < 17 { first << doublings } else { u64::MAX };
    let length = if doubled < config.block_max_ns { doubled } else { config.block_max_ns };
    Block {
        until_ns: now.ns.saturating_add(length),
        since_ns: now.ns,
        offences: offences.saturating_add(1),
        reason: reason.number() as u32,
    }
}

/// Whether a block holds.
#[inline(always)]
#[must_use]
pub const fn is_blocked(block: &Block, now: Now) -> bool {
    now.ns < block.until_ns
}

/// Notes a packet that has a part in a handshake with a destination; `answers` where its source had begun one and goes
/// on with it for the first time. Whether it is to be dropped, unless its source has gone on with one before.
#[inline(always)]
pub const fn note_destination(
    destination: &mut Destination,
    config: &GuardConfig,
    part: Part,
    answers: bool,
    now: Now,
) -> bool {
    if now.ns.wrapping_sub(destination.window_ns) > config.window_ns {
        destination.window_ns = now.ns;
        destination.begun = 0;
        destination.answered = 0;
    }
    if answers {
        destination.answered = destination.answered.saturating_add(1);
    }
    if !matches!(part, Part::Begins) {
        return false;
    }
    destination.begun = destination.begun.saturating_add(1);
    if config.syn_cost != 0 {
        let rate = Rate { cost: config.syn_cost, burst: config.syn_burst };
        match charge(destination.bucket, now.ticks, rate, 1) {
            Some(bucket) => destination.bucket = bucket,
            None => return true,
        }
    }
    let open = destination.begun.saturating_sub(destination.answered) as u64;
    config.half_open_least != 0
        && destination.begun >= config.half_open_least
        && open * 100 > destination.begun as u64 * config.half_open_share as u64
}

#[cfg(test)]
mod tests;
