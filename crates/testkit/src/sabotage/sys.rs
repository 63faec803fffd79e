//! The few calls of `bpf(2)` that sabotage needs.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

// linux/bpf.h
const MAP_UPDATE_ELEM: i32 = 2;
const PROG_LOAD: i32 = 5;
const OBJ_GET: i32 = 7;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const LINK_CREATE: i32 = 28;
const LINK_DETACH: i32 = 34;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const TCX_INGRESS: u32 = 46;
const F_BEFORE: u32 = 1 << 3;

/// `union bpf_attr`, its fields put in by offset.
#[repr(C, align(8))]
struct Attr([u8; 160]);

impl Attr {
    const fn new() -> Self {
        Self([0; 160])
    }

    fn u32(mut self, offset: usize, value: u32) -> Self {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// The address of something that lives until the call is made.
    fn pointer<T: ?Sized>(mut self, offset: usize, value: *const T) -> Self {
        self.0[offset..offset + 8].copy_from_slice(&(value.cast::<u8>() as u64).to_ne_bytes());
        self
    }

    fn call(&self, command: i32) -> io::Result<i32> {
        // SAFETY: `self` outlives the call and its size is told right; what its pointers refer to is
        // kept alive by the functions below, which also give every size right.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_ptr(), self.0.len()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
    }

    fn fd(&self, command: i32) -> io::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: the kernel has just given us this descriptor and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Opens what is pinned at a path.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    Attr::new().pointer(0, path.as_ptr()).fd(OBJ_GET)
}

/// Detaches a link.
pub fn detach(link: &OwnedFd) -> io::Result<()> {
    Attr::new().u32(0, link.as_raw_fd() as u32).call(LINK_DETACH).map(drop)
}

/// Writes zeroes over an entry of an array.
pub fn wipe(map: &OwnedFd, key: u32) -> io::Result<()> {
    // struct bpf_map_info: type, id, key_size, value_size, …
    let mut info = [0u32; 32];
    Attr::new()
        .u32(0, map.as_raw_fd() as u32)
        .u32(4, size_of_val(&info) as u32)
        .pointer(8, info.as_mut_ptr())
        .call(OBJ_GET_INFO_BY_FD)?;
    let value = vec![0u8; info[3] as usize];
    Attr::new()
        .u32(0, map.as_raw_fd() as u32)
        .pointer(8, &raw const key)
        .pointer(16, value.as_ptr())
        .call(MAP_UPDATE_ELEM)
        .map(drop)
}

/// Loads "accept, and end the chain" (`r0 = 0; exit`) and attaches it first on ingress.
pub fn attach_first(index: u32) -> io::Result<OwnedFd> {
    let program: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let program = Attr::new()
        .u32(0, PROG_TYPE_SCHED_CLS)
        .u32(4, 2)
        .pointer(8, program.as_ptr())
        .pointer(16, c"GPL".as_ptr())
        .fd(PROG_LOAD)?;
    Attr::new()
        .u32(0, program.as_raw_fd() as u32)
        .u32(4, index)
        .u32(8, TCX_INGRESS)
        .u32(12, F_BEFORE)
        .fd(LINK_CREATE)
}
