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

/// The conduct of a slot's endpoint, its clock and its budget brought up to date once in each tick of the
/// kernel's clock. Reading jiffies costs a nanosecond, reading the time twenty; a flood of forged frames
/// pays the former.
#[inline(always)]
pub fn of(slot: u32) -> Option<&'static mut Conduct> {
    // SAFETY: a value of an array, valid while the program runs; all fields are plain integers, and each
    // caller is done with one before it asks for another.
    let conduct = maps::conduct(slot).map(|conduct| unsafe { &mut *conduct })?;
    // SAFETY: a helper without arguments (5.5), which the verifier turns into a load.
    let epoch = unsafe { bpf_jiffies64() } as u32;
    if conduct.epoch != epoch {
        conduct.epoch = epoch;
        refill(conduct);
    }
    Some(conduct)
}

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

/// Whether this frame may be reported: takes a token from the bucket.
#[inline(always)]
pub fn sample(conduct: &mut Conduct) -> bool {
    if conduct.tokens == 0 {
        return false;
    }
    conduct.tokens -= 1;
    true
}

/// Whether there is nothing to do about a hostile attempt: attempts are not counted, or the last report is
/// not a window old. In a flood of forgeries this is all that each costs.
#[inline(always)]
pub const fn is_told(conduct: &Conduct, terms: u32) -> bool {
    (conduct.now_ns < conduct.told_until_ns && conduct.told_terms == terms) || !Endpoint::is_counted(terms)
}

/// Takes note of a hostile attempt. Says what came of it, as [`DropEvent::tripped`].
#[inline(always)]
pub fn strike(conduct: &mut Conduct, endpoint: &Endpoint, binding: u32, reason: u32) -> u32 {
    if conduct.told_until_ns != 0 {
        conduct.told_until_ns = 0;
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
    let now = unsafe { bpf_ktime_get_ns() };
    conduct.tripped_ns = now;
    if !quarantines {
        conduct.told_terms = endpoint.terms();
        conduct.told_until_ns = now + window_ns(endpoint);
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
