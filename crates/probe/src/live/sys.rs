//! Packet sockets: the one file of this crate with `unsafe` in it.
//!
//! A socket belongs for good to the network namespace in which it was opened, whichever thread
//! uses it later.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

// linux/if_packet.h; libc has only some of these.
const PACKET_ADD_MEMBERSHIP: i32 = 1;
const PACKET_AUXDATA: i32 = 8;
const PACKET_VERSION: i32 = 10;
const PACKET_TX_RING: i32 = 13;
const PACKET_VNET_HDR: i32 = 15;
const PACKET_QDISC_BYPASS: i32 = 20;
const PACKET_MR_PROMISC: u16 = 1;
const PACKET_OUTGOING: u8 = 4;
const TPACKET_V2: i32 = 1;
const TP_STATUS_SEND_REQUEST: u32 = 1;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;

/// What came with a received frame.
pub struct Received {
    /// Bytes of the frame, which may be more than the buffer took.
    pub len: usize,
    /// Whether this host sent it.
    pub outgoing: bool,
    /// The tag that the kernel took out of the frame: TPID and TCI.
    pub tag: Option<(u16, u16)>,
}

/// A raw packet socket.
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens one in the calling thread's network namespace; it receives nothing before `bind`.
    pub fn open() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let fd = unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor and nobody else has it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Receives frames of this ethertype from this interface on; `protocol` 0 receives nothing.
    pub fn bind(&self, index: u32, protocol: u16) -> io::Result<()> {
        let address = link_address(index, protocol);
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

    /// Room for so many bytes, tags told beside the frame.
    pub fn prepare_listening(&self, bytes: i32) -> io::Result<()> {
        // Beyond the system's limit only with CAP_NET_ADMIN; the limit itself will do otherwise.
        if self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes).is_err() {
            self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes)?;
        }
        self.set(libc::SOL_PACKET, PACKET_AUXDATA, &1i32)
    }

    /// Makes the interface take all frames for as long as the socket lives.
    pub fn promiscuous(&self, index: u32) -> io::Result<()> {
        // SAFETY: a structure of integers, for which all zeroes are a value.
        let mut request: libc::packet_mreq = unsafe { zeroed() };
        request.mr_ifindex = index as i32;
        request.mr_type = PACKET_MR_PROMISC;
        self.set(libc::SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Sends past the queueing discipline.
    pub fn bypass_qdisc(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, PACKET_QDISC_BYPASS, &1i32)
    }

    /// Every frame that is sent starts with a `virtio_net_hdr`.
    pub fn expect_vnet_header(&self) -> io::Result<()> {
        self.set(libc::SOL_PACKET, PACKET_VNET_HDR, &1i32)
    }

    /// Sends one frame, as it is.
    pub fn send(&self, index: u32, frame: &[u8]) -> io::Result<()> {
        let address = link_address(index, 0);
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

    /// The next frame that waits, or `None`.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
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
        let len = unsafe {
            libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, libc::MSG_TRUNC | libc::MSG_DONTWAIT)
        };
        match checked(len) {
            Ok(len) => Ok(Some(Received {
                len: len as usize,
                outgoing: from.sll_pkttype == PACKET_OUTGOING,
                tag: tag_of(&message),
            })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn tag_of(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: `message` was filled in by recvmsg and its control buffer still lives.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a header within the control buffer.
        let (level, kind, len) = unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len) };
        // SAFETY: CMSG_LEN only computes.
        let wanted = unsafe { libc::CMSG_LEN(size_of_u32::<libc::tpacket_auxdata>()) } as usize;
        if level == libc::SOL_PACKET && kind == PACKET_AUXDATA && len >= wanted {
            // SAFETY: the length was compared; the data may be unaligned, so it is copied out.
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

/// Waits until one of the sockets has something to read, at most so long.
pub fn wait_readable(sockets: &[PacketSocket], timeout: Duration) -> io::Result<()> {
    let mut fds: Vec<libc::pollfd> = sockets
        .iter()
        .map(|s| libc::pollfd { fd: s.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let millis = i32::try_from(timeout.as_millis().max(1)).unwrap_or(i32::MAX);
    // SAFETY: `fds` lives through the call and its length is told right.
    let result = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, millis) };
    match checked(result as isize) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// Bytes of one slot of the ring, and how many there are.
const SLOT: usize = 4096;
const SLOTS: usize = 64;
/// Where a frame starts in its slot: `TPACKET2_HDRLEN` without the address at its end.
const FRAME_START: usize = 32;

/// A sending ring. The kernel takes frames from it without copying: the socket buffer's linear
/// part has only the Ethernet header, the rest is in page fragments.
pub struct Ring {
    socket: PacketSocket,
    memory: *mut u8,
    next: usize,
}

impl Ring {
    /// A ring on this interface.
    pub fn new(socket: PacketSocket, index: u32) -> io::Result<Self> {
        socket.set(libc::SOL_PACKET, PACKET_VERSION, &TPACKET_V2)?;
        let request = libc::tpacket_req {
            tp_block_size: SLOT as u32,
            tp_block_nr: SLOTS as u32,
            tp_frame_size: SLOT as u32,
            tp_frame_nr: SLOTS as u32,
        };
        socket.set(libc::SOL_PACKET, PACKET_TX_RING, &request)?;
        socket.bind(index, 0)?;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing of ours.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                SLOT * SLOTS,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.fd.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { socket, memory: memory.cast(), next: 0 })
    }

    /// The word by which kernel and we hand the current slot to each other.
    fn status(&self) -> &AtomicU32 {
        // SAFETY: `next` is below SLOTS, so the address is within the mapping, and it is aligned to
        // a page. The kernel writes this word too, which is why it is only touched atomically.
        unsafe { AtomicU32::from_ptr(self.memory.add(self.next * SLOT).cast()) }
    }

    /// Sends one frame out of the ring.
    pub fn send(&mut self, index: u32, frame: &[u8]) -> io::Result<()> {
        if frame.len() > SLOT - FRAME_START {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        if self.status().load(Ordering::Acquire) != 0 {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        // SAFETY: status 0 says that the slot is ours; it lies within the mapping, and the frame
        // was found to fit behind the header. `tp_len` is the header's second word.
        unsafe {
            let slot = self.memory.add(self.next * SLOT);
            slot.add(4).cast::<u32>().write(frame.len() as u32);
            ptr::copy_nonoverlapping(frame.as_ptr(), slot.add(FRAME_START), frame.len());
        }
        self.status().store(TP_STATUS_SEND_REQUEST, Ordering::Release);
        let sent = self.socket.send(index, &[]);
        match sent {
            Ok(()) => self.next = (self.next + 1) % SLOTS,
            // The kernel stays at the slot when it could not send it.
            Err(_) => self.status().store(0, Ordering::Release),
        }
        sent
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and nothing refers to it any more.
        unsafe { libc::munmap(self.memory.cast(), SLOT * SLOTS) };
    }
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
