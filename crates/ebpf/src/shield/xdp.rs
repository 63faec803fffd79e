//! Frames at XDP.

use aya_ebpf::bindings::xdp_md;
use portcullis_abi::DropEvent;
use portcullis_engine::shield::facts;

use crate::frame::XdpFrame;
use crate::judge::{self, Hook};
use crate::tell::{self, Note};
use crate::{cookie, guard};

/// The hook before the kernel has built anything.
pub struct Xdp;

impl Hook for Xdp {
    type Context = xdp_md;

    #[inline(always)]
    fn bounds(ctx: *mut xdp_md) -> (usize, usize) {
        // SAFETY: context loads, rewritten by the verifier.
        unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) }
    }

    #[inline(always)]
    fn weigh(ctx: *mut xdp_md, listed: u32) -> u32 {
        weigh_xdp(ctx, listed)
    }

    #[inline(always)]
    fn show(ctx: *mut xdp_md) {
        let _shown = show_xdp(ctx);
    }

    #[inline(always)]
    fn answer(ctx: *mut xdp_md, reason: u32) -> u32 {
        let cookie = cookie::make_cookie(ctx);
        if cookie == 0 {
            return 0;
        }
        let _counted = Self::refuse(ctx, reason, 0);
        cookie::answer_syn(ctx, cookie as u32)
    }

    #[inline(always)]
    fn prove(ctx: *mut xdp_md) {
        if cookie::check_cookie(ctx) != 0 {
            let _proved = guard::proved();
        }
    }

    #[inline(always)]
    fn refuse(ctx: *mut xdp_md, reason: u32, rule: u32) -> u32 {
        if tell::count(len(ctx), reason) {
            tell_xdp(ctx, reason, rule, 1);
        }
        tell::DROPPED
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn see_xdp(ctx: *mut xdp_md) -> u32 {
    judge::keep(facts::see(&XdpFrame::new(ctx)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weigh_xdp(ctx: *mut xdp_md, listed: u32) -> u32 {
    judge::conclude::<Xdp>(ctx, see_xdp(ctx), listed, |reason, rule, dropped| {
        tell_xdp(ctx, reason, rule, dropped);
    })
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn show_xdp(ctx: *mut xdp_md) -> u32 {
    if tell::is_shown() { tell_xdp(ctx, u32::from(DropEvent::MONITOR_REASON), 0, 0) } else { 0 }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_xdp(ctx: *mut xdp_md, reason: u32, rule: u32, dropped: u32) -> u32 {
    let (data, end) = Xdp::bounds(ctx);
    // SAFETY: a context load, rewritten by the verifier.
    let ifindex = unsafe { (*ctx).ingress_ifindex };
    let note = Note { reason, rule, dropped: dropped != 0, ifindex, len: len(ctx) };
    tell::send(note, data, end)
}

/// Length of the frame. In one instruction that is neither moved nor split: the compiler would keep one of the two
/// pointers on the stack meanwhile, in half a word, which the verifier refuses.
#[inline(always)]
fn len(ctx: *mut xdp_md) -> u32 {
    let (data, end) = Xdp::bounds(ctx);
    #[cfg(target_arch = "bpf")]
    {
        let mut len = end;
        // SAFETY: one arithmetic instruction.
        unsafe {
            core::arch::asm!("{len} -= {data}", len = inout(reg) len, data = in(reg) data, options(nomem, nostack));
        }
        len as u32
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        (end - data) as u32
    }
}
