//! Every kernel table: private, behind functions that say what they mean.
//!
//! | table | owner | key → value | when full |
//! |---|---|---|---|
//! | `ANCHORS` | agent | ifindex of the primary namespace → binding index, 0: none | sized for all indices below 65,536 |
//! | `ANCHORS_FAR` | agent | (namespace, ifindex) → binding index | the agent refuses the endpoint |
//! | `ENDPOINTS` | agent | binding index → entry | the agent refuses the endpoint |
//! | `FURTHER` | agent | (binding, kind, value) → 1 | the agent refuses the endpoint |
//! | `PREFIXES` | agent | (binding, prefix) → prefix length | the agent refuses the endpoint |
//! | `KNOWN` | agent | address → whose it is | the agent reports it |
//! | `COUNTERS` | kernel | slot → counters, per CPU | sized with `ENDPOINTS` |
//! | `CONDUCT` | both | slot → hostile attempts, budget of events | sized with `ENDPOINTS` |
//! | `EVENTS` | kernel | ring buffer | the loss is counted |
//! | `JOURNAL` | agent | (slot, chunk) → desired state | the agent reports it; the state file stays |
//! | `META` | agent | 0 → layout version, primary namespace | one entry |
//!
//! Sizes here are those of a small host; the loader sets them.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf};
use aya_ebpf::helpers::generated::bpf_map_lookup_elem;
use aya_ebpf::macros::btf_map;
use portcullis_abi::{
    ANCHOR_ARRAY_LEN, AnchorKey, Conduct, Counters, DropEvent, Endpoint, FurtherKey, Ipv6, JOURNAL_CHUNK_LEN,
    JournalKey, KnownAs, Meta, Pointer, PrefixKey, UNBOUND_SLOT,
};
use portcullis_engine::Tables;

use crate::{cold, settings};

const ENDPOINTS_LEN: usize = 2048;
const SLOTS: usize = 1024;

#[btf_map]
static ANCHORS: Array<Pointer, { ANCHOR_ARRAY_LEN as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
static ANCHORS_FAR: HashMap<AnchorKey, u32, 4096, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
static ENDPOINTS: Array<Endpoint, ENDPOINTS_LEN, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
static FURTHER: HashMap<FurtherKey, u32, 65536, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
static PREFIXES: LpmTrie<[u8; size_of::<PrefixKey>() - 4], u32, 65536> = LpmTrie::new();
#[btf_map]
static KNOWN: HashMap<[u64; 2], u32, 4096, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
static COUNTERS: PerCpuArray<Counters, SLOTS> = PerCpuArray::new();
#[btf_map]
static CONDUCT: Array<Conduct, SLOTS, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
static EVENTS: RingBuf<DropEvent, { 512 * 1024 }> = RingBuf::new();
/// Never read here: it is created and pinned with the others so that it lives as long as they do.
#[btf_map]
static JOURNAL: HashMap<JournalKey, [u8; JOURNAL_CHUNK_LEN], 65536, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
#[btf_map]
static META: Array<Meta, 1> = Array::new();

/// The binding of an interface, and its counters; nothing where it has none.
#[inline(always)]
pub fn pointer_of(ifindex: u32) -> Pointer {
    if settings::is_primary() && ifindex < ANCHOR_ARRAY_LEN {
        // SAFETY: a value of an array, readable while the program runs; eight aligned bytes, read
        // with one load and never half written.
        return ANCHORS.get_ptr(ifindex).map_or(Pointer(0), |word| unsafe { word.read_volatile() });
    }
    Pointer(cold::far(ifindex))
}

/// The same for an interface that the array does not hold.
#[inline(always)]
pub fn far_pointer_of(ifindex: u32) -> Pointer {
    let key = AnchorKey { netns: settings::netns(), ifindex };
    // SAFETY: the value is copied at once; four aligned bytes are never half written.
    let binding = unsafe { ANCHORS_FAR.get(key) }.copied().unwrap_or(0);
    let slot = endpoint(binding).map_or(UNBOUND_SLOT, |endpoint| endpoint.slot);
    Pointer::new(binding, slot)
}

/// The entry of a binding. Entries never change while an anchor points to them (but for one byte).
#[inline(always)]
pub fn endpoint(binding: u32) -> Option<&'static Endpoint> {
    ENDPOINTS.get(binding)
}

/// This CPU's counters of a slot.
#[inline(always)]
pub fn counters(slot: u32) -> Option<*mut Counters> {
    COUNTERS.get_ptr_mut(slot)
}

/// The conduct of a slot's endpoint.
#[inline(always)]
pub fn conduct(slot: u32) -> Option<*mut Conduct> {
    CONDUCT.get_ptr_mut(slot)
}

/// Puts a binding's endpoint in quarantine: its frames fall from the next one on.
#[inline(always)]
pub fn quarantine(binding: u32) {
    if let Some(endpoint) = ENDPOINTS.get_ptr_mut(binding) {
        // SAFETY: a value of an array, writable while the program runs; a single byte is never half
        // written.
        unsafe { (&raw mut (*endpoint).quarantine).write_volatile(Endpoint::QUARANTINED) };
    }
}

/// The stream of events to the agent.
#[inline(always)]
pub fn events() -> &'static RingBuf<DropEvent, { 512 * 1024 }> {
    &EVENTS
}

/// The engine's further tables.
pub struct KernelTables;

impl Tables for KernelTables {
    #[inline(always)]
    fn has_further(&self, key: &FurtherKey) -> bool {
        // SAFETY: the value is not looked at.
        unsafe { FURTHER.get(key) }.is_some()
    }

    #[inline(always)]
    fn prefix_len(&self, key: &PrefixKey) -> Option<u32> {
        // SAFETY: PREFIXES is a map whose key has the size and layout of PrefixKey; the kernel
        // returns null or a pointer to a u32 that stays readable while this program runs.
        unsafe {
            let value = bpf_map_lookup_elem(
                (&raw const PREFIXES).cast_mut().cast(),
                core::ptr::from_ref(key).cast_mut().cast(),
            );
            value.cast::<u32>().as_ref().copied()
        }
    }

    #[inline(always)]
    fn is_node(&self, address: &Ipv6) -> bool {
        known_as(address) & KnownAs::NODE != 0
    }

    #[inline(always)]
    fn is_known(&self, address: &Ipv6) -> bool {
        known_as(address) != 0
    }
}

#[inline(always)]
fn known_as(address: &Ipv6) -> u32 {
    // SAFETY: the value is copied at once; four aligned bytes are never half written.
    unsafe { KNOWN.get(address.words()) }.copied().unwrap_or(0)
}
