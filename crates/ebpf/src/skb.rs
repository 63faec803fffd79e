//! A frame in the kernel: [`Packet`] over a socket buffer, and nothing else that touches its bytes.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_skb_load_bytes, bpf_skb_pull_data};
use portcullis_engine::Packet;
use zerocopy::FromBytes;

/// A socket buffer, its headers in reach of direct access.
pub struct Skb {
    ctx: *mut __sk_buff,
    data: usize,
    data_end: usize,
    len: u32,
}

/// Memory that the verifier sees as aligned, whatever `T` asks for.
#[repr(C, align(8))]
struct Aligned<T>(MaybeUninit<T>);

impl Skb {
    /// Takes a look at the buffer. Senders can arrange for headers to lie outside the linear area
    /// (AF_PACKET with a virtio header does): then they are pulled in first. Where that fails,
    /// reads beyond the linear area fail, and the frame is malformed.
    #[inline(always)]
    pub fn new(ctx: *mut __sk_buff) -> Self {
        // SAFETY: the kernel hands a valid context to the program; these loads are rewritten by
        // the verifier. Volatile, so that they are not moved over the pull, which changes them.
        let load = || unsafe {
            (
                (&raw const (*ctx).data).read_volatile() as usize,
                (&raw const (*ctx).data_end).read_volatile() as usize,
            )
        };
        // SAFETY: as above.
        let len = unsafe { (*ctx).len };
        let want = len.min(Self::HEAD_LEN);
        let (mut data, mut data_end) = load();
        if data + want as usize > data_end {
            // SAFETY: a helper call with a valid context; pointers are loaded anew afterwards.
            let _failed = unsafe { bpf_skb_pull_data(ctx, want) };
            (data, data_end) = load();
        }
        Self { ctx, data, data_end, len }
    }
}

/// A socket buffer as it comes: only what lies in its linear area can be read.
pub struct Linear {
    ctx: *mut __sk_buff,
    data: usize,
    data_end: usize,
}

impl Linear {
    /// Takes a look at the buffer.
    #[inline(always)]
    pub fn new(ctx: *mut __sk_buff) -> Self {
        // SAFETY: context loads, rewritten by the verifier.
        let (data, data_end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
        Self { ctx, data, data_end }
    }
}

impl Packet for Linear {
    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: a context load, rewritten by the verifier.
        unsafe { (*self.ctx).len }
    }

    #[inline(always)]
    fn head<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        let start = self.data + offset as usize;
        if start + size_of::<T>() > self.data_end {
            return None;
        }
        // SAFETY: start and start + size lie within the linear area, as just checked (the verifier
        // checks it again); any bytes are a valid T.
        Some(unsafe { (start as *const T).read_unaligned() })
    }

    #[inline(always)]
    fn at<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        self.head(offset)
    }

    #[inline(always)]
    fn offloaded_tag(&self) -> Option<u16> {
        // SAFETY: context loads, rewritten by the verifier.
        unsafe { ((*self.ctx).vlan_present != 0).then(|| (*self.ctx).vlan_tci as u16) }
    }

    /// A tag has a protocol, and without a tag there is none, or one that an earlier tag left
    /// (before Linux 6.2): a single load, where presence takes three instructions.
    #[inline(always)]
    fn is_untagged(&self) -> bool {
        // SAFETY: a context load, rewritten by the verifier.
        unsafe { (*self.ctx).vlan_proto == 0 }
    }

    #[inline(always)]
    fn is_gso(&self) -> bool {
        // SAFETY: a context load, rewritten by the verifier (5.7, commit b7a8c9a9f0a4).
        unsafe { (*self.ctx).gso_size != 0 }
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn len(&self) -> u32 {
        self.len
    }

    #[inline(always)]
    fn head<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        let start = self.data + offset as usize;
        if start + size_of::<T>() > self.data_end {
            return None;
        }
        // SAFETY: start and start + size lie within the linear area, as just checked (the verifier
        // checks it again); any bytes are a valid T.
        Some(unsafe { (start as *const T).read_unaligned() })
    }

    #[inline(always)]
    fn at<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        let mut buffer = Aligned(MaybeUninit::<T>::uninit());
        // SAFETY: the helper writes size_of::<T>() bytes into the buffer or fails.
        let failed = unsafe {
            bpf_skb_load_bytes(self.ctx.cast(), offset, buffer.0.as_mut_ptr().cast(), size_of::<T>() as u32)
        };
        if failed != 0 {
            return None;
        }
        // SAFETY: the helper filled all of it; any bytes are a valid T.
        Some(unsafe { buffer.0.assume_init() })
    }

    #[inline(always)]
    fn offloaded_tag(&self) -> Option<u16> {
        // SAFETY: context loads, rewritten by the verifier.
        unsafe { ((*self.ctx).vlan_present != 0).then(|| (*self.ctx).vlan_tci as u16) }
    }

    #[inline(always)]
    fn is_gso(&self) -> bool {
        // SAFETY: a context load, rewritten by the verifier (5.7, commit b7a8c9a9f0a4).
        unsafe { (*self.ctx).gso_size != 0 }
    }
}
