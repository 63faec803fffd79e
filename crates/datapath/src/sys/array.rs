//! Array maps as memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::MapInfo;

/// A memory-mapped array map. All access is atomic or volatile: the kernel reads and other
/// processes may write meanwhile.
///
/// What is mapped of it counts as this process's memory from that moment on, used or not. So a large table is
/// mapped by windows, each when an element of it is first asked for.
#[derive(Debug)]
pub struct MappedArray {
    map: OwnedFd,
    windows: Box<[OnceLock<Window>]>,
    /// Elements in a window.
    per_window: u32,
    stride: usize,
    entries: u32,
}

/// Bytes that a window is to have at least.
const WINDOW: usize = 64 << 10;

/// A mapped part.
#[derive(Debug)]
pub(super) struct Window {
    base: NonNull<u8>,
    len_bytes: usize,
}

// SAFETY: the mapping is shared memory that lives until drop; all access goes through atomics.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// Where an offset within it is.
    pub(super) fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset < self.len_bytes);
        // SAFETY: callers keep to the length that they asked for.
        unsafe { self.base.add(offset) }
    }

    pub(super) fn map(map: BorrowedFd<'_>, offset: usize, len_bytes: usize) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice; no memory of ours
        // is affected. The kernel checks offset and length against the map.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { base, len_bytes })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `map` with this length, and nothing borrows from it now.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len_bytes) };
    }
}

/// The fewest elements of at least [`WINDOW`] bytes that fill whole pages.
const fn elements_of_window(stride: usize, page: usize) -> usize {
    // The page's size is a power of two, so this is page / gcd(page, stride).
    let shared = if stride.trailing_zeros() < page.trailing_zeros() { stride } else { page };
    let full = page >> shared.trailing_zeros();
    full * WINDOW.div_ceil(full * stride)
}

impl MappedArray {
    /// Maps an array map that was made with `BPF_F_MMAPABLE` (5.5). Elements are eight bytes apart
    /// or a multiple of that.
    pub fn new(map: BorrowedFd<'_>, info: &MapInfo) -> io::Result<Self> {
        let whole = Self::by_windows(map, info, info.max_entries)?;
        whole.window(0)?;
        Ok(whole)
    }

    /// The same, but each part is mapped only when it is needed.
    pub fn on_demand(map: BorrowedFd<'_>, info: &MapInfo) -> io::Result<Self> {
        let stride = (info.value_size as usize).next_multiple_of(8);
        let elements = elements_of_window(stride, rustix::param::page_size());
        Self::by_windows(map, info, u32::try_from(elements).map_err(io::Error::other)?)
    }

    fn by_windows(map: BorrowedFd<'_>, info: &MapInfo, per_window: u32) -> io::Result<Self> {
        let per_window = per_window.max(1);
        let windows = (0..info.max_entries.div_ceil(per_window)).map(|_| OnceLock::new()).collect();
        let stride = (info.value_size as usize).next_multiple_of(8);
        Ok(Self { map: map.try_clone_to_owned()?, windows, per_window, stride, entries: info.max_entries })
    }

    fn window(&self, number: u32) -> io::Result<&Window> {
        let cell = self.windows.get(number as usize).ok_or(io::ErrorKind::NotFound)?;
        if let Some(window) = cell.get() {
            return Ok(window);
        }
        let first = number * self.per_window;
        let elements = (self.entries - first).min(self.per_window) as usize;
        let len_bytes = (elements * self.stride).next_multiple_of(rustix::param::page_size());
        let window = Window::map(self.map.as_fd(), first as usize * self.stride, len_bytes)?;
        // Where another thread was faster, ours is unmapped again.
        Ok(cell.get_or_init(|| window))
    }

    /// Where an element begins, which has as many bytes as the stride; none: there is no such element.
    fn element(&self, index: u32) -> Option<NonNull<u8>> {
        if index >= self.entries {
            return None;
        }
        let window = self.window(index / self.per_window).ok()?;
        let offset = (index % self.per_window) as usize * self.stride;
        // SAFETY: the window holds `per_window` elements, or those up to the last one, and this is one of them.
        Some(unsafe { window.base.add(offset) })
    }

    /// Number of elements.
    pub const fn len(&self) -> u32 {
        self.entries
    }

    fn bytes(&self, index: u32) -> Option<&[AtomicU8]> {
        let element = self.element(index)?;
        // SAFETY: the element lies within a mapping that lives as long as `self`; atomics tolerate writers
        // elsewhere.
        Some(unsafe { std::slice::from_raw_parts(element.as_ptr().cast::<AtomicU8>(), self.stride) })
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
        if !offset.is_multiple_of(word) || offset + word > self.stride {
            return None;
        }
        let element = self.element(index)?;
        // SAFETY: the word lies within the element and so within a mapping that lives as long as `self`, and is
        // aligned to eight bytes, since the mapping is aligned to a page, and stride and offset are multiples
        // of eight.
        Some(unsafe { &*element.as_ptr().add(offset).cast::<AtomicU64>() })
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

#[cfg(test)]
mod tests {
    use super::{WINDOW, elements_of_window};

    #[test]
    fn a_window_has_whole_elements_and_whole_pages() {
        for page in [4096, 16 << 10, 64 << 10] {
            for stride in (8..5000).step_by(8) {
                let bytes = elements_of_window(stride, page) * stride;
                assert!(bytes.is_multiple_of(page) && bytes >= WINDOW, "{stride} bytes, pages of {page}");
            }
        }
    }
}
