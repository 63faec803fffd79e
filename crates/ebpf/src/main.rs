//! The kernel programs: entry points only.
//!
//! Each is a call into [`gate`] and the one exhaustive match that turns a verdict into the
//! number that the hook understands. Compiled for the host too, so that lints and docs reach it.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![allow(missing_docs, reason = "the classifier macro makes undocumented functions")]

mod cold;
mod conduct;
mod events;
mod gate;
mod maps;
mod settings;
mod skb;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use portcullis_engine::Verdict;

/// `TCX_NEXT`, `NETKIT_NEXT` and `TC_ACT_UNSPEC`: the next program decides.
const NEXT: i32 = -1;
/// `TCX_DROP`, `NETKIT_DROP` and `TC_ACT_SHOT`.
const DROP: i32 = 2;

/// Frames from a workload, on an interface with Ethernet headers (ingress of the host side, or
/// egress of the workload's own interface).
#[classifier]
#[inline(always)]
pub fn gate_ethernet(ctx: TcContext) -> i32 {
    gate::plain(raw(&ctx))
}

/// Packets from a workload, on an interface without Ethernet headers (tun).
#[classifier]
#[inline(always)]
pub fn gate_layer3(ctx: TcContext) -> i32 {
    let ctx = raw(&ctx);
    // SAFETY: a context load, rewritten by the verifier.
    let pointer = maps::pointer_of(unsafe { (*ctx).ifindex });
    cold::layer3(ctx, pointer.0)
}

/// Frames to a workload in quarantine.
#[classifier]
#[inline(always)]
pub fn gate_quarantine(ctx: TcContext) -> i32 {
    act(gate::quarantine(raw(&ctx)))
}

/// The cheapest program there is: what measurements are taken against.
#[classifier]
#[inline(always)]
pub fn bench_empty(_ctx: TcContext) -> i32 {
    NEXT
}

/// The only place where a verdict becomes a number.
#[inline(always)]
fn act(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Pass | Verdict::PassReported(_) | Verdict::Audit(_) => NEXT,
        Verdict::Drop(_) => DROP,
    }
}

#[inline(always)]
fn raw(ctx: &TcContext) -> *mut __sk_buff {
    ctx.as_ptr().cast()
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never linked: the verifier refuses an endless loop, so a reachable panic fails the build's tests.
    loop {}
}

/// Helpers such as `bpf_skb_cgroup_id` are for GPL-compatible programs.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
