//! One frame through the gate: find its binding, verify, count, perhaps report.

use aya_ebpf::bindings::__sk_buff;
use portcullis_abi::{Count, Counters, Endpoint, Mode, UNBOUND_SLOT};
use portcullis_engine::gate::{self, Binding};
use portcullis_engine::{DropReason, Finding, Verdict};

use crate::maps::{self, KernelTables};
use crate::skb::Skb;
use crate::{events, settings};

/// Where a frame of a device begins. A type, not a function pointer, so that each program holds
/// its own inlined copy.
pub trait Layer {
    /// Calls the engine.
    fn verify(skb: &Skb, binding: &Binding<'_, KernelTables>) -> Finding;
}

/// Frames begin with an Ethernet header.
pub struct Ethernet;

impl Layer for Ethernet {
    #[inline(always)]
    fn verify(skb: &Skb, binding: &Binding<'_, KernelTables>) -> Finding {
        gate::verify_ethernet(skb, binding)
    }
}

/// Packets begin with an IP header.
pub struct Layer3;

impl Layer for Layer3 {
    #[inline(always)]
    fn verify(skb: &Skb, binding: &Binding<'_, KernelTables>) -> Finding {
        gate::verify_layer3(skb, binding)
    }
}

/// Verifies a frame that comes from the workload behind its interface.
#[inline(always)]
pub fn run<L: Layer>(ctx: *mut __sk_buff) -> Verdict {
    // SAFETY: a context load, rewritten by the verifier.
    let ifindex = unsafe { (*ctx).ifindex };
    let index = maps::binding_of(ifindex);
    let Some(endpoint) = maps::endpoint(index) else {
        return fail_closed(ctx);
    };
    if index == 0 {
        return unbound(ctx);
    }
    let mode = Mode::from_number(endpoint.mode);
    let verdict = if endpoint.quarantine != 0 {
        Verdict::Drop(DropReason::Quarantined)
    } else if matches!(mode, Mode::Off) {
        Verdict::Pass
    } else {
        let binding = Binding { endpoint, index, tables: &KernelTables };
        Verdict::of(mode, L::verify(&Skb::new(ctx), &binding))
    };
    account(ctx, endpoint.slot, verdict);
    verdict
}

/// Drops what goes to a workload in quarantine. It is counted, but not as an event: the
/// senders are not the workload.
#[inline(always)]
pub fn quarantine(ctx: *mut __sk_buff) -> Verdict {
    // SAFETY: a context load, rewritten by the verifier.
    let index = maps::binding_of(unsafe { (*ctx).ifindex });
    match maps::endpoint(index) {
        Some(endpoint) if is_quarantined(index, endpoint) => {
            let verdict = Verdict::Drop(DropReason::Quarantined);
            count(ctx, endpoint.slot, verdict, true);
            verdict
        }
        _ => Verdict::Pass,
    }
}

#[inline(always)]
const fn is_quarantined(index: u32, endpoint: &Endpoint) -> bool {
    index != 0 && endpoint.quarantine != 0
}

/// An interface without a binding.
#[inline(always)]
fn unbound(ctx: *mut __sk_buff) -> Verdict {
    let finding = Finding::Violation(DropReason::Unbound);
    let verdict = Verdict::of(Mode::from_number(settings::unbound_mode()), finding);
    account(ctx, UNBOUND_SLOT, verdict);
    verdict
}

/// An anchor that points outside the table: cannot be, and must not pass.
#[inline(always)]
fn fail_closed(ctx: *mut __sk_buff) -> Verdict {
    let verdict = Verdict::Drop(DropReason::Internal);
    account(ctx, UNBOUND_SLOT, verdict);
    verdict
}

#[inline(always)]
fn account(ctx: *mut __sk_buff, slot: u32, verdict: Verdict) {
    match verdict {
        Verdict::Pass => count(ctx, slot, verdict, true),
        Verdict::PassReported(reason) | Verdict::Audit(reason) | Verdict::Drop(reason) => {
            let sampled = events::sample(slot);
            count(ctx, slot, verdict, sampled);
            if sampled && !events::send(ctx, slot, reason, matches!(verdict, Verdict::Drop(_))) {
                lost(slot);
            }
        }
    }
}

/// Adds one frame to this CPU's counters. Plain additions: nothing else runs on this CPU in the
/// middle of a program, and no other CPU writes here.
#[inline(always)]
fn count(ctx: *mut __sk_buff, slot: u32, verdict: Verdict, reported: bool) {
    let Some(counters) = maps::counters(slot) else {
        return;
    };
    // SAFETY: a context load, rewritten by the verifier.
    let len = u64::from(unsafe { (*ctx).len });
    // SAFETY: the pointer is this CPU's value, as long as the program runs.
    let counters: &mut Counters = unsafe { &mut *counters };
    let (total, reason) = match verdict {
        Verdict::Pass => (&mut counters.allowed, None),
        Verdict::PassReported(reason) => (&mut counters.allowed, Some(reason)),
        Verdict::Audit(reason) => (&mut counters.audited, Some(reason)),
        Verdict::Drop(reason) => (&mut counters.dropped, Some(reason)),
    };
    add(total, len);
    if let Some(reason) = reason {
        if let Some(cell) = counters.reasons.get_mut(usize::from(reason.number())) {
            *cell = cell.wrapping_add(1);
        }
        if !reported {
            counters.unsampled = counters.unsampled.wrapping_add(1);
        }
    }
}

#[inline(always)]
fn add(total: &mut Count, len: u64) {
    total.packets = total.packets.wrapping_add(1);
    total.bytes = total.bytes.wrapping_add(len);
}

/// An event that found the ring buffer full.
#[inline(always)]
fn lost(slot: u32) {
    if let Some(counters) = maps::counters(slot) {
        // SAFETY: the pointer is this CPU's value, as long as the program runs.
        unsafe { (*counters).lost = (*counters).lost.wrapping_add(1) };
    }
}
