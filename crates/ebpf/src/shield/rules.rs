//! What the rules say of a packet.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use portcullis_abi::shield::BucketKey;
use portcullis_abi::shield::rules::{
    Action, ClassWord, DECIDING_AT, End, LOGGING_AT, Rate, TICKS_PER_NS, Verb,
};
use portcullis_engine::DropReason;
use portcullis_engine::shield::facts::{Facts, Family};
use portcullis_engine::shield::rules::{self as engine, Classes};

use crate::{maps, tell};

/// Rules that were met, in one number: sixteen bits of the one that decides, then of the one that logs.
const NONE: u32 = 0xffff;
const LOGGING_SHIFT: u32 = 16;

/// Asks them; answers as [`crate::judge::weigh`] does.
#[inline(always)]
pub fn ask(facts: &Facts) -> u32 {
    if maps::rules().is_none() {
        return 0;
    }
    let met = meet();
    let mut found = 0;
    let logging = met >> LOGGING_SHIFT;
    if logging != NONE {
        found = note(facts, logging, DropReason::Rule);
    }
    let deciding = met & NONE;
    if deciding == NONE {
        return found;
    }
    let Some(action) = action_of(deciding) else {
        return found;
    };
    count(facts, action);
    let rule = (u32::from(action.counter) + 1) << tell::RULE_SHIFT;
    let reported = u32::from(DropReason::Rule.number()) | rule;
    match action.verb {
        Verb::Drop => tell::DROPPED | reported,
        Verb::Limit if is_over(deciding) != 0 => {
            tell::DROPPED | u32::from(DropReason::RateLimited.number()) | rule
        }
        // What a person lets pass, the guard does not ask about.
        Verb::Pass => tell::DECIDED | if action.report { reported } else { found },
        Verb::Limit | Verb::Log if action.report => reported,
        Verb::Limit | Verb::Log => found,
    }
}

#[inline(always)]
fn action_of(rule: u32) -> Option<Action> {
    maps::rules().and_then(|rules| engine::action_of(&rules, rule))
}

/// Counts for a rule that only logs, and says what to report.
#[inline(always)]
fn note(facts: &Facts, rule: u32, reason: DropReason) -> u32 {
    match action_of(rule) {
        Some(action) => {
            count(facts, action);
            u32::from(reason.number()) | (u32::from(action.counter) + 1) << tell::RULE_SHIFT
        }
        None => 0,
    }
}

#[inline(always)]
fn count(facts: &Facts, action: Action) {
    if let Some(count) = maps::rule_counter(u32::from(action.counter)) {
        // SAFETY: this CPU's value, valid as long as the program runs; nothing else has it meanwhile.
        let count = unsafe { &mut *count };
        count.packets = count.packets.wrapping_add(1);
        count.bytes = count.bytes.wrapping_add(u64::from(facts.len));
    }
}

/// Which rules the packet that was seen meets.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn meet() -> u32 {
    let (Some(facts), Some(rules)) = (maps::facts(), maps::rules()) else {
        return NOTHING;
    };
    // SAFETY: this CPU's value; nothing writes to it meanwhile.
    let facts: &Facts = unsafe { &*facts };
    let (Some(port), Some(kind)) =
        (engine::class_of_port(&rules, facts), engine::class_of_kind(&rules, facts))
    else {
        return NOTHING;
    };
    let (source, destination) = match facts.family {
        Family::V4 => (class4(0, facts.source[1] as u32), class4(1, facts.destination[1] as u32)),
        Family::V6 => (
            class6(0, facts.source[0], facts.source[1]),
            class6(1, facts.destination[0], facts.destination[1]),
        ),
    };
    let (port, kind) = (port.0, kind.0);
    let deciding = first(DECIDING_AT, source, destination, port, kind);
    let mut logging = NONE;
    if engine::has_log(&rules) {
        let found = first(LOGGING_AT, source, destination, port, kind);
        // No rule is the highest number.
        if found < deciding {
            logging = found;
        }
    }
    deciding & NONE | logging << LOGGING_SHIFT
}

const NOTHING: u32 = NONE << LOGGING_SHIFT | NONE;

/// The first rule of a mask that packets of these classes meet.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn first(mask: u32, source: u32, destination: u32, port: u32, kind: u32) -> u32 {
    let words = [ClassWord(source), ClassWord(destination), ClassWord(port), ClassWord(kind)];
    let found = maps::rules().and_then(|rules| engine::first(&rules, Classes { words }, mask));
    found.unwrap_or(NONE) & NONE
}

/// 0: the source, else the destination.
#[inline(always)]
const fn end(number: u32) -> End {
    if number == 0 { End::Source } else { End::Destination }
}

/// The class of an IPv4 address, as a number; a class without rules where there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn class4(of: u32, address: u32) -> u32 {
    maps::rules().and_then(|rules| engine::class4(&rules, end(of), address)).map_or(0, |class| class.0)
}

/// The same of an IPv6 address.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn class6(of: u32, high: u64, low: u64) -> u32 {
    maps::rules().and_then(|rules| engine::class6(&rules, end(of), [high, low])).map_or(0, |class| class.0)
}

/// Whether the packet that was seen is over the rate of a rule: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_over(rule: u32) -> u32 {
    let (Some(facts), Some(rules)) = (maps::facts(), maps::rules()) else {
        return 0;
    };
    // SAFETY: as above.
    let facts: &Facts = unsafe { &*facts };
    let (Some(action), Some(rate)) = (engine::action_of(&rules, rule), engine::rate_of(&rules, rule)) else {
        return 0;
    };
    let family = match facts.family {
        _ if action.per_source4 == 0 && action.per_source6 == 0 => 0,
        Family::V4 => 4,
        Family::V6 => 6,
    };
    let source = engine::bucket_source(facts, action);
    let key = BucketKey { source, rule: u32::from(action.counter), family };
    let units = if action.by_bytes { u64::from(facts.len) } else { 1 };
    u32::from(!charge(&key, rate, units))
}

#[inline(always)]
fn charge(key: &BucketKey, rate: Rate, units: u64) -> bool {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() }.wrapping_mul(TICKS_PER_NS);
    let Some(bucket) = maps::bucket(key) else {
        let first = engine::charge(now, now, rate, units);
        maps::make_bucket(key, first.unwrap_or(now));
        return first.is_some();
    };
    // SAFETY: a value of a hash table, valid while the program runs; eight aligned bytes are never half read.
    let before = unsafe { bucket.read_volatile() };
    let Some(after) = engine::charge(before, now, rate, units) else {
        return false;
    };
    if now.wrapping_sub(before) as i64 >= 0 {
        // SAFETY: as above. Where another CPU does so at the same moment, one packet is not counted.
        unsafe { bucket.write_volatile(after) };
    } else {
        // SAFETY: as above.
        unsafe { add(bucket, after.wrapping_sub(before)) };
    }
    true
}

/// Adds in one step: what other CPUs add meanwhile is not lost.
///
/// # Safety
/// The value must be a table's, and aligned.
#[inline(always)]
unsafe fn add(value: *mut u64, more: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the target has this instruction (`BPF_XADD`), which changes nothing but the value.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({value} + 0) += {more}",
            value = in(reg) value,
            more = in(reg) more,
            options(nostack),
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: as the caller says.
    unsafe {
        *value = (*value).wrapping_add(more);
    }
}
