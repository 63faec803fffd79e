//! Programs for measurements only: they write a source address into the frame, and then do or do not go on as the
//! shield does. Never attached.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use crate::judge;
use crate::xdp::Xdp;

const SOURCE_AT: usize = 14 + 12;
const HEADERS_LEN: usize = 14 + 20;

/// Does nothing: what measurements are taken against.
#[xdp]
#[inline(always)]
pub fn bench_xdp_empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Drops everything: how fast a device can.
#[xdp]
#[inline(always)]
pub fn bench_drop(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Sends everything out of the interface that it came in by.
#[xdp]
#[inline(always)]
pub fn bench_send(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Any source.
#[xdp]
#[inline(always)]
pub fn bench_random_base(ctx: XdpContext) -> u32 {
    write(ctx.ctx, random())
}

#[xdp]
#[inline(always)]
pub fn bench_random(ctx: XdpContext) -> u32 {
    write(ctx.ctx, random());
    crate::act_xdp(judge::glance::<Xdp>(ctx.ctx))
}

/// Sources from a list that the measurement makes by the same function.
#[xdp]
#[inline(always)]
pub fn bench_listed_base(ctx: XdpContext) -> u32 {
    write(ctx.ctx, listed())
}

#[xdp]
#[inline(always)]
pub fn bench_listed(ctx: XdpContext) -> u32 {
    write(ctx.ctx, listed());
    crate::act_xdp(judge::glance::<Xdp>(ctx.ctx))
}

#[inline(always)]
fn random() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_prandom_u32() }
}

/// The address of an entry out of a million: three of four are single addresses, one is any of a /24.
#[inline(always)]
fn listed() -> u32 {
    let random = random();
    let entry = ((random as u64 * 1_000_000) >> 32) as u32;
    portcullis_abi::shield::sample(entry)
}

#[inline(always)]
fn write(ctx: *mut xdp_md, source: u32) -> u32 {
    // SAFETY: context loads, rewritten by the verifier.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    if data + HEADERS_LEN <= end {
        // SAFETY: within the first 34 bytes, which are there.
        unsafe { ((data + SOURCE_AT) as *mut u32).write_unaligned(source.to_be()) };
    }
    xdp_action::XDP_PASS
}
