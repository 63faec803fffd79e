//! The netlink wire format, as far as it is needed: requests out, messages and attributes in.
//!
//! Pure. Reading never panics: whatever does not fit is the end of the message.

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Flags in the upper bits of an attribute's type: nested, network byte order.
const TYPE_MASK: u16 = 0x3fff;

/// A request under construction.
#[derive(Debug, Clone)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// A request of a kind with its fixed part (`ifinfomsg`, `ifaddrmsg`, `rtgenmsg`).
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        pad(&mut bytes);
        Self(bytes)
    }

    /// Adds an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        pad(&mut self.0);
        self
    }

    /// The bytes to send under a sequence number.
    pub(crate) fn numbered(&mut self, sequence: u32) -> &[u8] {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        &self.0
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A received message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// `RTM_…` or `NLMSG_…`.
    pub(crate) kind: u16,
    /// `NLM_F_…`.
    pub(crate) flags: u16,
    /// The request it answers; 0 in notifications.
    pub(crate) sequence: u32,
    /// What follows the header.
    pub(crate) payload: &'a [u8],
}

/// The messages in a datagram.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in a message (after its fixed part) or in a nested attribute.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A 16-bit number in host order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A 32-bit number in host order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A signed 32-bit number in host order.
pub(crate) fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A text that ends with its first zero byte.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back() {
        let mut request =
            Request::new(18, 0x300, &[7; 16]).attribute(3, b"veth0\0").attribute(29, &[8, 0, 0, 0]);
        let bytes = request.numbered(5).to_vec();
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].flags, all[0].sequence), (18, 0x301, 5));
        let found: Vec<_> = attributes(&all[0].payload[16..]).collect();
        assert_eq!(found, [(3, &b"veth0\0"[..]), (29, &[8, 0, 0, 0][..])]);
        assert_eq!(text(found[0].1), "veth0");
    }

    #[test]
    fn broken_lengths_end_the_message() {
        for length in [0u32, 1, 15, 4000, u32::MAX] {
            let mut bytes = [0u8; 64];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&bytes).count(), 0, "{length}");
        }
        for length in [0u16, 1, 3, 4000, u16::MAX] {
            let mut bytes = [0u8; 64];
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(attributes(&bytes).count(), 0, "{length}");
        }
        assert_eq!(messages(&[]).count() + attributes(&[1]).count(), 0);
    }
}
