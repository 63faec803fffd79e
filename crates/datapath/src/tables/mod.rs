//! Typed access to the kernel tables.
//!
//! A binding is published by writing its entry and its further addresses under an index that no
//! anchor points to, and then pointing the anchor to it with one atomic store: a frame meets the
//! old binding or the new one, never a mixture.

mod conduct;
mod journal;
mod known;
pub(crate) mod layout;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use portcullis_abi::{
    ANCHOR_ARRAY_LEN, AnchorKey, Counters, Endpoint, FurtherKey, HELD_BINDING, Meta, Pointer, PrefixKey,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::error::{Error, Result};
use crate::features::possible_cpus;
use crate::object::{fresh_meta, table_fd};
use crate::sys::{self, MappedArray};

/// An interface: the network namespace's inode number and the index in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Anchor {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Interface index.
    pub ifindex: u32,
}

/// The kernel tables.
#[derive(Debug)]
pub struct Tables {
    primary: u32,
    anchors: MappedArray,
    endpoints: MappedArray,
    anchors_far: Hash,
    further: Hash,
    prefixes: Hash,
    known: Hash,
    journal: Hash,
    counters: OwnedFd,
    conduct: MappedArray,
    slots: u32,
    cpus: usize,
}

/// A hash-like table.
#[derive(Debug)]
struct Hash {
    fd: OwnedFd,
    name: &'static str,
    capacity: u32,
}

impl Hash {
    fn open(maps: &HashMap<&'static str, OwnedFd>, name: &'static str) -> Result<Self> {
        let fd = clone(maps, name)?;
        let info = sys::map_info(fd.as_fd()).map_err(|source| Error::system(name, source))?;
        Ok(Self { fd, name, capacity: info.max_entries })
    }

    fn insert<K: IntoBytes + Immutable, V: IntoBytes + Immutable + ?Sized>(
        &self,
        key: &K,
        value: &V,
    ) -> Result<()> {
        sys::map_update(self.fd.as_fd(), key, value).map_err(|source| match source.raw_os_error() {
            Some(libc::E2BIG | libc::ENOSPC) => Error::Full { table: self.name, capacity: self.capacity },
            _ => Error::system(format!("writing to table {}", self.name), source),
        })
    }

    fn remove<K: IntoBytes + Immutable>(&self, key: &K) -> Result<bool> {
        sys::map_delete(self.fd.as_fd(), key).map_err(|source| self.failed("removing from", source))
    }

    fn get<K: IntoBytes + Immutable, V: FromBytes + IntoBytes>(&self, key: &K) -> Result<Option<V>> {
        let mut value = V::new_zeroed();
        let there = sys::map_lookup(self.fd.as_fd(), key, value.as_mut_bytes())
            .map_err(|source| self.failed("reading", source))?;
        Ok(there.then_some(value))
    }

    fn keys<K: FromBytes + IntoBytes + Immutable + Copy>(&self) -> Result<Vec<K>> {
        sys::map_keys(self.fd.as_fd(), self.capacity as usize)
            .map_err(|source| self.failed("listing", source))
    }

    fn failed(&self, what: &str, source: std::io::Error) -> Error {
        Error::system(format!("{what} table {}", self.name), source)
    }
}

fn clone(maps: &HashMap<&'static str, OwnedFd>, name: &'static str) -> Result<OwnedFd> {
    table_fd(maps, name)?.try_clone_to_owned().map_err(|source| Error::system(name, source))
}

fn map_array(maps: &HashMap<&'static str, OwnedFd>, name: &'static str) -> Result<MappedArray> {
    let fd = table_fd(maps, name)?;
    let info = sys::map_info(fd).map_err(|source| Error::system(name, source))?;
    // Its elements are large, and most slots are never used.
    let map = if name == "CONDUCT" { MappedArray::on_demand } else { MappedArray::new };
    map(fd, &info).map_err(|source| Error::system(format!("mapping table {name}"), source))
}

impl Tables {
    /// Opens the tables; fresh ones learn `primary`, adopted ones tell it.
    pub(crate) fn open(maps: &HashMap<&'static str, OwnedFd>, primary: &mut u32) -> Result<Self> {
        let meta = Hash::open(maps, "META")?;
        match meta.get::<u32, Meta>(&0)? {
            Some(known) if known.primary_netns != 0 => *primary = known.primary_netns,
            _ => meta.insert(&0u32, &fresh_meta(*primary))?,
        }
        let counters = clone(maps, "COUNTERS")?;
        let info = sys::map_info(counters.as_fd()).map_err(|source| Error::system("COUNTERS", source))?;
        let endpoints = map_array(maps, "ENDPOINTS")?;
        // The same in every set of tables; where it is there already nothing changes.
        endpoints.write(HELD_BINDING, &Endpoint::held());
        Ok(Self {
            primary: *primary,
            anchors: map_array(maps, "ANCHORS")?,
            endpoints,
            anchors_far: Hash::open(maps, "ANCHORS_FAR")?,
            further: Hash::open(maps, "FURTHER")?,
            prefixes: Hash::open(maps, "PREFIXES")?,
            known: Hash::open(maps, "KNOWN")?,
            journal: Hash::open(maps, "JOURNAL")?,
            counters,
            conduct: map_array(maps, "CONDUCT")?,
            slots: info.max_entries,
            cpus: possible_cpus(),
        })
    }

    /// Slots of counters, [`portcullis_abi::UNBOUND_SLOT`] included.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// Entries of bindings; index 0 is never used, and [`HELD_BINDING`] is taken.
    #[must_use]
    pub const fn bindings(&self) -> u32 {
        self.endpoints.len()
    }

    /// The binding that an anchor points to; 0: none, or not as it must.
    pub fn anchor(&self, anchor: Anchor) -> Result<u32> {
        match self.array_index(anchor) {
            Some(index) => {
                let pointer = self.pointer(index);
                // With another slot than the entry's own it would be counted for somebody else.
                let sound = pointer == self.pointer_to(pointer.binding());
                Ok(if sound { pointer.binding() } else { 0 })
            }
            None => Ok(self.anchors_far.get(&far(anchor))?.unwrap_or(0)),
        }
    }

    /// Points an anchor to a binding, at once. From here on frames meet it. [`HELD_BINDING`] holds the
    /// interface; 0 lets go of it.
    ///
    /// A quarantine that the kernel itself began goes with the endpoint's slot to the new entry. Programs
    /// that were running on the old one may still begin one: see [`Self::keep_quarantine`].
    pub fn point(&self, anchor: Anchor, binding: u32) -> Result<()> {
        self.keep_quarantine(binding);
        match self.array_index(anchor) {
            Some(index) => {
                self.anchors.store(index, self.pointer_to(binding).0);
            }
            None if binding == 0 => {
                self.anchors_far.remove(&far(anchor))?;
            }
            None => self.anchors_far.insert(&far(anchor), &binding)?,
        }
        self.keep_quarantine(binding);
        Ok(())
    }

    /// Every anchor that points to a binding.
    pub fn all_anchors(&self) -> Result<Vec<(Anchor, u32)>> {
        let mut all = Vec::new();
        for ifindex in 0..self.anchors.len() {
            match self.pointer(ifindex).binding() {
                0 => {}
                binding => all.push((Anchor { netns: self.primary, ifindex }, binding)),
            }
        }
        for key in self.anchors_far.keys::<AnchorKey>()? {
            if let Some(binding) = self.anchors_far.get(&key)? {
                all.push((Anchor { netns: key.netns, ifindex: key.ifindex }, binding));
            }
        }
        Ok(all)
    }

    /// What an anchor must hold to point to a binding.
    fn pointer_to(&self, binding: u32) -> Pointer {
        match self.endpoint(binding) {
            Some(endpoint) if binding != 0 => Pointer::new(binding, endpoint.slot),
            _ => Pointer::default(),
        }
    }

    fn pointer(&self, index: u32) -> Pointer {
        Pointer(self.anchors.load(index).unwrap_or_default())
    }

    const fn array_index(&self, anchor: Anchor) -> Option<u32> {
        if anchor.netns == self.primary && anchor.ifindex < ANCHOR_ARRAY_LEN {
            Some(anchor.ifindex)
        } else {
            None
        }
    }

    /// An entry as the programs see it.
    #[must_use]
    pub fn endpoint(&self, binding: u32) -> Option<Endpoint> {
        self.endpoints.read(binding)
    }

    /// Writes an entry and what belongs to it. No anchor may point to it yet.
    pub fn write_binding(
        &self,
        binding: u32,
        endpoint: &Endpoint,
        further: &[FurtherKey],
        prefixes: &[PrefixKey],
    ) -> Result<()> {
        check_free(binding)?;
        for key in further {
            self.further.insert(key, &1u32)?;
        }
        for key in prefixes {
            self.prefixes.insert(key, &(key.prefix_len - PrefixKey::BASE_BITS))?;
        }
        if self.endpoints.write(binding, endpoint) {
            Ok(())
        } else {
            Err(Error::Full { table: "ENDPOINTS", capacity: self.endpoints.len() })
        }
    }

    /// Removes what [`Self::write_binding`] wrote. No anchor may point to it any more.
    pub fn clear_binding(&self, binding: u32, further: &[FurtherKey], prefixes: &[PrefixKey]) -> Result<()> {
        check_free(binding)?;
        self.endpoints.write(binding, &Endpoint::default());
        for key in further {
            self.further.remove(key)?;
        }
        for key in prefixes {
            self.prefixes.remove(key)?;
        }
        Ok(())
    }

    /// Whether everything that belongs to a binding is in the tables.
    pub fn has_all(&self, further: &[FurtherKey], prefixes: &[PrefixKey]) -> Result<bool> {
        for key in further {
            if self.further.get::<_, u32>(key)?.is_none() {
                return Ok(false);
            }
        }
        for key in prefixes {
            // A lookup finds the longest prefix: its length tells whether it is this one.
            if self.prefixes.get::<_, u32>(key)? != Some(key.prefix_len - PrefixKey::BASE_BITS) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes further addresses and prefixes of bindings that `keep` does not want.
    pub fn sweep(&self, keep: impl Fn(u32) -> bool) -> Result<()> {
        for key in self.further.keys::<FurtherKey>()? {
            if !keep(key.binding) {
                self.further.remove(&key)?;
            }
        }
        for key in self.prefixes.keys::<PrefixKey>()? {
            if !keep(key.binding) {
                self.prefixes.remove(&key)?;
            }
        }
        Ok(())
    }

    /// Quarantines a published binding, or releases it. What the kernel itself put in quarantine is to be
    /// forgiven first ([`Self::forgive`]).
    #[must_use]
    pub fn set_quarantine(&self, binding: u32, quarantined: bool) -> bool {
        let value = if quarantined { Endpoint::QUARANTINED } else { 0 };
        check_free(binding).is_ok()
            && self.endpoints.write_byte(binding, std::mem::offset_of!(Endpoint, quarantine), value)
    }

    /// The sum over all CPUs of a slot's counters.
    pub fn counters(&self, slot: u32) -> Result<Counters> {
        let mut values = vec![Counters::default(); self.cpus];
        let there = sys::map_lookup(self.counters.as_fd(), &slot, values.as_mut_bytes())
            .map_err(|source| Error::system("reading table COUNTERS", source))?;
        let mut sum = Counters::default();
        if there {
            values.iter().for_each(|value| sum.add(value));
        }
        Ok(sum)
    }

    /// Sets a slot's counters: all zero for a new endpoint, whose conduct begins anew
    /// ([`Self::reset_conduct`]).
    pub fn set_counters(&self, slot: u32, counters: &Counters) -> Result<()> {
        let mut values = vec![Counters::default(); self.cpus];
        if let Some(first) = values.first_mut() {
            *first = *counters;
        }
        sys::map_update(self.counters.as_fd(), &slot, values.as_slice())
            .map_err(|source| Error::system("writing to table COUNTERS", source))
    }
}

/// Entry 0 is all zero, and the held one never changes.
const fn check_free(binding: u32) -> Result<()> {
    if binding == 0 || binding == HELD_BINDING { Err(Error::ReservedBinding { binding }) } else { Ok(()) }
}

const fn far(anchor: Anchor) -> AnchorKey {
    AnchorKey { netns: anchor.netns, ifindex: anchor.ifindex }
}
