//! The shield's kernel programs: entry points only.
//!
//! They stand in an object of their own: the gate's is loaded once for every network namespace and into every
//! agent, the shield's only where somebody puts one up, with tables that may be large.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![allow(missing_docs, reason = "the xdp and classifier macros make undocumented functions")]

mod bench;
mod cookie;
mod frame;
mod guard;
mod judge;
mod maps;
mod rules;
mod settings;
#[path = "../skb.rs"]
#[allow(dead_code, reason = "the gate's other program reads frames in another way")]
mod skb;
mod tc;
mod tell;
mod xdp;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

/// Frames from outside, on an interface with Ethernet headers, before the kernel has built anything for them.
#[xdp]
#[inline(always)]
pub fn shield_xdp(ctx: XdpContext) -> u32 {
    act_xdp(judge::glance::<xdp::Xdp>(ctx.ctx))
}

/// Frames to a workload, on the host side of its interface, with segments still in one piece.
#[classifier]
#[inline(always)]
pub fn shield_tc(ctx: TcContext) -> i32 {
    match judge::glance::<tc::Tc>(ctx.skb.skb) {
        judge::Verdict::Pass => NEXT,
        // There is nothing here that answers.
        judge::Verdict::Drop | judge::Verdict::Send => DROP,
    }
}

/// `TCX_NEXT` and `TC_ACT_UNSPEC`: the next program decides.
const NEXT: i32 = -1;
/// `TCX_DROP` and `TC_ACT_SHOT`.
const DROP: i32 = 2;

/// The only place where a verdict becomes XDP's number.
#[inline(always)]
fn act_xdp(verdict: judge::Verdict) -> u32 {
    match verdict {
        judge::Verdict::Pass => xdp_action::XDP_PASS,
        judge::Verdict::Drop => xdp_action::XDP_DROP,
        judge::Verdict::Send => xdp_action::XDP_TX,
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never linked: the verifier refuses an endless loop, so a reachable panic fails the build's tests.
    loop {}
}

/// Helpers such as `bpf_ktime_get_ns` are for GPL-compatible programs.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
