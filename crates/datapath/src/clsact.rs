//! The fallback before TCX: a `cls_bpf` filter on the clsact qdisc, through netlink.
//!
//! All functions work in the calling thread's network namespace.

use std::io;
use std::os::fd::BorrowedFd;

use crate::attach::{Hook, HookState};

/// Puts the program first on the hook, in place of an earlier filter of ours (`true`: there was one).
pub fn attach(_ifindex: u32, _hook: Hook, _program: BorrowedFd<'_>) -> io::Result<bool> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Takes our filter off the hook; none there is fine.
pub fn detach(_ifindex: u32, _hook: Hook) -> io::Result<()> {
    Ok(())
}

/// How our filter stands.
pub fn state(_ifindex: u32, _hook: Hook, _program_id: u32) -> HookState {
    HookState::Missing
}
