//! The captured bytes, read from front to back.

use zerocopy::FromBytes;

/// What is still to be read of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Bytes of the frame that follow those captured.
    beyond: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], frame_len: u32) -> Self {
        let frame_len = usize::try_from(frame_len).unwrap_or(usize::MAX);
        Self { bytes, beyond: frame_len.saturating_sub(bytes.len()) }
    }

    /// Reads a header and goes behind it; stays where it is if that is not there as a whole.
    pub(super) fn take<T: FromBytes + Copy>(&mut self) -> Option<T> {
        let value = self.look()?;
        self.bytes = &self.bytes[size_of::<T>()..];
        Some(value)
    }

    /// Reads a header and stays before it.
    pub(super) fn look<T: FromBytes + Copy>(&self) -> Option<T> {
        T::read_from_prefix(self.bytes).ok().map(|(value, _)| value)
    }

    /// Reads a header `offset` bytes ahead and stays where it is.
    pub(super) fn look_at<T: FromBytes + Copy>(&self, offset: usize) -> Option<T> {
        T::read_from_prefix(self.bytes.get(offset..)?).ok().map(|(value, _)| value)
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    /// Goes on by `len` bytes; past the end of the capture nothing can be read any more.
    pub(super) fn skip(&mut self, len: usize) {
        let here = len.min(self.bytes.len());
        self.bytes = &self.bytes[here..];
        self.beyond = self.beyond.saturating_sub(len - here);
    }

    /// Leaves out all beyond `len` bytes: padding after a packet.
    pub(super) fn limit(&mut self, len: usize) {
        let here = len.min(self.bytes.len());
        self.bytes = &self.bytes[..here];
        self.beyond = self.beyond.min(len - here);
    }

    /// Bytes that the frame still has, captured or not.
    pub(super) fn len(&self) -> usize {
        self.bytes.len().saturating_add(self.beyond)
    }

    /// Whether the frame has more than what was captured.
    pub(super) fn is_cut(&self) -> bool {
        self.beyond > 0
    }
}
