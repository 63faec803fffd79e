//! Tables of the shield: made one by one, written as memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_abi::shield::{Line, LineStore};

use super::array::Window;
use super::{bpf, btf, owned};

const MAP_CREATE: u32 = 0;
const MAP_TYPE_ARRAY: u32 = 2;
const MMAPABLE: u32 = 1 << 10;
/// Arrays of any length may be put into one table of tables (5.10).
const INNER_MAP: u32 = 1 << 12;

const WORDS_PER_LINE: usize = 8;

/// An array map of lines, mapped as a whole.
#[derive(Debug)]
pub struct MappedLines {
    map: OwnedFd,
    window: Window,
    lines: u32,
}

/// Whether the programs know a table's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// They do, and a look-up is no call.
    Fixed,
    /// They do not, and tables of all lengths may take each other's place.
    Any,
}

impl MappedLines {
    /// Makes an array of so many lines, all zero.
    pub fn create(name: &str, lines: u32, length: Length) -> io::Result<Self> {
        #[repr(C)]
        struct CreateAttr {
            kind: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
            flags: u32,
            inner_map: u32,
            numa_node: u32,
            name: [u8; 16],
            device: u32,
            types: u32,
            key_type: u32,
            value_type: u32,
        }
        let types = btf::load_line_types()?;
        let mut attr = CreateAttr {
            kind: MAP_TYPE_ARRAY,
            key_size: size_of::<u32>() as u32,
            value_size: size_of::<Line>() as u32,
            max_entries: lines,
            flags: MMAPABLE | if length == Length::Any { INNER_MAP } else { 0 },
            inner_map: 0,
            numa_node: 0,
            name: [0; 16],
            device: 0,
            types: types.as_raw_fd() as u32,
            key_type: btf::KEY_TYPE,
            value_type: btf::LINE_TYPE,
        };
        // The last byte stays zero.
        attr.name.iter_mut().take(15).zip(name.bytes()).for_each(|(to, from)| *to = from);
        let map = bpf(MAP_CREATE, &mut attr).map(owned)?;
        let len_bytes = lines as usize * size_of::<Line>();
        let window = Window::map(map.as_fd(), 0, len_bytes.next_multiple_of(rustix::param::page_size()))?;
        Ok(Self { map, window, lines })
    }

    fn word(&self, line: u32, word: u32) -> Option<&AtomicU64> {
        if line >= self.lines || word as usize >= WORDS_PER_LINE {
            return None;
        }
        let offset = (line as usize * WORDS_PER_LINE + word as usize) * size_of::<u64>();
        // SAFETY: the window holds all lines as long as `self` lives, this word among them, and is aligned to a page.
        Some(unsafe { &*self.window.at(offset).cast::<AtomicU64>().as_ptr() })
    }
}

impl LineStore for MappedLines {
    #[inline]
    fn get(&self, line: u32, word: u32) -> u64 {
        self.word(line, word).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    #[inline]
    fn set(&mut self, line: u32, word: u32, value: u64) {
        if let Some(word) = self.word(line, word) {
            word.store(value, Ordering::Release);
        }
    }
}

impl AsFd for MappedLines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Puts a table into a table of tables. Returns when no program is running any more that found what was there before.
pub fn put_inner(outer: BorrowedFd<'_>, index: u32, inner: BorrowedFd<'_>) -> io::Result<()> {
    super::map_update(outer, &index, &(inner.as_raw_fd() as u32))
}
