//! Traffic-control messages on a netlink socket, as far as filters need them.
//!
//! By hand, since a foreign filter with an attribute that a complete parser does not know must not
//! make a hook unreadable. Reading never panics: what does not fit is the end of the message.

use std::fmt;
use std::io;

use netlink_sys::constants::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct ifinfomsg`.
pub const LINK_LENGTH: usize = 16;
/// Without the flags in the upper bits of an attribute's type: nested, network byte order.
const TYPE_MASK: u16 = 0x3fff;
/// The kernel's own words in a refusal (`NLMSGERR_ATTR_MSG`).
const MESSAGE: u16 = 1;

/// `struct tcmsg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcm {
    pub ifindex: u32,
    pub handle: u32,
    pub parent: u32,
    pub info: u32,
}

impl Tcm {
    pub const LENGTH: usize = 20;

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            ifindex: u32_at(bytes, 4)?,
            handle: u32_at(bytes, 8)?,
            parent: u32_at(bytes, 12)?,
            info: u32_at(bytes, 16)?,
        })
    }
}

/// A request under construction: header, `struct tcmsg`, attributes.
#[derive(Debug)]
pub struct Request(Vec<u8>);

impl Request {
    pub fn new(kind: u16, flags: u16, tcm: Tcm) -> Self {
        let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut bytes = vec![0; HEADER + 4];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        for field in [tcm.ifindex, tcm.handle, tcm.parent, tcm.info] {
            bytes.extend_from_slice(&field.to_ne_bytes());
        }
        Self(bytes)
    }

    /// What is there to know about an interface.
    pub fn about_link(ifindex: u32) -> Self {
        // `struct ifinfomsg`.
        let mut bytes = vec![0; HEADER + LINK_LENGTH];
        bytes[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
        bytes[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
        bytes[HEADER + 4..HEADER + 8].copy_from_slice(&ifindex.to_ne_bytes());
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, parts: &[&[u8]]) -> Self {
        let length: usize = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
        self.0.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn text(self, kind: u16, text: &[u8]) -> Self {
        self.attribute(kind, &[text, &[0]])
    }

    pub fn number(self, kind: u16, number: u32) -> Self {
        self.attribute(kind, &[&number.to_ne_bytes()])
    }

    pub fn nested(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let inner = fill(Self(Vec::new())).0;
        self.attribute(kind, &[&inner])
    }

    fn numbered(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// A message that answers a request.
#[derive(Debug)]
pub struct Answer {
    /// `RTM_…`.
    pub kind: u16,
    /// What follows the header.
    pub payload: Vec<u8>,
}

/// What the kernel said when it refused, in its own words.
#[derive(Debug)]
struct Refusal {
    source: io::Error,
    message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.message)
    }
}

impl std::error::Error for Refusal {}

/// The error number in an error with the kernel's own words.
pub fn refusal(error: &io::Error) -> Option<i32> {
    error.get_ref()?.downcast_ref::<Refusal>()?.source.raw_os_error()
}

/// A socket to the kernel.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    sequence: u32,
}

impl Connection {
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Both are for better messages only, and newer (4.12) than the oldest kernels we run on.
        let _optional = socket.set_ext_ack(true).and_then(|()| socket.set_cap_ack(true));
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends a request and waits for all answers and the acknowledgement.
    pub fn ask(&mut self, request: Request) -> io::Result<Vec<Answer>> {
        self.sequence += 1;
        self.socket.send(&request.numbered(self.sequence), 0)?;
        let mut answers = Vec::new();
        loop {
            let (datagram, from) = self.socket.recv_from_full()?;
            if from.port_number() != 0 {
                continue;
            }
            for message in messages(&datagram).filter(|message| message.sequence == self.sequence) {
                match i32::from(message.kind) {
                    // The end of a listing carries a number like an acknowledgement's.
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        return acknowledged(&message).map(|()| answers);
                    }
                    _ => answers.push(Answer { kind: message.kind, payload: message.payload.to_vec() }),
                }
            }
        }
    }
}

/// Reads an acknowledgement: 0 or a negative error number, then the request's header.
fn acknowledged(message: &Message<'_>) -> io::Result<()> {
    let code = u32_at(message.payload, 0).map_or(-libc::EBADMSG, u32::cast_signed);
    if code == 0 {
        return Ok(());
    }
    let source = io::Error::from_raw_os_error(code.saturating_neg());
    // Callers tell these apart by number, and no words explain them better.
    if matches!(code.saturating_neg(), libc::ENODEV | libc::EPERM) {
        return Err(source);
    }
    let capped = message.flags & libc::NLM_F_CAPPED as u16 != 0;
    let echoed = if capped { HEADER } else { u32_at(message.payload, 4).map_or(HEADER, |len| len as usize) };
    let words = message.payload.get(4 + echoed.next_multiple_of(4)..).unwrap_or_default();
    let has_words = message.flags & libc::NLM_F_ACK_TLVS as u16 != 0;
    match attributes(words).find(|(kind, _)| has_words && *kind == MESSAGE) {
        Some((_, words)) => {
            let message = String::from_utf8_lossy(text(words)).into_owned();
            Err(io::Error::new(source.kind(), Refusal { source, message }))
        }
        None => Err(source),
    }
}

#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
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

/// The attributes after a fixed part, or in a nested attribute.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A text up to its first zero byte.
pub fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A 32-bit number in host order.
pub fn number(bytes: &[u8]) -> Option<u32> {
    u32_at(bytes, 0)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCM: Tcm = Tcm { ifindex: 5, handle: 0x7063, parent: 0xffff_fff2, info: 0x1_0300 };

    #[test]
    fn a_request_reads_back() {
        let bytes = Request::new(44, 0x500, TCM)
            .text(1, b"bpf")
            .nested(2, |options| options.number(6, 9).text(7, b"portcullis"))
            .numbered(3);
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].flags, all[0].sequence), (44, 0x505, 3));
        assert_eq!(Tcm::parse(all[0].payload), Some(TCM));
        let found: Vec<_> = attributes(&all[0].payload[Tcm::LENGTH..]).collect();
        assert_eq!(found[0], (1, &b"bpf\0"[..]));
        let options: Vec<_> = attributes(found[1].1).collect();
        assert_eq!(options.len(), 2);
        assert_eq!((number(options[0].1), text(options[1].1)), (Some(9), &b"portcullis"[..]));
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
    }

    #[test]
    fn refusals_keep_their_number_and_say_why() {
        let mut payload = (-libc::EINVAL).to_ne_bytes().to_vec();
        payload.extend_from_slice(&[0; HEADER]);
        payload.extend_from_slice(&[8, 0, 1, 0]);
        payload.extend_from_slice(b"why\0");
        let flags = (libc::NLM_F_CAPPED | libc::NLM_F_ACK_TLVS) as u16;
        let error = acknowledged(&Message { kind: 2, flags, sequence: 1, payload: &payload }).unwrap_err();
        assert_eq!(refusal(&error), Some(libc::EINVAL));
        assert!(error.to_string().ends_with(": why"), "{error}");
        assert!(acknowledged(&Message { kind: 2, flags: 0, sequence: 1, payload: &[0; 20] }).is_ok());
    }
}
