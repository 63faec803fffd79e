//! Packet sockets: the one file of this crate with `unsafe` in it.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

// linux/if_packet.h; libc has only some of these.
const PACKET_ADD_MEMBERSHIP: i32 = 1;
const PACKET_AUXDATA: i32 = 8;
const PACKET_VNET_HDR: i32 = 15;
const PACKET_QDISC_BYPASS: i32 = 20;
const PACKET_MR_PROMISC: u16 = 1;
const PACKET_OUTGOING: u8 = 4;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;

/// How a frame is handed to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Through the queueing discipline.
    Plain,
    /// Straight to the driver.
    QdiscBypass,
    /// Behind a `virtio_net_hdr` of these bytes (GSO, partial checksums).
    Virtio([u8; 10]),
}

/// A raw packet socket on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    index: u32,
}

/// Index of an interface of the calling thread's namespace.
pub fn index_of(interface: &str) -> io::Result<u32> {
    let name = CString::new(interface).map_err(io::Error::other)?;
    // SAFETY: `name` is a string with its end and lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

impl PacketSocket {
    /// Opens one in the calling thread's namespace. It only sends until it is told to listen.
    pub fn open(interface: &str) -> io::Result<Self> {
        let index = index_of(interface)?;
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        checked(fd as isize)?;
        // SAFETY: the kernel has just given us this descriptor and nobody else has it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, index })
    }

    /// How all frames from now on are handed over.
    pub fn send_via(&self, via: Via) -> io::Result<()> {
        self.set(libc::SOL_PACKET, PACKET_QDISC_BYPASS, &i32::from(via == Via::QdiscBypass))?;
        self.set(libc::SOL_PACKET, PACKET_VNET_HDR, &i32::from(matches!(via, Via::Virtio(_))))
    }

    /// Sends one frame as it is (behind the header that [`Via::Virtio`] asks for, which the caller puts there).
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let address = link_address(self.index, 0);
        // SAFETY: frame and address live through the call and their sizes are told right.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                ptr::from_ref(&address).cast(),
                size_of_u32::<libc::sockaddr_ll>(),
            )
        };
        checked(sent).map(drop)
    }

    /// Receives every frame of the interface from now on, with room for so many bytes.
    pub fn listen(&self, room: i32) -> io::Result<()> {
        // Beyond the system's limit only with CAP_NET_ADMIN; the limit itself will do otherwise.
        if self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &room).is_err() {
            self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &room)?;
        }
        self.set(libc::SOL_PACKET, PACKET_AUXDATA, &1i32)?;
        // SAFETY: a structure of integers, for which all zeroes are a value.
        let mut request: libc::packet_mreq = unsafe { zeroed() };
        request.mr_ifindex = self.index as i32;
        request.mr_type = PACKET_MR_PROMISC;
        self.set(libc::SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request)?;
        let address = link_address(self.index, libc::ETH_P_ALL as u16);
        // SAFETY: `address` lives through the call and its size is told right.
        let result = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                ptr::from_ref(&address).cast(),
                size_of_u32::<libc::sockaddr_ll>(),
            )
        };
        checked(result as isize).map(drop)
    }

    /// Frames that the kernel had no room for since it was last asked.
    pub fn overruns(&self) -> io::Result<u32> {
        // SAFETY: a structure of integers, for which all zeroes are a value.
        let mut statistics: libc::tpacket_stats = unsafe { zeroed() };
        let mut len = size_of_u32::<libc::tpacket_stats>();
        // SAFETY: the structure lives through the call and its size is told right.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                ptr::from_mut(&mut statistics).cast(),
                &raw mut len,
            )
        };
        checked(result as isize).map(|_| statistics.tp_drops)
    }

    /// The next frame, the tag put back where the kernel took one out; an empty one in place of what
    /// this host itself sent; `None` if none came in time.
    pub fn receive(&self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        if !self.readable(timeout)? {
            return Ok(None);
        }
        let mut buffer = vec![0; 1 << 16];
        // SAFETY: structures of integers and pointers, for which all zeroes are a value.
        let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
        // u64 for the alignment that control messages need.
        let mut control = [0u64; 16];
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        message.msg_name = ptr::from_mut(&mut from).cast();
        message.msg_namelen = size_of_u32::<libc::sockaddr_ll>();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: everything that `message` points to lives in this function and its sizes are right.
        let len = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        match checked(len) {
            Ok(len) => buffer.truncate(len as usize),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        if from.sll_pkttype == PACKET_OUTGOING {
            // One of our own; an empty frame matches nothing.
            return Ok(Some(Vec::new()));
        }
        if let (Some((tpid, tci)), true) = (tag_of(&message), buffer.len() >= 12) {
            let tag = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
            buffer.splice(12..12, tag);
        }
        Ok(Some(buffer))
    }

    fn readable(&self, timeout: Duration) -> io::Result<bool> {
        let mut fd = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one descriptor is told of and one is there.
        match checked(unsafe { libc::poll(&raw mut fd, 1, millis) } as isize) {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn set<T>(&self, level: i32, option: i32, value: &T) -> io::Result<()> {
        // SAFETY: `value` is a live reference to plain data (integers and C structures only are
        // passed within this file) and its size is told right.
        let result = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                option,
                ptr::from_ref(value).cast(),
                size_of_u32::<T>(),
            )
        };
        checked(result as isize).map(drop)
    }
}

fn tag_of(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: `message` was filled in by recvmsg and its control buffer still lives.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a header within the control buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_PACKET && kind == PACKET_AUXDATA {
            // SAFETY: the kernel fills a whole tpacket_auxdata under this type; it may be
            // unaligned, so it is copied out.
            let data: libc::tpacket_auxdata = unsafe { ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
            if data.tp_status & TP_STATUS_VLAN_VALID == 0 {
                return None;
            }
            let known = data.tp_status & TP_STATUS_VLAN_TPID_VALID != 0;
            return Some((if known { data.tp_vlan_tpid } else { 0x8100 }, data.tp_vlan_tci));
        }
        // SAFETY: `header` lies within the control buffer of `message`.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

fn link_address(index: u32, protocol: u16) -> libc::sockaddr_ll {
    // SAFETY: a structure of integers, for which all zeroes are a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index as i32;
    address.sll_halen = 6;
    address
}

fn checked(result: isize) -> io::Result<isize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

const fn size_of_u32<T>() -> u32 {
    size_of::<T>() as u32
}
