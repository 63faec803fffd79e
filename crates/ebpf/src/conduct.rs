//! How an endpoint behaves over time: the budget of its events, and its hostile attempts, which at the
//! threshold put it in quarantine here and now.
//!
//! CPUs race for these values. What must not be lost, the number of attempts, is added to in one step;
//! what else may come of a race is an event too many.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use portcullis_abi::{Conduct, DropEvent, Endpoint, Mode, RING_LEN, Response};

use crate::{maps, settings};

const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;
const HOUR_NS: u64 = 3600 * NS_PER_S;

const RING_MASK: u64 = RING_LEN as u64 - 1;
/// No stride is longer: thresholds have 16 bits.
const MAX_SHIFT: u8 = 15;

/// Whether there is nothing to do about evidence of intent, in this tick and under these terms, but to count it.
#[inline(always)]
pub fn is_quiet(slot: u32, terms: u32) -> bool {
    // SAFETY: a value of an array, readable while the program runs.
    maps::conduct(slot).is_some_and(|conduct| unsafe { (*conduct).quiet } == quiet_word(terms, tick()))
}

#[inline(always)]
fn tick() -> u32 {
    // SAFETY: a helper without arguments (5.5), which the verifier turns into a load.
    unsafe { bpf_jiffies64() as u32 }
}

/// As [`Conduct::quiet`].
#[inline(always)]
const fn quiet_word(terms: u32, tick: u32) -> u64 {
    (terms as u64) << 32 | tick as u64
}

/// What a frame comes to beside its verdict.
#[derive(Clone, Copy)]
pub struct Notice {
    /// Whether it is reported.
    pub reported: bool,
    /// As [`DropEvent::tripped`].
    pub tripped: u32,
}

/// Takes note of a frame that is not merely counted. `strike` is called for evidence of intent and answers as
/// [`strike`] does.
///
/// Once in each tick of the kernel's clock, the time is read and the budget refilled: reading jiffies costs a
/// nanosecond, reading the time twenty. When there is nothing left to do in a tick, that is noted for all
/// frames to come ([`is_quiet`]).
#[inline(always)]
pub fn notice(slot: u32, terms: u32, strike: impl FnOnce() -> u32) -> Notice {
    const NOTHING: Notice = Notice { reported: false, tripped: 0 };
    // SAFETY: a value of an array, valid while the program runs; all fields are plain integers, and
    // each caller is done with one before it asks for another.
    let Some(conduct) = maps::conduct(slot).map(|conduct| unsafe { &mut *conduct }) else {
        return NOTHING;
    };
    let tick = tick();
    if conduct.quiet as u32 != tick {
        conduct.quiet = NO_TERMS | u64::from(tick);
        refill(conduct);
    }
    let answer = strike();
    let tripped = answer & TRIPPED_MASK;
    // What reached the threshold is told in any case.
    if tripped != 0 {
        return Notice { reported: true, tripped };
    }
    if conduct.tokens == 0 {
        if answer == SETTLED {
            conduct.quiet = quiet_word(terms, tick);
        }
        return NOTHING;
    }
    conduct.tokens -= 1;
    Notice { reported: true, tripped }
}

/// The high half of [`Conduct::quiet`] before that: the terms of no endpoint.
const NO_TERMS: u64 = (u32::MAX as u64) << 32;

/// What [`strike`] answers where attempts need not be numbered: they do not count, or the last report is not
/// a window old.
pub const SETTLED: u32 = 0x100;
const TRIPPED_MASK: u32 = 0xff;

#[inline(always)]
fn refill(conduct: &mut Conduct) {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    conduct.now_ns = now;
    let burst = settings::event_burst();
    // An hour fills any bucket; the bound keeps the product within 64 bits.
    let elapsed = now.wrapping_sub(conduct.refilled_ns).min(HOUR_NS);
    let earned = elapsed.wrapping_mul(u64::from(settings::event_rate())) / NS_PER_S;
    if earned == 0 {
        return;
    }
    let tokens = u64::from(conduct.tokens) + earned;
    conduct.tokens = if tokens < u64::from(burst) { tokens as u32 } else { burst };
    conduct.refilled_ns = now;
}

/// Takes note of a hostile attempt. Says what came of it, as [`DropEvent::tripped`], or [`SETTLED`].
#[inline(always)]
pub fn strike(slot: u32, endpoint: &Endpoint, binding: u32, reason: u32) -> u32 {
    // SAFETY: as above.
    let Some(conduct) = maps::conduct(slot).map(|conduct| unsafe { &mut *conduct }) else {
        return SETTLED;
    };
    if endpoint.threshold == 0 {
        return SETTLED;
    }
    if conduct.told_terms != 0 {
        let is_recent = conduct.now_ns.saturating_sub(conduct.tripped_ns) <= window_ns(endpoint);
        if conduct.told_terms == endpoint.terms() && conduct.tripped_ns != 0 && is_recent {
            return SETTLED;
        }
        conduct.told_terms = 0;
        conduct.forgiven = read(&conduct.attempts);
    }
    if conduct.is_quarantined() && answer_of(endpoint) == Response::Quarantine as u8 {
        // Its entry was replaced by one that does not know.
        maps::quarantine(binding);
        return 0;
    }
    if is_reached(conduct, endpoint) { trip(conduct, endpoint, binding, reason) } else { 0 }
}

/// Numbers and records an attempt, and tells whether there are now as many within the window as the
/// threshold has.
#[inline(always)]
fn is_reached(conduct: &mut Conduct, endpoint: &Endpoint) -> bool {
    let shift = endpoint.stride_shift & MAX_SHIFT;
    let before = increment(&mut conduct.attempts);
    let after = read(&conduct.attempts);
    if conduct.stride_shift != shift {
        // Times that were written by another stride mean nothing by this one.
        conduct.stride_shift = shift;
        conduct.forgiven = before;
    }
    let forgiven = read(&conduct.forgiven);
    // Numbered from 1. User space may have forgiven this one too, meanwhile.
    let number = after.saturating_sub(forgiven);
    if number == 0 {
        return false;
    }
    record(conduct, number - 1, shift);
    if before != after.wrapping_sub(1) {
        // Another CPU added one at the same moment, and both read the same number: neither may stay
        // without its time.
        record(conduct, before.saturating_sub(forgiven), shift);
    }
    let threshold = u64::from(endpoint.threshold);
    if number < threshold {
        return false;
    }
    let since = conduct.ring[slot_of(number - threshold, shift)];
    // Another CPU's clock may be a tick ahead.
    conduct.now_ns.saturating_sub(since) <= window_ns(endpoint)
}

/// What the kernel does about this endpoint: no more than report it unless frames are dropped at all.
#[inline(always)]
const fn answer_of(endpoint: &Endpoint) -> u8 {
    let enforces = endpoint.mode == Mode::Enforce as u8;
    if enforces { Response::from_number(endpoint.answer) as u8 } else { Response::Report as u8 }
}

#[inline(always)]
const fn window_ns(endpoint: &Endpoint) -> u64 {
    endpoint.window_ms as u64 * NS_PER_MS
}

#[inline(always)]
fn record(conduct: &mut Conduct, index: u64, shift: u8) {
    if index & ((1 << shift) - 1) == 0 {
        conduct.ring[slot_of(index, shift)] = conduct.now_ns;
    }
}

#[inline(always)]
const fn slot_of(index: u64, shift: u8) -> usize {
    ((index >> shift) & RING_MASK) as usize
}

/// The threshold is reached: acts where the kernel is to act.
#[inline(always)]
fn trip(conduct: &mut Conduct, endpoint: &Endpoint, binding: u32, reason: u32) -> u32 {
    let answer = answer_of(endpoint);
    let quarantines = answer == Response::Quarantine as u8;
    conduct.tripped_reason = reason as u8;
    conduct.tripped_answer = answer;
    // SAFETY: a helper without arguments.
    conduct.tripped_ns = unsafe { bpf_ktime_get_ns() };
    if !quarantines {
        conduct.told_terms = endpoint.terms();
        return u32::from(DropEvent::TRIPPED);
    }
    // After the above: whoever sees the flag on an entry that is being replaced sees why, too.
    maps::quarantine(binding);
    u32::from(DropEvent::QUARANTINED)
}

/// A value that others write meanwhile.
#[inline(always)]
fn read(value: &u64) -> u64 {
    // SAFETY: a reference is valid and aligned.
    unsafe { core::ptr::from_ref(value).read_volatile() }
}

/// Adds one in one step, and says what was there a moment before (perhaps before another CPU's addition:
/// adding and reading in one step needs Linux 5.12).
#[inline(always)]
fn increment(value: &mut u64) -> u64 {
    let before = read(value);
    #[cfg(target_arch = "bpf")]
    // SAFETY: the target has this instruction (`BPF_XADD`), which changes nothing but the value.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({value} + 0) += {one}",
            value = in(reg) core::ptr::from_mut(value),
            one = in(reg) 1u64,
            options(nostack),
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        *value = before.wrapping_add(1);
    }
    before
}
