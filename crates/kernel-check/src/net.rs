//! Pairs of interfaces and their addresses by raw rtnetlink: guests have no iproute2.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sched::{CloneFlags, setns, unshare};
use portcullis_abi::Mac;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const REQUEST_ACK: u16 = 0x5;
const CREATE_EXCL: u16 = 0x600;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFF_UP: u32 = 1;
/// `IFA_F_NODAD`: usable at once.
const NO_DAD: u32 = 2;

/// A network namespace that lives as long as this does.
pub struct Netns {
    file: File,
}

impl Netns {
    /// A fresh one.
    pub fn new() -> Result<Self> {
        let made = thread::spawn(|| -> io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = made.join().map_err(|_| io::Error::other("the thread panicked"))?;
        Ok(Self { file: file.context("making a network namespace")? })
    }

    /// A path to it, for this process.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Runs `work` inside.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).context("entering a namespace")?;
                work()
            });
            inside.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the thread inside panicked")))
        })
    }
}

/// One end of a pair.
pub struct End<'a> {
    pub name: &'a str,
    /// None: of the kernel's choice, or none at all.
    pub mac: Option<Mac>,
}

/// What kind of pair it is: the number of its peer attribute and further ones, encoded.
pub struct PairKind {
    pub name: &'static str,
    pub further: Vec<u8>,
}

/// Makes a pair: one end here, the other one in `there`.
pub fn pair(kind: &PairKind, here: &End<'_>, there: &End<'_>, netns: &Netns) -> io::Result<()> {
    // VETH_INFO_PEER and IFLA_NETKIT_PEER_INFO.
    const PEER: u16 = 1;
    let mut peer = link_header(0, 0);
    peer.extend(end(there));
    peer.extend(attribute(IFLA_NET_NS_FD, &netns.file.as_raw_fd().to_ne_bytes()));
    let mut data = attribute(PEER, &peer);
    data.extend(&kind.further);
    let mut info = attribute(IFLA_INFO_KIND, kind.name.as_bytes());
    info.extend(attribute(IFLA_INFO_DATA, &data));
    let mut body = link_header(0, 0);
    body.extend(end(here));
    body.extend(attribute(IFLA_LINKINFO, &info));
    ask(RTM_NEWLINK, CREATE_EXCL, &body)
}

fn end(end: &End<'_>) -> Vec<u8> {
    let mut attributes = attribute(IFLA_IFNAME, &[end.name.as_bytes(), &[0]].concat());
    if let Some(mac) = end.mac {
        attributes.extend(attribute(IFLA_ADDRESS, &mac.0));
    }
    attributes
}

/// Sets an interface up.
pub fn up(index: u32) -> io::Result<()> {
    ask(RTM_NEWLINK, 0, &link_header(index, IFF_UP))
}

/// Removes an interface.
pub fn delete(index: u32) -> io::Result<()> {
    ask(RTM_DELLINK, 0, &link_header(index, 0))
}

/// Gives an interface an address.
pub fn add_address(index: u32, address: IpAddr, prefix_len: u8) -> io::Result<()> {
    let (family, bytes) = match address {
        IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
    };
    let mut body = vec![family as u8, prefix_len, NO_DAD as u8, 0];
    body.extend(index.to_ne_bytes());
    body.extend(attribute(IFA_LOCAL, &bytes));
    body.extend(attribute(IFA_ADDRESS, &bytes));
    body.extend(attribute(IFA_FLAGS, &NO_DAD.to_ne_bytes()));
    ask(RTM_NEWADDR, CREATE_EXCL, &body)
}

/// The index of an interface of the calling thread's namespace.
pub fn index_of(name: &str) -> Result<u32> {
    nix::net::if_::if_nametoindex(name).with_context(|| format!("interface {name}"))
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), flags.to_ne_bytes()].concat()
}

/// A netlink attribute, padded.
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = 4 + value.len();
    let mut bytes = Vec::with_capacity(len + 3);
    bytes.extend((len as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(len.next_multiple_of(4), 0);
    bytes
}

/// Sends a request and waits for its acknowledgement.
fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    const HEADER: usize = 16;
    const NLMSG_ERROR: [u8; 2] = 2u16.to_ne_bytes();
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((flags | REQUEST_ACK).to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    socket.send(&request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let code = answer.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (answer.get(4..6), code) {
        (Some(kind), Some(0)) if kind == NLMSG_ERROR => Ok(()),
        (Some(kind), Some(code)) if kind == NLMSG_ERROR => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::other("rtnetlink did not acknowledge")),
    }
}
