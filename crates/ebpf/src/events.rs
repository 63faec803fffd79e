//! Sampled events: a few of each endpoint's bad frames, with what is known of their sender.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_jiffies64, bpf_ktime_get_ns, bpf_skb_cgroup_id, bpf_skb_load_bytes,
};
use portcullis_abi::{CAPTURE_LEN, DropEvent, Sampler};

use crate::{maps, settings};

/// A length within it is clamped by a mask.
const _: () = assert!(CAPTURE_LEN.is_power_of_two());

const NS_PER_S: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3600 * NS_PER_S;

/// Ticks of the kernel's clock, as a power of two, between looks at the fine clock. Reading
/// jiffies costs a nanosecond, reading the time twenty; a flood of forged frames pays the former.
const EPOCH_SHIFT: u32 = 3;

/// Whether this frame may be reported: takes a token from the slot's bucket.
///
/// CPUs may race for a token; the worst that comes of it is an event too many.
#[inline(always)]
pub fn sample(slot: u32) -> bool {
    let Some(sampler) = maps::sampler(slot) else {
        return false;
    };
    // SAFETY: the pointer is a value of an array, valid while the program runs; all fields are
    // plain integers, and races are harmless.
    let sampler = unsafe { &mut *sampler };
    // SAFETY: a helper without arguments (5.5), which the verifier turns into a load.
    let epoch = (unsafe { bpf_jiffies64() } >> EPOCH_SHIFT) as u32;
    if sampler.epoch != epoch {
        refill(sampler, epoch);
    }
    if sampler.tokens == 0 {
        return false;
    }
    sampler.tokens -= 1;
    true
}

#[inline(always)]
fn refill(sampler: &mut Sampler, epoch: u32) {
    sampler.epoch = epoch;
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let burst = settings::event_burst();
    // An hour fills any bucket; the bound keeps the product within 64 bits.
    let elapsed = now.wrapping_sub(sampler.refilled_ns).min(HOUR_NS);
    let earned = elapsed.wrapping_mul(u64::from(settings::event_rate())) / NS_PER_S;
    if earned == 0 {
        return;
    }
    let tokens = u64::from(sampler.tokens) + earned;
    sampler.tokens = if tokens < u64::from(burst) { tokens as u32 } else { burst };
    sampler.refilled_ns = now;
}

/// Reports a frame. Says `false` where the ring buffer is full.
#[inline(always)]
pub fn send(ctx: *mut __sk_buff, slot: u32, reason: u8, dropped: bool) -> bool {
    let Some(mut entry) = maps::events().reserve(0) else {
        return false;
    };
    let event: *mut DropEvent = entry.as_mut_ptr();
    // SAFETY: the event is ours until it is submitted, and each field is written in place; helpers
    // with a valid context; context loads, rewritten by the verifier. Beyond what is captured
    // `frame` keeps what an earlier event left: to clear it would cost more than all else here.
    unsafe {
        let len = (*ctx).len;
        (*event).timestamp_ns = bpf_ktime_get_ns();
        (*event).cgroup_id = bpf_skb_cgroup_id(ctx);
        (*event).socket_cookie = bpf_get_socket_cookie(ctx.cast());
        (*event).netns = settings::netns();
        (*event).ifindex = (*ctx).ifindex;
        (*event).slot = slot;
        (*event).len = len;
        (*event).reason = reason;
        (*event).dropped = u8::from(dropped);
        (*event).vlan_tci =
            if (*ctx).vlan_present != 0 { ((*ctx).vlan_tci as u16).to_be_bytes() } else { [0; 2] };
        (*event).captured = capture(ctx, len, (&raw mut (*event).frame).cast());
    }
    entry.submit(0);
    true
}

/// Copies the first bytes of the frame; answers how many.
///
/// Verifiers before Linux 6.8 (commit d028f87517d6) learn nothing from a comparison with zero, so
/// the length must be bounded on both sides by arithmetic; it is read anew, so that the compiler
/// does not know better and leave that out.
///
/// # Safety
/// `frame` must be `CAPTURE_LEN` bytes that may be written.
#[inline(always)]
unsafe fn capture(ctx: *mut __sk_buff, len: u32, frame: *mut core::ffi::c_void) -> u32 {
    const MASK: u32 = CAPTURE_LEN as u32 - 1;
    const _: () = assert!(CAPTURE_LEN.is_power_of_two());
    let captured = if len > MASK {
        CAPTURE_LEN as u32
    } else {
        // SAFETY: a context load, rewritten by the verifier. An empty frame comes to CAPTURE_LEN,
        // which the helper refuses.
        (unsafe { (&raw const (*ctx).len).read_volatile() }.wrapping_sub(1) & MASK) + 1
    };
    // SAFETY: the length lies in 1..=CAPTURE_LEN, the length of the destination.
    match unsafe { bpf_skb_load_bytes(ctx.cast(), 0, frame, captured) } {
        0 => captured,
        _ => 0,
    }
}
