//! How a frame is read.

use zerocopy::FromBytes;

/// A frame, from its first byte on, wherever it may lie in memory.
pub trait Packet {
    /// Length of the whole frame in bytes, the parts outside the linear area included.
    fn len(&self) -> u32;

    /// Whether the frame has no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a `T` that stands within the first [`Self::HEAD_LEN`] bytes: cheap. `None` where
    /// the frame ends before it.
    fn head<T: FromBytes + Copy>(&self, offset: u32) -> Option<T>;

    /// Reads a `T` anywhere: costs a helper call in the kernel. `None` where the frame ends
    /// before it.
    fn at<T: FromBytes + Copy>(&self, offset: u32) -> Option<T>;

    /// The tag control information of a VLAN tag that stands in metadata instead of the frame.
    fn offloaded_tag(&self) -> Option<u16>;

    /// Whether there is certainly no such tag: may say `false` where there is none.
    #[inline(always)]
    fn is_untagged(&self) -> bool {
        self.offloaded_tag().is_none()
    }

    /// Whether this is a GSO super-packet, whose length fields may be zero (BIG TCP).
    fn is_gso(&self) -> bool;

    /// Bytes that [`Self::head`] reaches, where the frame is as long.
    const HEAD_LEN: u32 = 96;
}

/// A frame in one piece of memory: for tests and for decoding captures.
#[derive(Clone, Copy, Debug)]
pub struct SlicePacket<'a> {
    bytes: &'a [u8],
    tag: Option<u16>,
    gso: bool,
}

impl<'a> SlicePacket<'a> {
    /// A frame without an offloaded tag, not GSO.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, tag: None, gso: false }
    }

    /// The same frame with a tag in metadata.
    #[must_use]
    pub const fn with_tag(mut self, tci: u16) -> Self {
        self.tag = Some(tci);
        self
    }

    /// The same frame as a GSO super-packet.
    #[must_use]
    pub const fn with_gso(mut self) -> Self {
        self.gso = true;
        self
    }
}

impl Packet for SlicePacket<'_> {
    fn len(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn head<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        self.at(offset)
    }

    fn at<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        let rest = self.bytes.get(usize::try_from(offset).ok()?..)?;
        T::read_from_prefix(rest).ok().map(|(value, _)| value)
    }

    fn offloaded_tag(&self) -> Option<u16> {
        self.tag
    }

    fn is_gso(&self) -> bool {
        self.gso
    }
}
