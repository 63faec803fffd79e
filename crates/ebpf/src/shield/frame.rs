//! A frame as XDP has it: [`Packet`] over the driver's memory, and nothing else that touches its bytes.

use aya_ebpf::bindings::xdp_md;
use portcullis_engine::Packet;
use zerocopy::FromBytes;

/// A frame in one piece of memory.
pub struct XdpFrame {
    data: usize,
    end: usize,
}

/// No read goes further: the verifier wants a bound on offsets from a packet's start.
const MAX_OFFSET: usize = 0x3fff;

impl XdpFrame {
    /// Takes a look at it.
    #[inline(always)]
    pub fn new(ctx: *mut xdp_md) -> Self {
        // SAFETY: the kernel hands a valid context to the program; these loads are rewritten by the verifier.
        // Volatile, so that none is made of a part of the context.
        unsafe {
            Self {
                data: (&raw const (*ctx).data).read_volatile() as usize,
                end: (&raw const (*ctx).data_end).read_volatile() as usize,
            }
        }
    }
}

impl Packet for XdpFrame {
    #[inline(always)]
    fn len(&self) -> u32 {
        (self.end - self.data) as u32
    }

    #[inline(always)]
    fn head<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        if offset as usize > MAX_OFFSET {
            return None;
        }
        let start = self.data + offset as usize;
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: start and start + size lie within the frame, as just checked (the verifier checks it again); any
        // bytes are a valid T.
        Some(unsafe { (start as *const T).read_unaligned() })
    }

    #[inline(always)]
    fn at<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        self.head(offset)
    }

    #[inline(always)]
    fn offloaded_tag(&self) -> Option<u16> {
        None
    }

    #[inline(always)]
    fn is_gso(&self) -> bool {
        false
    }
}
