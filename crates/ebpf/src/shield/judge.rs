//! What becomes of a frame.
//!
//! Plain IPv4 is looked up in the blocklist here; all else, and what rules are asked about, goes to functions that
//! the kernel verifies by themselves. What these see of the frame they leave in a table of one entry.

use portcullis_abi::shield::{Class, Parts};
use portcullis_engine::DropReason;
use portcullis_engine::shield::facts::{Facts, Family, Seen};
use portcullis_engine::shield::{list4, list6};

use crate::guard::{BLOCKED, guard};
use crate::{maps, rules, tell};

/// What becomes of it.
#[derive(Clone, Copy)]
#[must_use]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It is dropped, and has been counted.
    Drop,
    /// It has become an answer, which is sent back; what it was has been counted.
    Send,
}

/// A frame that is IP, by the code of `see_xdp`.
pub const IS_PACKET: u32 = 0;
/// One that is none of the firewall's business; else a reason's number.
pub const IS_OTHER: u32 = 0x100;

/// Offsets in a frame without a tag.
const ETHERTYPE_AT: usize = 12;
const PROTOCOL_AT: usize = 14 + 9;
const SOURCE_AT: usize = 14 + 12;
const HEADERS_LEN: usize = 14 + 20;

/// The kind of hook that a frame is at.
pub trait Hook {
    /// What the kernel hands to the program.
    type Context;

    /// Where the frame begins and ends, as far as it can be read directly.
    fn bounds(ctx: *mut Self::Context) -> (usize, usize);

    /// Weighs a frame that is not decided at a glance; `listed` is 1 where the blocklist has been asked.
    fn weigh(ctx: *mut Self::Context, listed: u32) -> u32;

    /// Has the monitor look at a frame.
    fn show(ctx: *mut Self::Context);

    /// Makes the answer of a SYN out of it, and counts it as dropped; 0: that cannot be.
    fn answer(ctx: *mut Self::Context, reason: u32) -> u32;

    /// Looks for a cookie in an ACK.
    fn prove(ctx: *mut Self::Context);

    /// Drops a frame for a reason, perhaps for a rule.
    fn refuse(ctx: *mut Self::Context, reason: u32, rule: u32) -> u32;
}

/// Decides at a glance, or has it weighed.
#[inline(always)]
pub fn glance<H: Hook>(ctx: *mut H::Context) -> Verdict {
    let parts = maps::parts();
    if parts == 0 {
        return Verdict::Pass;
    }
    if parts & Parts::MONITOR != 0 {
        H::show(ctx);
    }
    let (data, end) = H::bounds(ctx);
    if data + HEADERS_LEN > end {
        return verdict(H::weigh(ctx, 0));
    }
    // SAFETY: within the first 34 bytes, which are there.
    let ethertype = unsafe { ((data + ETHERTYPE_AT) as *const u16).read_unaligned() };
    if ethertype != 0x0800u16.to_be() {
        return verdict(H::weigh(ctx, 0));
    }
    if let Some(list) = maps::list4() {
        // SAFETY: as above.
        let source = u32::from_be(unsafe { ((data + SOURCE_AT) as *const u32).read_unaligned() });
        let class = list4::class_of(&list, source, |address| Class::from_bits(by_records(address) as u8));
        if !class.is_none() {
            // SAFETY: as above.
            let protocol = unsafe { ((data + PROTOCOL_AT) as *const u8).read() };
            if class.blocks(protocol) {
                return verdict(H::refuse(ctx, u32::from(DropReason::Blocklisted.number()), 0));
            }
        }
    }
    if parts & (Parts::RULES | Parts::GUARD) == 0 {
        return Verdict::Pass;
    }
    verdict(H::weigh(ctx, 1))
}

/// The class of an IPv4 address whose cell has records.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn by_records(address: u32) -> u32 {
    maps::list4().map_or(0, |list| u32::from(list4::class_by_records(&list, address).bits()))
}

/// The class of an IPv6 address.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn by_list6(high: u64, low: u64) -> u32 {
    let Some(list) = maps::list6() else {
        return 0;
    };
    let find = |len| match by_len6(high, low, len) {
        NOT_LISTED => None,
        bits => Some(Class::from_bits(bits as u8)),
    };
    u32::from(list6::class_of(&list, high, find).bits())
}

/// What [`by_len6`] says of a prefix that is no entry.
const NOT_LISTED: u32 = 0x100;

/// The class of the entry of the address's first bits.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn by_len6(high: u64, low: u64, len: u32) -> u32 {
    let class = maps::list6().and_then(|list| list6::class_by_len(&list, high, low, len));
    class.map_or(NOT_LISTED, |class| u32::from(class.bits()))
}

/// Leaves what was seen of a frame; says [`IS_PACKET`], [`IS_OTHER`] or why it is broken.
#[inline(always)]
pub fn keep(seen: Seen) -> u32 {
    match seen {
        Seen::Packet(seen) => match maps::facts() {
            Some(facts) => {
                // SAFETY: this CPU's value, written by this program alone as long as it runs.
                unsafe { facts.write(seen) };
                IS_PACKET
            }
            None => u32::from(DropReason::Internal.number()),
        },
        Seen::Other => IS_OTHER,
        Seen::Broken(reason) => u32::from(reason.number()),
    }
}

/// Weighs what was seen of a frame.
#[inline(always)]
pub fn conclude<H: Hook>(ctx: *mut H::Context, seen: u32, listed: u32, tell: impl Fn(u32, u32, u32)) -> u32 {
    if seen == IS_OTHER {
        return 0;
    }
    if seen != IS_PACKET {
        return H::refuse(ctx, seen, 0);
    }
    let found = weigh(listed);
    let reason = found & tell::REASON;
    if found & tell::ANSWER != 0 && H::answer(ctx, u32::from(DropReason::SynFlood.number())) != 0 {
        return tell::SENT;
    }
    if found & tell::PROOF != 0 {
        H::prove(ctx);
    }
    if found & tell::DROPPED != 0 {
        if found & BLOCKED != 0 {
            // The evidence.
            tell(reason, 0, 1);
        }
        return H::refuse(ctx, reason, found >> tell::RULE_SHIFT);
    }
    if reason != 0 && tell::may_report() {
        tell(reason, found >> tell::RULE_SHIFT, 0);
    }
    0
}

/// What the firewall says of the packet that was seen: a reason with [`tell::DROPPED`], or without it one to report.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn weigh(listed: u32) -> u32 {
    let Some(facts) = maps::facts() else {
        return tell::DROPPED | u32::from(DropReason::Internal.number());
    };
    // SAFETY: this CPU's value; nothing writes to it meanwhile.
    let facts: &Facts = unsafe { &*facts };
    if listed == 0 && class_of(facts).blocks(facts.protocol) {
        return tell::DROPPED | u32::from(DropReason::Blocklisted.number());
    }
    let ruled = rules::ask(facts);
    if ruled & (tell::DROPPED | tell::DECIDED) != 0 || maps::parts() & Parts::GUARD == 0 {
        return ruled;
    }
    let guarded = guard();
    if guarded & tell::DROPPED != 0 { guarded } else { ruled | guarded }
}

#[inline(always)]
fn class_of(facts: &Facts) -> Class {
    let [high, low] = facts.source;
    let bits = match facts.family {
        Family::V4 => match maps::list4() {
            Some(list) => {
                list4::class_of(&list, low as u32, |address| Class::from_bits(by_records(address) as u8))
                    .bits() as u32
            }
            None => 0,
        },
        Family::V6 => by_list6(high, low),
    };
    Class::from_bits(bits as u8)
}

#[inline(always)]
const fn verdict(found: u32) -> Verdict {
    match found & (tell::DROPPED | tell::SENT) {
        0 => Verdict::Pass,
        tell::SENT => Verdict::Send,
        _ => Verdict::Drop,
    }
}
