//! What no safe wrapper covers: two system calls and a promise to tokio. All `unsafe` of this crate is here.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `NETLINK_LISTEN_ALL_NSID` as a control message: the namespace that a message came from.
const CMSG_NSID: libc::c_int = libc::NETLINK_LISTEN_ALL_NSID;

/// The kind of namespace (`CLONE_NEW…`) that a file in nsfs stands for.
pub(crate) fn namespace_type(fd: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    // SAFETY: NS_GET_NSTYPE takes no argument and touches no memory of ours; the borrowed
    // descriptor is open for the length of the call.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) };
    if kind < 0 { Err(io::Error::last_os_error()) } else { Ok(kind) }
}

/// Reads one datagram without blocking, with the id of the namespace it came from
/// (`None`: the socket's own).
pub(crate) fn receive_with_nsid(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<i32>)> {
    // u64 elements: control messages start on an 8-byte boundary.
    let mut control = [0u64; 16];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is plain data for which all zeros is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the header points at `part` and `control`, and `part` at `buffer`; all live on this
    // frame or are borrowed mutably by it, with the lengths given.
    let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((length.unsigned_abs(), nsid_of(&header)))
}

/// Has the runtime of this thread watch a descriptor. Panics outside a runtime.
pub(crate) fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and stays the same open file until it is dropped, which AsyncFd
    // does not do before it has deregistered it; nobody here closes it or dups over it.
    unsafe { Ok(AsyncFd::register_with_interest(fd, interest)?) }
}

/// The nsid control message of a received header.
fn nsid_of(header: &libc::msghdr) -> Option<i32> {
    // SAFETY: recvmsg filled the header; its control buffer is still alive in the caller.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a header that lies whole within
        // the control buffer, which is aligned for it.
        let head = unsafe { &*message };
        if head.cmsg_level == libc::SOL_NETLINK && head.cmsg_type == CMSG_NSID {
            // SAFETY: the kernel puts an int behind a control message of this type; read_unaligned
            // asks nothing of its place.
            return Some(unsafe { libc::CMSG_DATA(message).cast::<i32>().read_unaligned() });
        }
        // SAFETY: `message` came from this header.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}
