//! All that is not the hot path, in functions of their own.
//!
//! The kernel verifies each of these global functions once and by itself, for any arguments of the
//! right type: the hot path stays small, and the ways through one function are not multiplied by the
//! ways into it. All arguments but the context are numbers; each looks at the frame anew.

use aya_ebpf::bindings::__sk_buff;
use portcullis_abi::{Ipv4, Ipv6, Pointer};
use portcullis_engine::gate::{self as engine, Binding, Further, LinkSource};
use portcullis_engine::header::{Ethernet, ethertype};
use portcullis_engine::{DropReason, Finding, Packet as _};

use crate::events::Note;
use crate::maps::{self, KernelTables};
use crate::skb::Skb;
use crate::{act, conduct, events, gate};

/// The furthest that a network layer may begin: behind an Ethernet header and a tag.
const MAX_OFFSET: u32 = 18;
const MALFORMED: Finding = Finding::Violation(DropReason::Malformed);

/// A frame that begins with an Ethernet header, whatever kind it is of.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn ethernet(ctx: *mut __sk_buff, pointer: u64) -> i32 {
    let index = Pointer(pointer).binding();
    let code = match gate::binding(index) {
        None => 0,
        Some(binding) => engine::verify_link(&Skb::new(ctx), &binding, |_, network| {
            Finding::from_code(match network.ethertype {
                ethertype::IPV4 => ipv4(ctx, index, network.offset),
                ethertype::IPV6 => weighed_ipv6(ctx, index, network.offset),
                ethertype::ARP => arp(ctx, index, network.offset),
                _ => engine::verify_other(&Skb::new(ctx), &binding, network).code(),
            })
        })
        .code(),
    };
    settle(ctx, pointer, code)
}

/// A packet that begins with its IP header.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn layer3(ctx: *mut __sk_buff, pointer: u64) -> i32 {
    let index = Pointer(pointer).binding();
    let code = match engine::ip_version(&Skb::new(ctx)) {
        Some(4) => ipv4(ctx, index, 0),
        Some(6) => weighed_ipv6(ctx, index, 0),
        _ => MALFORMED.code(),
    };
    settle(ctx, pointer, code)
}

/// Further addresses of a binding.
pub struct FurtherOf(pub Pointer);

impl Further for FurtherOf {
    #[inline(always)]
    fn owns_ipv4(&self, address: Ipv4) -> bool {
        owns_ipv4(self.0.binding(), u32::from_ne_bytes(address.0)) != 0
    }

    #[inline(always)]
    fn owns_ipv6(&self, address: Ipv6) -> bool {
        let [high, low] = address.words();
        owns_ipv6(self.0.binding(), high, low) != 0
    }
}

/// Whether a binding has this IPv4 address: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn owns_ipv4(index: u32, address: u32) -> u32 {
    let address = Ipv4(address.to_ne_bytes());
    gate::binding(index).map_or(0, |binding| u32::from(binding.owns_ipv4(address)))
}

/// Whether a binding has this IPv6 address, given as [`Ipv6::words`]: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn owns_ipv6(index: u32, high: u64, low: u64) -> u32 {
    let address = Ipv6::from_words([high, low]);
    gate::binding(index).map_or(0, |binding| u32::from(binding.owns_ipv6(address)))
}

/// An IPv4 packet at an offset. Says the finding's code, as the next two do.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ipv4(ctx: *mut __sk_buff, index: u32, offset: u32) -> u32 {
    verify(ctx, index, offset, |skb, binding| engine::verify_ipv4(skb, binding, offset))
}

/// An IPv6 packet at an offset; 0 means a device without Ethernet headers.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ipv6(ctx: *mut __sk_buff, index: u32, offset: u32) -> u32 {
    verify(ctx, index, offset, |skb, binding| {
        let link = match skb.head::<Ethernet>(0) {
            Some(ethernet) if offset != 0 => LinkSource::Ethernet(ethernet.source),
            _ => LinkSource::None,
        };
        engine::verify_ipv6(skb, binding, link, offset)
    })
}

/// Whether an IPv6 packet claims a source that is another's: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn has_foreign_source(ctx: *mut __sk_buff, index: u32, offset: u32) -> u32 {
    ask(ctx, index, offset, |skb, binding| engine::has_foreign_ipv6_source(skb, binding, offset))
}

/// Whether it speaks for another: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn has_foreign_message(ctx: *mut __sk_buff, index: u32, offset: u32) -> u32 {
    ask(ctx, index, offset, |skb, binding| engine::has_foreign_ipv6_message(skb, binding, offset))
}

/// An IPv6 packet at an offset, and what of it is evidence.
#[inline(always)]
fn weighed_ipv6(ctx: *mut __sk_buff, index: u32, offset: u32) -> u32 {
    let code = ipv6(ctx, index, offset);
    if code & Finding::MILD == 0
        || has_foreign_source(ctx, index, offset) == 0 && has_foreign_message(ctx, index, offset) == 0
    {
        return code;
    }
    code & !Finding::MILD | Finding::EVIDENCE
}

/// An ARP packet at an offset.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn arp(ctx: *mut __sk_buff, index: u32, offset: u32) -> u32 {
    verify(ctx, index, offset, |skb, binding| match skb.head::<Ethernet>(0) {
        Some(ethernet) => engine::verify_arp(skb, binding, LinkSource::Ethernet(ethernet.source), offset),
        None => MALFORMED,
    })
}

#[inline(always)]
fn verify(
    ctx: *mut __sk_buff,
    index: u32,
    offset: u32,
    judge: impl FnOnce(&Skb, &Binding<'_, KernelTables>) -> Finding,
) -> u32 {
    if offset > MAX_OFFSET {
        return MALFORMED.code();
    }
    match gate::binding(index) {
        Some(binding) => judge(&Skb::new(ctx), &binding).code(),
        None => 0,
    }
}

#[inline(always)]
fn ask(
    ctx: *mut __sk_buff,
    index: u32,
    offset: u32,
    question: impl FnOnce(&Skb, &Binding<'_, KernelTables>) -> bool,
) -> u32 {
    if offset > MAX_OFFSET {
        return 0;
    }
    gate::binding(index).map_or(0, |binding| u32::from(question(&Skb::new(ctx), &binding)))
}

/// The pointer of an interface that the array of anchors does not hold.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn far(ifindex: u32) -> u64 {
    maps::far_pointer_of(ifindex).0
}

/// Counts a frame by the code of what was found, and says what becomes of it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn settle(ctx: *mut __sk_buff, pointer: u64, code: u32) -> i32 {
    act(gate::settle(ctx, Pointer(pointer), code))
}

/// Counts evidence of intent of an endpoint that is not in quarantine, by its terms, and says what becomes of
/// the frame.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn refuse(ctx: *mut __sk_buff, pointer: u64, terms: u32, reason: u32) -> i32 {
    gate::refuse(ctx, Pointer(pointer), terms, reason)
}

/// Takes note of a hostile attempt; says what came of it, as [`conduct::strike`] does.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn strike(pointer: u64, code: u32) -> u32 {
    let (binding, slot) = (Pointer(pointer).binding(), Pointer(pointer).slot());
    match maps::endpoint(binding) {
        Some(endpoint) => conduct::strike(slot, endpoint, binding, code),
        None => conduct::SETTLED,
    }
}

/// Sends an event, or counts that it could not.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn report(ctx: *mut __sk_buff, slot: u32, binding: u32, note: u32) -> u32 {
    let sent = events::send(ctx, slot, binding, Note(note));
    if !sent {
        gate::lost(slot);
    }
    u32::from(sent)
}
