//! Array maps as memory.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::MapInfo;

/// A memory-mapped array map. All access is atomic or volatile: the kernel reads and other
/// processes may write meanwhile.
#[derive(Debug)]
pub struct MappedArray {
    base: NonNull<u8>,
    len_bytes: usize,
    stride: usize,
    entries: u32,
}

// SAFETY: the mapping is shared memory that lives until drop; all access goes through atomics.
unsafe impl Send for MappedArray {}
// SAFETY: as above.
unsafe impl Sync for MappedArray {}

impl MappedArray {
    /// Maps an array map that was made with `BPF_F_MMAPABLE` (5.5). Elements are eight bytes apart
    /// or a multiple of that.
    pub fn new(map: BorrowedFd<'_>, info: &MapInfo) -> io::Result<Self> {
        let stride = (info.value_size as usize).next_multiple_of(8);
        let page = rustix::param::page_size();
        let len_bytes = (stride * info.max_entries as usize).next_multiple_of(page);
        // SAFETY: a fresh shared mapping at an address of the kernel's choice; no memory of ours
        // is affected. The kernel checks the length against the map.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { base, len_bytes, stride, entries: info.max_entries })
    }

    /// Number of elements.
    pub const fn len(&self) -> u32 {
        self.entries
    }

    fn bytes(&self, index: u32) -> Option<&[AtomicU8]> {
        if index >= self.entries {
            return None;
        }
        // SAFETY: the element lies within the mapping (its length is stride times entries); atomics
        // tolerate writers elsewhere.
        Some(unsafe {
            std::slice::from_raw_parts(
                self.base.as_ptr().add(index as usize * self.stride).cast::<AtomicU8>(),
                self.stride,
            )
        })
    }

    /// Copies an element out, word by word: no field of eight aligned bytes or less is half written.
    pub fn read<T: FromBytes + IntoBytes>(&self, index: u32) -> Option<T> {
        let mut value = T::new_zeroed();
        let mut offset = 0;
        for chunk in value.as_mut_bytes().chunks_mut(size_of::<u64>()) {
            let word = self.load_at(index, offset)?.to_ne_bytes();
            chunk.iter_mut().zip(word).for_each(|(to, from)| *to = from);
            offset += size_of::<u64>();
        }
        Some(value)
    }

    /// Writes an element, byte by byte: only for elements that no program reads meanwhile.
    pub fn write<T: IntoBytes + Immutable>(&self, index: u32, value: &T) -> bool {
        let Some(cells) = self.bytes(index) else {
            return false;
        };
        for (to, from) in cells.iter().zip(value.as_bytes()) {
            to.store(*from, Ordering::Relaxed);
        }
        true
    }

    /// Writes one byte of an element.
    pub fn write_byte(&self, index: u32, offset: usize, value: u8) -> bool {
        match self.bytes(index).and_then(|cells| cells.get(offset)) {
            Some(cell) => {
                cell.store(value, Ordering::Release);
                true
            }
            None => false,
        }
    }

    fn word(&self, index: u32, offset: usize) -> Option<&AtomicU64> {
        let word = size_of::<u64>();
        if index >= self.entries || !offset.is_multiple_of(word) || offset + word > self.stride {
            return None;
        }
        // SAFETY: the word lies within the element and so within the mapping, and is aligned to eight
        // bytes, since the mapping is aligned to a page, and stride and offset are multiples of eight.
        Some(unsafe { &*self.base.as_ptr().add(index as usize * self.stride + offset).cast::<AtomicU64>() })
    }

    /// Reads the word of an element that begins at this offset.
    pub fn load_at(&self, index: u32, offset: usize) -> Option<u64> {
        Some(self.word(index, offset)?.load(Ordering::Acquire))
    }

    /// Writes that word at once; everything written before is seen before it.
    pub fn store_at(&self, index: u32, offset: usize, value: u64) -> bool {
        match self.word(index, offset) {
            Some(word) => {
                word.store(value, Ordering::Release);
                true
            }
            None => false,
        }
    }

    /// Reads the first word of an element.
    pub fn load(&self, index: u32) -> Option<u64> {
        self.load_at(index, 0)
    }

    /// Writes the first word of an element at once.
    pub fn store(&self, index: u32, value: u64) -> bool {
        self.store_at(index, 0, value)
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length, and nothing borrows from it now.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len_bytes) };
    }
}
