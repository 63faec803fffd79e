//! Types of our own inner maps, told to the kernel.
//!
//! From 5.15 to 6.2 the kernel takes a map with types for another than one without (`bpf_map_meta_equal` compares what
//! it looked for in them), and the inner map that the object describes has types.

use std::io;
use std::os::fd::OwnedFd;

use super::{bpf, owned};

const BTF_LOAD: u32 = 18;
/// `struct btf_header` in bytes.
const HEADER_LEN: u32 = 24;
/// `BTF_KIND_INT`, `BTF_KIND_ARRAY`, `BTF_KIND_STRUCT`, where `info` has them.
const INT: u32 = 1 << 24;
const ARRAY: u32 = 3 << 24;
const STRUCT: u32 = 4 << 24;

/// Type of an array's key.
pub const KEY_TYPE: u32 = 1;
/// Type of a line: a structure of eight words.
pub const LINE_TYPE: u32 = 4;

/// Types without names: a number of 32 bits, one of 64, eight of these, a structure of those.
const TYPES: [u32; 20] = [
    0,
    INT,
    4,
    32, // KEY_TYPE
    0,
    INT,
    8,
    64, //
    0,
    ARRAY,
    0,
    2,
    KEY_TYPE,
    8, //
    0,
    STRUCT | 1,
    64,
    0,
    3,
    0, // LINE_TYPE
];

/// Loads the types of lines.
pub fn load_line_types() -> io::Result<OwnedFd> {
    #[repr(C)]
    struct LoadAttr {
        types: u64,
        log: u64,
        len: u32,
        log_len: u32,
        log_level: u32,
        pad: u32,
    }
    let types_len = size_of_val(&TYPES) as u32;
    // Magic number, version 1, no flags; lengths; then one string, the empty one.
    let header = [0x0001_eb9f, HEADER_LEN, 0, types_len, types_len, 1];
    let mut blob: Vec<u8> = header.iter().chain(&TYPES).flat_map(|word| word.to_ne_bytes()).collect();
    blob.push(0);
    let mut attr = LoadAttr {
        types: blob.as_ptr() as u64,
        log: 0,
        len: blob.len() as u32,
        log_len: 0,
        log_level: 0,
        pad: 0,
    };
    bpf(BTF_LOAD, &mut attr).map(owned)
}
