//! Sampled events: a few of each endpoint's bad frames, with what is known of their sender.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_skb_cgroup_id, bpf_skb_load_bytes,
};
use portcullis_abi::{CAPTURE_LEN, DropEvent};

use crate::{maps, settings};

/// A length within it is clamped by a mask.
const _: () = assert!(CAPTURE_LEN.is_power_of_two());

/// What an event says of its frame, in one word, as functions of their own take it.
#[derive(Clone, Copy)]
pub struct Note(pub u32);

impl Note {
    const DROPPED: u32 = 1 << 8;
    const EVIDENCE: u32 = 1 << 9;
    const TRIPPED_SHIFT: u32 = 16;

    /// Of a reason's number, and `tripped` as [`DropEvent::tripped`].
    #[inline(always)]
    pub const fn new(reason: u32, dropped: bool, evidence: bool, tripped: u32) -> Self {
        let dropped = if dropped { Self::DROPPED } else { 0 };
        let evidence = if evidence { Self::EVIDENCE } else { 0 };
        Self(reason & 0xff | dropped | evidence | tripped << Self::TRIPPED_SHIFT)
    }
}

/// How many hostile attempts there were, and how many are one too many.
#[inline(always)]
fn standing(slot: u32, binding: u32) -> (u32, u16) {
    let threshold = maps::endpoint(binding).map_or(0, |endpoint| endpoint.threshold);
    if threshold == 0 {
        return (0, 0);
    }
    // SAFETY: a value of an array, readable while the program runs.
    let attempts = maps::conduct(slot).map_or(0, |conduct| unsafe { (*conduct).outstanding() });
    (if attempts > u64::from(u32::MAX) { u32::MAX } else { attempts as u32 }, threshold)
}

/// Reports a frame. Says `false` where the ring buffer is full.
#[inline(always)]
pub fn send(ctx: *mut __sk_buff, slot: u32, binding: u32, note: Note) -> bool {
    let (attempts, threshold) = standing(slot, binding);
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
        (*event).reason = note.0 as u8;
        (*event).dropped = u8::from(note.0 & Note::DROPPED != 0);
        (*event).vlan_tci =
            if (*ctx).vlan_present != 0 { ((*ctx).vlan_tci as u16).to_be_bytes() } else { [0; 2] };
        (*event).attempts = attempts;
        (*event).threshold = threshold;
        (*event).evidence = u8::from(note.0 & Note::EVIDENCE != 0);
        (*event).tripped = (note.0 >> Note::TRIPPED_SHIFT) as u8;
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
