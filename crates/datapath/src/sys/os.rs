//! Descriptors, namespaces, clocks.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Moves the calling thread into a network namespace. Only for threads that end afterwards.
pub fn enter_netns(netns: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: setns changes only the calling thread's namespace.
    if unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A second descriptor for an open file.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl only looks the number up; a stale one gives an error, and the new descriptor
    // is nobody else's.
    let fresh = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if fresh < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fresh) })
}

/// Has the runtime of this thread watch a descriptor for reading.
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and stays the same open file until it is dropped, which AsyncFd
    // does not do before it has deregistered it; nobody else has this descriptor.
    unsafe { Ok(AsyncFd::register_with_interest(fd, Interest::READABLE)?) }
}

/// `CLOCK_MONOTONIC` now, in nanoseconds: the clock of event timestamps.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

/// The inode number of a namespace.
pub fn inode(namespace: impl AsFd) -> io::Result<u32> {
    let stat = rustix::fs::fstat(namespace)?;
    u32::try_from(stat.st_ino).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Has the allocator give back what is freed, for as long as the process lives: one arena, so that threads leave none
/// behind, and blocks from 128 KiB on from the kernel and to it. Loading programs and compiling tables takes tens of
/// megabytes for a moment.
///
/// To be called once, before there are further threads.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE_BYTES: libc::c_int = 128 << 10;
        let settings = [
            (libc::M_ARENA_MAX, 1),
            // Set by hand, it does not grow with what is freed.
            (libc::M_MMAP_THRESHOLD, LARGE_BYTES),
            (libc::M_TRIM_THRESHOLD, LARGE_BYTES),
        ];
        for (setting, value) in settings {
            // SAFETY: a call with two numbers, which changes when memory is given back and nothing else (mallopt(3)). One that is
            // refused leaves the allocator as it was.
            unsafe { libc::mallopt(setting, value) };
        }
    }
}
