//! Typed access to the kernel tables.
//!
//! A binding is published by writing its entry and its further addresses under an index that no
//! anchor points to, and then pointing the anchor to it with one atomic store: a frame meets the
//! old binding or the new one, never a mixture.

mod journal;
pub(crate) mod layout;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use portcullis_abi::{
    ANCHOR_ARRAY_LEN, AnchorKey, Counters, Endpoint, FurtherKey, Ipv6, Meta, Pointer, PrefixKey, Sampler,
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
    nodes: Hash,
    journal: Hash,
    counters: OwnedFd,
    samplers: OwnedFd,
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
    MappedArray::new(fd, &info).map_err(|source| Error::system(format!("mapping table {name}"), source))
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
        Ok(Self {
            primary: *primary,
            anchors: map_array(maps, "ANCHORS")?,
            endpoints: map_array(maps, "ENDPOINTS")?,
            anchors_far: Hash::open(maps, "ANCHORS_FAR")?,
            further: Hash::open(maps, "FURTHER")?,
            prefixes: Hash::open(maps, "PREFIXES")?,
            nodes: Hash::open(maps, "NODES")?,
            journal: Hash::open(maps, "JOURNAL")?,
            counters,
            samplers: clone(maps, "SAMPLERS")?,
            slots: info.max_entries,
            cpus: possible_cpus(),
        })
    }

    /// Slots of counters, [`portcullis_abi::UNBOUND_SLOT`] included.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// Entries of bindings; index 0 is never used.
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

    /// Points an anchor to a binding, at once. From here on frames meet it.
    pub fn point(&self, anchor: Anchor, binding: u32) -> Result<()> {
        match self.array_index(anchor) {
            Some(index) => {
                self.anchors.store(index, self.pointer_to(binding).0);
                Ok(())
            }
            None if binding == 0 => self.anchors_far.remove(&far(anchor)).map(drop),
            None => self.anchors_far.insert(&far(anchor), &binding),
        }
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

    /// Quarantines a published binding, or releases it.
    #[must_use]
    pub fn set_quarantine(&self, binding: u32, quarantined: bool) -> bool {
        self.endpoints.write_byte(binding, std::mem::offset_of!(Endpoint, quarantine), u8::from(quarantined))
    }

    /// Makes the set of node addresses (IPv4 mapped) this one.
    pub fn set_nodes(&self, nodes: &[Ipv6]) -> Result<()> {
        for node in nodes {
            self.nodes.insert(node, &1u32)?;
        }
        for known in self.nodes.keys::<Ipv6>()? {
            if !nodes.contains(&known) {
                self.nodes.remove(&known)?;
            }
        }
        Ok(())
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

    /// Sets a slot's counters: all zero for a new endpoint.
    pub fn set_counters(&self, slot: u32, counters: &Counters) -> Result<()> {
        let mut values = vec![Counters::default(); self.cpus];
        if let Some(first) = values.first_mut() {
            *first = *counters;
        }
        sys::map_update(self.counters.as_fd(), &slot, values.as_slice())
            .map_err(|source| Error::system("writing to table COUNTERS", source))?;
        sys::map_update(self.samplers.as_fd(), &slot, &Sampler::default())
            .map_err(|source| Error::system("writing to table SAMPLERS", source))
    }
}

const fn far(anchor: Anchor) -> AnchorKey {
    AnchorKey { netns: anchor.netns, ifindex: anchor.ifindex }
}
