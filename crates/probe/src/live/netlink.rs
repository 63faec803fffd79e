//! Links, addresses and default routes of the namespace that the calling thread is in.
//!
//! Netlink rather than `/sys`: `/sys/class/net` shows the namespace in which it was mounted.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use portcullis_abi::Mac;

/// An interface.
#[derive(Debug, Clone, Default)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub kind: Option<String>,
    /// `ARPHRD_…`: 1 Ethernet, 772 loopback.
    pub hardware: u16,
    pub mac: Option<Mac>,
    pub up: bool,
    /// Index of the other end of a pair.
    pub peer: Option<u32>,
    /// Number by which this namespace knows the other end's; none where it is the same one.
    pub peer_nsid: Option<i32>,
    /// The bridge (or bond, or VRF) that it is a port of.
    pub master: Option<u32>,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    pub index: u32,
    pub ip: IpAddr,
    pub prefix: u8,
}

const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNSID: u16 = 90;
const DUMP: u16 = 0x300;
const REQUEST: u16 = 1;

/// All interfaces.
pub fn links() -> io::Result<Vec<Link>> {
    Ok(ask(RTM_GETLINK, DUMP, &[0; 16])?.iter().filter_map(|body| link(body)).collect())
}

/// All addresses.
pub fn addresses() -> io::Result<Vec<Address>> {
    Ok(ask(RTM_GETADDR, DUMP, &[0; 8])?.iter().filter_map(|body| address(body)).collect())
}

/// The next hops of the default routes: interface and address.
pub fn default_gateways() -> io::Result<Vec<(u32, IpAddr)>> {
    Ok(ask(RTM_GETROUTE, DUMP, &[0; 12])?.iter().filter_map(|body| gateway(body)).collect())
}

/// The number by which this namespace knows another, where it has given one.
pub fn nsid_of(namespace: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut body = vec![0; 4];
    body.extend_from_slice(&8u16.to_ne_bytes());
    body.extend_from_slice(&3u16.to_ne_bytes());
    body.extend_from_slice(&namespace.as_raw_fd().to_ne_bytes());
    let answer = ask(RTM_GETNSID, 0, &body)?;
    let number = answer.first().and_then(|body| attributes(body, 4).find(|(kind, _)| *kind == 1));
    Ok(number.and_then(|(_, value)| u32_at(value, 0)).map(|n| n as i32).filter(|n| *n >= 0))
}

/// Sends one request and returns the bodies of all answers.
fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = Vec::with_capacity(16 + body.len());
    request.extend_from_slice(&((16 + body.len()) as u32).to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(body);
    socket.send(&request, 0)?;
    let mut answers = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while let (Some(len), Some(kind)) = (u32_at(rest, 0), u16_at(rest, 4)) {
            let len = len as usize;
            let body = rest.get(16..len).unwrap_or_default();
            match kind {
                // NLMSG_ERROR: a negative errno.
                2 => return Err(io::Error::from_raw_os_error(-(u32_at(body, 0).unwrap_or(0) as i32))),
                // NLMSG_DONE.
                3 => return Ok(answers),
                _ => answers.push(body.to_vec()),
            }
            rest = rest.get(len.next_multiple_of(4).max(16)..).unwrap_or_default();
        }
        if flags & DUMP == 0 {
            return Ok(answers);
        }
    }
}

fn link(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        hardware: u16_at(body, 2)?,
        index: u32_at(body, 4)?,
        up: u32_at(body, 8)? & 1 == 1,
        ..Link::default()
    };
    for (kind, value) in attributes(body, 16) {
        match kind {
            1 => link.mac = value.try_into().ok().map(Mac),
            3 => link.name = text(value),
            5 => link.peer = u32_at(value, 0),
            10 => link.master = u32_at(value, 0),
            18 => link.kind = attributes(value, 0).find(|(kind, _)| *kind == 1).map(|(_, v)| text(v)),
            37 => link.peer_nsid = u32_at(value, 0).map(|n| n as i32),
            _ => {}
        }
    }
    Some(link)
}

fn address(body: &[u8]) -> Option<Address> {
    let prefix = *body.get(1)?;
    let index = u32_at(body, 4)?;
    // IFA_LOCAL (2) is the own address; on a point-to-point link IFA_ADDRESS (1) is the other end's.
    let of = |wanted| attributes(body, 8).find(|(kind, _)| *kind == wanted).and_then(|(_, v)| ip(v));
    Some(Address { index, ip: of(2).or_else(|| of(1))?, prefix })
}

fn gateway(body: &[u8]) -> Option<(u32, IpAddr)> {
    if *body.get(1)? != 0 {
        return None;
    }
    let of = |wanted| attributes(body, 12).find(|(kind, _)| *kind == wanted).map(|(_, v)| v);
    Some((u32_at(of(4)?, 0)?, ip(of(5)?)?))
}

/// Type and value of the attributes that start at `offset`.
fn attributes(body: &[u8], offset: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(offset..).unwrap_or_default();
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & 0x3fff;
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(value)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from))
        .ok()
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
