//! Frames at the tc hook.

use aya_ebpf::bindings::__sk_buff;
use portcullis_abi::DropEvent;
use portcullis_engine::shield::facts;

use crate::judge::{self, Hook};
use crate::skb::Skb;
use crate::tell::{self, Note};

/// The hook on an interface's queue.
pub struct Tc;

impl Hook for Tc {
    type Context = __sk_buff;

    #[inline(always)]
    fn bounds(ctx: *mut __sk_buff) -> (usize, usize) {
        // SAFETY: context loads, rewritten by the verifier.
        unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) }
    }

    #[inline(always)]
    fn weigh(ctx: *mut __sk_buff, listed: u32) -> u32 {
        weigh_tc(ctx, listed)
    }

    #[inline(always)]
    fn show(ctx: *mut __sk_buff) {
        let _shown = show_tc(ctx);
    }

    /// A socket buffer would have to be sent back by a redirection; the kernel's own cookies are as near.
    #[inline(always)]
    fn answer(_ctx: *mut __sk_buff, _reason: u32) -> u32 {
        0
    }

    #[inline(always)]
    fn prove(_ctx: *mut __sk_buff) {}

    #[inline(always)]
    fn refuse(ctx: *mut __sk_buff, reason: u32, rule: u32) -> u32 {
        // SAFETY: a context load, rewritten by the verifier.
        if tell::count(unsafe { (*ctx).len }, reason) {
            tell_tc(ctx, reason, rule, 1);
        }
        tell::DROPPED
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn see_tc(ctx: *mut __sk_buff) -> u32 {
    judge::keep(facts::see(&Skb::new(ctx)))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn weigh_tc(ctx: *mut __sk_buff, listed: u32) -> u32 {
    judge::conclude::<Tc>(ctx, see_tc(ctx), listed, |reason, rule, dropped| {
        tell_tc(ctx, reason, rule, dropped);
    })
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn show_tc(ctx: *mut __sk_buff) -> u32 {
    if tell::is_shown() { tell_tc(ctx, u32::from(DropEvent::MONITOR_REASON), 0, 0) } else { 0 }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_tc(ctx: *mut __sk_buff, reason: u32, rule: u32, dropped: u32) -> u32 {
    let (data, end) = Tc::bounds(ctx);
    // SAFETY: context loads, rewritten by the verifier.
    let (ifindex, len) = unsafe { ((*ctx).ifindex, (*ctx).len) };
    tell::send(Note { reason, rule, dropped: dropped != 0, ifindex, len }, data, end)
}
