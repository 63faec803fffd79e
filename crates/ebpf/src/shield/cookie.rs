//! SYNs answered without state: the kernel's SYN cookies by its own helpers (6.0), made and looked at here.
//!
//! Only plain frames are answered: Ethernet without tags, IP without options or extension headers. The SYN-ACK is made
//! in the place of the SYN.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_tcp_raw_check_syncookie_ipv4, bpf_tcp_raw_check_syncookie_ipv6, bpf_tcp_raw_gen_syncookie_ipv4,
    bpf_tcp_raw_gen_syncookie_ipv6, bpf_xdp_adjust_tail,
};

use crate::{maps, settings};

const ETHERTYPE_AT: usize = 12;
const IP_AT: usize = 14;
const TCP4_AT: usize = IP_AT + 20;
const TCP6_AT: usize = IP_AT + 40;
const TCP_LEN: usize = 20;
/// With an option for the segment size.
const ANSWER_LEN: usize = 24;
const MOST_TCP_LEN: usize = 60;
/// Words of options beyond the first, by their mask: more than there are.
const MOST_OPTIONS: u64 = 15;

const IPV4: u16 = 0x0800u16.to_be();
const IPV6: u16 = 0x86ddu16.to_be();
const TCP: u8 = 6;
/// First byte of an IPv4 header without options.
const PLAIN4: u8 = 0x45;
/// Without "don't fragment".
const FRAGMENT: u16 = 0x3fffu16.to_be();

/// A frame that is answered here, by what tells one kind from the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    V4,
    V6,
}

/// What lies in a frame; reads and writes are within what was checked.
#[derive(Clone, Copy)]
struct Bytes {
    data: usize,
    end: usize,
}

impl Bytes {
    #[inline(always)]
    fn of(ctx: *mut xdp_md) -> Self {
        // SAFETY: context loads, rewritten by the verifier; volatile, so that none is made of a part of the context.
        unsafe {
            Self {
                data: (&raw const (*ctx).data).read_volatile() as usize,
                end: (&raw const (*ctx).data_end).read_volatile() as usize,
            }
        }
    }

    #[inline(always)]
    const fn has(self, len: usize) -> bool {
        self.data + len <= self.end
    }

    /// # Safety
    /// The frame must have been found to be so long.
    #[inline(always)]
    unsafe fn get<T: Copy>(self, at: usize) -> T {
        // SAFETY: as the caller says; the verifier checks it again.
        unsafe { ((self.data + at) as *const T).read_unaligned() }
    }

    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn put<T: Copy>(self, at: usize, value: T) {
        // SAFETY: as above.
        unsafe { ((self.data + at) as *mut T).write_unaligned(value) }
    }
}

/// The kind of a frame with a whole TCP header, if it is plain.
#[inline(always)]
fn kind_of(frame: Bytes) -> Option<Kind> {
    if !frame.has(TCP4_AT + TCP_LEN) {
        return None;
    }
    // SAFETY: all of this lies in what was just found to be there, or for IPv6 is so found.
    unsafe {
        match frame.get::<u16>(ETHERTYPE_AT) {
            IPV4 => {
                let is_plain = frame.get::<u8>(IP_AT) == PLAIN4
                    && frame.get::<u16>(IP_AT + 6) & FRAGMENT == 0
                    && frame.get::<u8>(IP_AT + 9) == TCP;
                if is_plain { Some(Kind::V4) } else { None }
            }
            IPV6 if frame.has(TCP6_AT + TCP_LEN) && frame.get::<u8>(IP_AT + 6) == TCP => Some(Kind::V6),
            _ => None,
        }
    }
}

/// The cookie that answers a SYN, in the lower half; 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn make_cookie(ctx: *mut xdp_md) -> u64 {
    if !settings::has_cookies() {
        return 0;
    }
    let frame = Bytes::of(ctx);
    let Some(kind) = kind_of(frame) else {
        return 0;
    };
    // Nobody is answered who has not asked us alone.
    // SAFETY: the frame has a TCP header, of which this is well before.
    if unsafe { frame.get::<u8>(0) } & 1 != 0 {
        return 0;
    }
    let cookie = match kind {
        Kind::V4 => make_at::<TCP4_AT>(frame, |tcp, len| {
            // SAFETY: the frame has been found to have the IP header; the copy of the TCP header has `len` bytes.
            unsafe { bpf_tcp_raw_gen_syncookie_ipv4((frame.data + IP_AT) as *mut _, tcp.cast(), len) }
        }),
        Kind::V6 => make_at::<TCP6_AT>(frame, |tcp, len| {
            // SAFETY: as above.
            unsafe { bpf_tcp_raw_gen_syncookie_ipv6((frame.data + IP_AT) as *mut _, tcp.cast(), len) }
        }),
    };
    // The segment size is in the upper half, and never 0; an error is negative.
    if cookie > 0 { cookie as u64 } else { 0 }
}

/// Hands a copy of the TCP header to the helper: the verifier wants room for the longest, which few frames have.
#[inline(always)]
fn make_at<const TCP_AT: usize>(frame: Bytes, helper: impl FnOnce(*mut u32, u32) -> i64) -> i64 {
    // SAFETY: `kind_of` has found this header there.
    let len = usize::from(unsafe { frame.get::<u8>(TCP_AT + 12) } >> 4) * 4;
    if len < ANSWER_LEN || !frame.has(TCP_AT + ANSWER_LEN) {
        return 0;
    }
    let mut tcp = [0u32; ANSWER_LEN / 4 + MOST_OPTIONS as usize];
    for (word, copy) in tcp.iter_mut().take(MOST_TCP_LEN / 4).enumerate() {
        if word * 4 >= len {
            break;
        }
        if !frame.has(TCP_AT + word * 4 + 4) {
            return 0;
        }
        // SAFETY: just checked.
        *copy = unsafe { frame.get(TCP_AT + word * 4) };
    }
    // Bounds that the verifier sees: never nothing, and no more than there is room for.
    let options = maps::bounded::<{ MOST_OPTIONS }>((len - ANSWER_LEN) as u32 / 4) as u32;
    helper(tcp.as_mut_ptr(), ANSWER_LEN as u32 + options * 4)
}

/// Whether an ACK answers a cookie of this machine: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn check_cookie(ctx: *mut xdp_md) -> u32 {
    if !settings::has_cookies() {
        return 0;
    }
    let frame = Bytes::of(ctx);
    let Some(kind) = kind_of(frame) else {
        return 0;
    };
    let ip = frame.data + IP_AT;
    // SAFETY: `kind_of` has found both headers there.
    let refused = unsafe {
        match kind {
            Kind::V4 => bpf_tcp_raw_check_syncookie_ipv4(ip as *mut _, (frame.data + TCP4_AT) as *mut _),
            Kind::V6 => bpf_tcp_raw_check_syncookie_ipv6(ip as *mut _, (frame.data + TCP6_AT) as *mut _),
        }
    };
    u32::from(refused == 0)
}

/// Makes the SYN-ACK out of the SYN: 1, or 0 where nothing was changed.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn answer_syn(ctx: *mut xdp_md, cookie: u32) -> u32 {
    if !settings::has_cookies() {
        return 0;
    }
    let frame = Bytes::of(ctx);
    let len = match kind_of(frame) {
        Some(Kind::V4) if frame.has(TCP4_AT + ANSWER_LEN) => answer4(frame, cookie),
        Some(Kind::V6) if frame.has(TCP6_AT + ANSWER_LEN) => answer6(frame, cookie),
        _ => return 0,
    };
    // Options and data go. Where that fails they are padding: the IP header tells the length.
    let surplus = len as i32 - maps::bounded::<0xffff>((frame.end - frame.data) as u32) as i32;
    // SAFETY: a valid context; no pointer into the frame is used afterwards.
    let _padding = unsafe { bpf_xdp_adjust_tail(ctx, surplus) };
    1
}

#[inline(always)]
fn answer4(frame: Bytes, cookie: u32) -> usize {
    // SAFETY: `answer_syn` has found the frame to be long enough for all of it.
    unsafe {
        swap_macs(frame);
        let (source, destination) = (frame.get::<u32>(IP_AT + 12), frame.get::<u32>(IP_AT + 16));
        let header = [word([PLAIN4, 0, 0, 44]), word([0, 0, 0x40, 0]), word([64, TCP, 0, 0])];
        let addresses = half_words(source) + half_words(destination);
        let sum = header.into_iter().map(half_words).sum::<u64>() + addresses;
        frame.put(IP_AT, header);
        frame.put(IP_AT + 10, folded(sum));
        frame.put(IP_AT + 12, destination);
        frame.put(IP_AT + 16, source);
        answer_tcp::<TCP4_AT>(frame, cookie, addresses, 1460);
    }
    TCP4_AT + ANSWER_LEN
}

#[inline(always)]
fn answer6(frame: Bytes, cookie: u32) -> usize {
    // SAFETY: as above.
    unsafe {
        swap_macs(frame);
        let (source, destination) = (frame.get::<[u32; 4]>(IP_AT + 8), frame.get::<[u32; 4]>(IP_AT + 24));
        let addresses = source.into_iter().chain(destination).map(half_words).sum::<u64>();
        frame.put(IP_AT, [word([0x60, 0, 0, 0]), word([0, ANSWER_LEN as u8, TCP, 64])]);
        frame.put(IP_AT + 8, destination);
        frame.put(IP_AT + 24, source);
        answer_tcp::<TCP6_AT>(frame, cookie, addresses, 1440);
    }
    TCP6_AT + ANSWER_LEN
}

/// # Safety
/// The frame must have an Ethernet header.
#[inline(always)]
unsafe fn swap_macs(frame: Bytes) {
    // SAFETY: as the caller says.
    unsafe {
        let (to, from) = (frame.get::<[u16; 3]>(0), frame.get::<[u16; 3]>(6));
        frame.put(0, from);
        frame.put(6, to);
    }
}

/// # Safety
/// The frame must have `ANSWER_LEN` bytes from `AT` on.
#[inline(always)]
unsafe fn answer_tcp<const AT: usize>(frame: Bytes, cookie: u32, addresses: u64, segment: u16) {
    // SAFETY: as the caller says.
    unsafe {
        let ports = frame.get::<u32>(AT).rotate_left(16);
        let acknowledged = u32::from_be(frame.get(AT + 4)).wrapping_add(1).to_be();
        let [high, low] = segment.to_be_bytes();
        // Six words, SYN and ACK, a window of 64,240 bytes; no checksum yet, nothing urgent; the segment size.
        let flags = word([0x60, 0x12, 0xfa, 0xf0]);
        let header = [ports, cookie.to_be(), acknowledged, flags, 0, word([2, 4, high, low])];
        let pseudo = addresses + half_words(word([0, TCP, 0, ANSWER_LEN as u8]));
        let sum = header.into_iter().map(half_words).sum::<u64>() + pseudo;
        frame.put(AT, header);
        frame.put(AT + 16, folded(sum));
    }
}

/// Four bytes as memory has them.
#[inline(always)]
const fn word(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

/// The sum of both halves. The Internet checksum is the same in any order of bytes.
#[inline(always)]
const fn half_words(word: u32) -> u64 {
    (word & 0xffff) as u64 + (word >> 16) as u64
}

#[inline(always)]
const fn folded(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
