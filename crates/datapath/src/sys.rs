//! Raw system calls. The only module with `unsafe`: `bpf(2)` here, `mmap(2)` in [`mod@array`], what
//! remains in [`os`].
//!
//! Structures follow `union bpf_attr` of `include/uapi/linux/bpf.h`; each command's structure is
//! as long as its last field that we set, which every kernel accepts.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zerocopy::{FromBytes, Immutable, IntoBytes};

mod array;
mod btf;
mod lines;
mod os;
mod xdp;

pub use array::MappedArray;
pub use lines::{Length, MappedLines, put_inner};
pub use os::{duplicate, enter_netns, give_memory_back, inode, monotonic_ns, watch};
pub use xdp::{
    XdpMode, has_syn_cookies, link_create_last, link_create_xdp, link_detach, program_by_id, test_run_live,
};

const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const MAP_GET_NEXT_KEY: u32 = 4;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const PROG_TEST_RUN: u32 = 10;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;

const BPF_F_BEFORE: u32 = 1 << 3;

/// Attach types of the hooks (`enum bpf_attach_type`).
pub const TCX_INGRESS: u32 = 46;
pub const TCX_EGRESS: u32 = 47;
pub const NETKIT_PEER: u32 = 55;

fn bpf<T>(command: u32, attr: &mut T) -> io::Result<i32> {
    // SAFETY: attr is a live, fully initialised structure of the given size; every pointer in it
    // was made from a live buffer by the caller in this module, long enough for the command.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn address<T: ?Sized>(value: &T) -> u64 {
    std::ptr::from_ref(value).cast::<u8>() as u64
}

#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn element(map: BorrowedFd<'_>, key: u64, value: u64) -> ElementAttr {
    ElementAttr { map_fd: map.as_raw_fd() as u32, pad: 0, key, value, flags: 0 }
}

/// Reads a value into `value`, which must be as long as the map's value (per-CPU maps: times the
/// possible CPUs). `Ok(false)` where there is none.
pub fn map_lookup<K: IntoBytes + Immutable>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &mut [u8],
) -> io::Result<bool> {
    let mut attr = element(map, address(key), value.as_mut_ptr() as u64);
    match bpf(MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a value.
pub fn map_update<K, V>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()>
where
    K: IntoBytes + Immutable,
    V: IntoBytes + Immutable + ?Sized,
{
    bpf(MAP_UPDATE_ELEM, &mut element(map, address(key), address(value))).map(drop)
}

/// Removes a key; `Ok(false)` where it was not there.
pub fn map_delete<K: IntoBytes + Immutable>(map: BorrowedFd<'_>, key: &K) -> io::Result<bool> {
    match bpf(MAP_DELETE_ELEM, &mut element(map, address(key), 0)) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// All keys of a map. Keys that come or go meanwhile may be missed.
pub fn map_keys<K: FromBytes + IntoBytes + Immutable + Copy>(
    map: BorrowedFd<'_>,
    limit: usize,
) -> io::Result<Vec<K>> {
    let mut keys: Vec<K> = Vec::new();
    let mut next = K::new_zeroed();
    loop {
        let from = keys.last().map_or(0, address);
        let mut attr = element(map, from, std::ptr::from_mut(&mut next) as u64);
        match bpf(MAP_GET_NEXT_KEY, &mut attr) {
            Ok(_) if keys.len() < limit => keys.push(next),
            Ok(_) => return Ok(keys),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(keys),
            Err(error) => return Err(error),
        }
    }
}

/// What a map is (`struct bpf_map_info`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MapInfo {
    pub kind: u32,
    pub id: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
}

/// What a link is (`struct bpf_link_info`); index and type are those of TCX and netkit links. A netkit link on
/// the peer's hook tells the peer's index, which is one of another namespace.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct LinkInfo {
    pub kind: u32,
    pub id: u32,
    pub program_id: u32,
    pad: u32,
    /// 0: the interface is gone.
    pub ifindex: u32,
    pub attach_type: u32,
}

/// What a program is (`struct bpf_prog_info` up to `verified_insns`, Linux 5.16).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ProgramInfo {
    pub kind: u32,
    pub id: u32,
    pub tag: [u8; 8],
    pub jited_len: u32,
    pub translated_len: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    created_by: u32,
    map_count: u32,
    maps: u64,
    name: [u8; 16],
    ifindex: u32,
    gpl: u32,
    netns_dev: u64,
    netns_ino: u64,
    ksyms: u32,
    func_lens_count: u32,
    ksyms_at: u64,
    func_lens_at: u64,
    btf_id: u32,
    func_info_size: u32,
    func_info: u64,
    func_info_count: u32,
    line_info_count: u32,
    line_info: u64,
    jited_line_info: u64,
    jited_line_info_count: u32,
    line_info_size: u32,
    jited_line_info_size: u32,
    tag_count: u32,
    tags: u64,
    run_time_ns: u64,
    run_count: u64,
    recursion_misses: u64,
    pub verified_instructions: u32,
    attach_btf_obj: u32,
}

fn info<T: Default>(fd: BorrowedFd<'_>) -> io::Result<T> {
    #[repr(C)]
    struct InfoAttr {
        fd: u32,
        len: u32,
        info: u64,
    }
    let mut info = T::default();
    let mut attr = InfoAttr {
        fd: fd.as_raw_fd() as u32,
        len: size_of::<T>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

pub fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    info(map)
}

pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    info(link)
}

pub fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    info(program)
}

fn path_attr(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

#[repr(C)]
struct ObjAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Pins an object under a new path.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = path_attr(path)?;
    let mut attr = ObjAttr { path: path.as_ptr() as u64, fd: object.as_raw_fd() as u32, flags: 0 };
    bpf(OBJ_PIN, &mut attr).map(drop)
}

/// Opens a pinned object; `None` where there is none.
pub fn open_pin(path: &Path) -> io::Result<Option<OwnedFd>> {
    let path = path_attr(path)?;
    let mut attr = ObjAttr { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    match bpf(OBJ_GET, &mut attr) {
        Ok(fd) => Ok(Some(owned(fd))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts a program first on a hook of an interface of the calling thread's network namespace.
pub fn link_create_first(program: BorrowedFd<'_>, ifindex: u32, attach_type: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct LinkCreateAttr {
        program: u32,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
        relative: u32,
        pad: u32,
        expected_revision: u64,
    }
    let mut attr = LinkCreateAttr {
        program: program.as_raw_fd() as u32,
        ifindex,
        attach_type,
        flags: BPF_F_BEFORE,
        relative: 0,
        pad: 0,
        expected_revision: 0,
    };
    bpf(LINK_CREATE, &mut attr).map(owned)
}

/// Replaces the program of a link in place.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct LinkUpdateAttr {
        link: u32,
        program: u32,
        flags: u32,
        old_program: u32,
    }
    let mut attr = LinkUpdateAttr {
        link: link.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        flags: 0,
        old_program: 0,
    };
    bpf(LINK_UPDATE, &mut attr).map(drop)
}

/// The programs on a hook in the order in which they run, by id, in the calling thread's network
/// namespace.
pub fn query(ifindex: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    query_ids(ifindex, attach_type, false)
}

/// The links that these programs are there by, by id, in the same order; 0: without one.
pub fn query_links(ifindex: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    query_ids(ifindex, attach_type, true)
}

/// Most hooks have few; where the buffer is too small the kernel says so.
fn query_ids(ifindex: u32, attach_type: u32, of_links: bool) -> io::Result<Vec<u32>> {
    const FEW: usize = 4;
    /// `BPF_MPROG_MAX`: a hook holds no more.
    const MAX: usize = 64;
    match query_into::<FEW>(ifindex, attach_type, of_links) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
            query_into::<MAX>(ifindex, attach_type, of_links)
        }
        other => other,
    }
}

fn query_into<const N: usize>(ifindex: u32, attach_type: u32, of_links: bool) -> io::Result<Vec<u32>> {
    #[repr(C)]
    struct QueryAttr {
        ifindex: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        program_ids: u64,
        count: u32,
        pad: u32,
        program_attach_flags: u64,
        link_ids: u64,
    }
    let (mut programs, mut links) = ([0u32; N], [0u32; N]);
    let mut attr = QueryAttr {
        ifindex,
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        program_ids: programs.as_mut_ptr() as u64,
        count: N as u32,
        pad: 0,
        program_attach_flags: 0,
        // Not to be asked of kernels that know of no links on hooks.
        link_ids: if of_links { links.as_mut_ptr() as u64 } else { 0 },
    };
    match bpf(PROG_QUERY, &mut attr) {
        // Nothing was ever attached there.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
        other => other?,
    };
    let ids = if of_links { links } else { programs };
    Ok(ids.into_iter().take((attr.count as usize).min(N)).collect())
}

/// Runs a program on a frame: its return value, the frame it left, and nanoseconds per run.
pub fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    context: &[u8],
    repeat: u32,
) -> io::Result<(i32, Vec<u8>, u32)> {
    #[repr(C)]
    struct TestRunAttr {
        program: u32,
        return_value: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
    }
    let mut out = vec![0u8; frame.len() + 256];
    let mut attr = TestRunAttr {
        program: program.as_raw_fd() as u32,
        return_value: 0,
        data_size_in: frame.len() as u32,
        data_size_out: out.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat,
        duration: 0,
        ctx_size_in: context.len() as u32,
        ctx_size_out: 0,
        ctx_in: if context.is_empty() { 0 } else { context.as_ptr() as u64 },
        ctx_out: 0,
    };
    bpf(PROG_TEST_RUN, &mut attr)?;
    out.truncate(attr.data_size_out as usize);
    Ok((attr.return_value as i32, out, attr.duration))
}
