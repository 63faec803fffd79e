//! Every table of the shield: private, behind functions that say what they mean.
//!
//! | table | owner | key → value | when full |
//! |---|---|---|---|
//! | `LISTS4` | agent | profile → its blocklist of IPv4 addresses | one for each profile |
//! | `LISTS6` | agent | profile → its blocklist of IPv6 addresses, of any length | one for each profile |
//! | `RULES` | agent | profile → its rules | one for each profile |
//! | `SHIELD_PARTS` | agent | profile → which of these it has | one for each profile |
//! | `SHIELD_CONFIG` | agent | profile → what else it is told | one for each profile |
//! | `SHIELD_COUNTERS` | kernel | profile → counters, per CPU | one for each profile |
//! | `RULE_COUNTERS` | kernel | rule's counter → packets and bytes, per CPU | the agent refuses the rule |
//! | `RULE_BUCKETS` | kernel | (rule, source) → when its bucket is empty again | the least recently used goes |
//! | `SOURCES` | kernel | source → its bucket, its part in handshakes | the least recently used goes |
//! | `DESTINATIONS` | kernel | destination → its SYNs | the least recently used goes |
//! | `BLOCKS` | both | source → until when it is blocked | the least recently used goes |
//! | `PROTECTED` | agent | (profile, prefix) → 1: never blocked by the guard | the agent refuses the entry |
//! | `BUDGETS` | kernel | profile, and again with their number added → events that it may send: reports, and of the monitor | two for each profile |
//! | `SKIPS` | kernel | profile → frames that the monitor skips, per CPU | one for each profile |
//! | `BLOCK_COUNTS` | both | profile → how many sources it has blocked | one for each profile |
//! | `FACTS` | kernel | what was seen of the frame in hand, per CPU | one entry |
//! | `EVENTS` | kernel | ring buffer, the gate's where there is one | the loss is counted |

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::helpers::generated::bpf_map_lookup_elem;
use aya_ebpf::macros::btf_map;
use portcullis_abi::shield::guard::{BLOCKS as BLOCKS_LEN, Block, BlockCount, Destination, PeerKey, Source};
use portcullis_abi::shield::{BucketKey, Budget, Config, Line, PROFILES, ProtectedKey, list4, rules};
use portcullis_abi::{Count, Counters, DropEvent};
use portcullis_engine::shield::facts::Facts;
use portcullis_engine::shield::{Lines, Row};

use crate::settings;

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const PROTECTED_LEN: usize = portcullis_abi::shield::guard::PROTECTED as usize;
const PROFILES_LEN: usize = PROFILES as usize;
const LIST4_LINES: usize = list4::LINES as usize;
const RULE_LINES: usize = rules::LINES as usize;

/// An array of lines whose length the verifier knows, so that a look-up is no call.
type Fixed<const LINES: usize> = Array<Line, LINES, MMAPABLE>;
/// One whose length it does not.
type AnyLength = Array<Line, 1, { MMAPABLE | BPF_F_INNER_MAP as usize }>;

#[btf_map]
static LISTS4: ArrayOfMaps<Fixed<LIST4_LINES>, PROFILES_LEN> = ArrayOfMaps::new();
#[btf_map]
static LISTS6: ArrayOfMaps<AnyLength, PROFILES_LEN> = ArrayOfMaps::new();
#[btf_map]
static RULES: ArrayOfMaps<Fixed<RULE_LINES>, PROFILES_LEN> = ArrayOfMaps::new();
#[btf_map]
static SHIELD_PARTS: Array<u64, PROFILES_LEN, MMAPABLE> = Array::new();
#[btf_map]
static SHIELD_CONFIG: Array<Config, PROFILES_LEN, MMAPABLE> = Array::new();
#[btf_map]
static SHIELD_COUNTERS: PerCpuArray<Counters, PROFILES_LEN> = PerCpuArray::new();
#[btf_map]
static RULE_COUNTERS: PerCpuArray<Count, { portcullis_abi::shield::RULE_COUNTERS as usize }> =
    PerCpuArray::new();
#[btf_map]
static RULE_BUCKETS: LruHashMap<BucketKey, u64, 16384> = LruHashMap::new();
#[btf_map]
static SOURCES: LruHashMap<PeerKey, Source, 65536> = LruHashMap::new();
#[btf_map]
static DESTINATIONS: LruHashMap<PeerKey, Destination, 4096> = LruHashMap::new();
#[btf_map]
static BLOCKS: LruHashMap<PeerKey, Block, { BLOCKS_LEN as usize }> = LruHashMap::new();
#[btf_map]
static PROTECTED: LpmTrie<[u8; size_of::<ProtectedKey>() - 4], u32, PROTECTED_LEN> = LpmTrie::new();
#[btf_map]
static BUDGETS: Array<Budget, { 2 * PROFILES_LEN }> = Array::new();
#[btf_map]
static SKIPS: PerCpuArray<u64, PROFILES_LEN> = PerCpuArray::new();
#[btf_map]
static BLOCK_COUNTS: Array<BlockCount, PROFILES_LEN> = Array::new();
#[btf_map]
static FACTS: PerCpuArray<Facts, 1> = PerCpuArray::new();
#[btf_map]
static EVENTS: RingBuf<DropEvent, { 512 * 1024 }> = RingBuf::new();

/// The blocklist of IPv4 addresses, if there is one.
#[inline(always)]
pub fn list4() -> Option<FixedTable<LIST4_LINES>> {
    LISTS4.get(settings::profile()).map(FixedTable)
}

/// The blocklist of IPv6 addresses, if there is one.
#[inline(always)]
pub fn list6() -> Option<AnyTable> {
    LISTS6.get(settings::profile()).map(AnyTable)
}

/// The rules, if there are any.
#[inline(always)]
pub fn rules() -> Option<FixedTable<RULE_LINES>> {
    RULES.get(settings::profile()).map(FixedTable)
}

/// What else the firewall is told.
#[inline(always)]
pub fn config() -> Option<*const Config> {
    SHIELD_CONFIG.get_ptr(settings::profile())
}

/// Which parts the firewall has, as [`portcullis_abi::shield::Parts`].
#[inline(always)]
pub fn parts() -> u64 {
    // SAFETY: a value of an array, readable while the program runs; eight aligned bytes are never half written.
    SHIELD_PARTS.get_ptr(settings::profile()).map_or(0, |parts| unsafe { parts.read_volatile() })
}

/// This CPU's counters.
#[inline(always)]
pub fn counters() -> Option<*mut Counters> {
    SHIELD_COUNTERS.get_ptr_mut(settings::profile())
}

/// This CPU's counters of a rule.
#[inline(always)]
pub fn rule_counter(counter: u32) -> Option<*mut Count> {
    RULE_COUNTERS.get_ptr_mut(counter)
}

/// A bucket; [`make_bucket`] makes one.
#[inline(always)]
pub fn bucket(key: &BucketKey) -> Option<*mut u64> {
    RULE_BUCKETS.get_ptr_mut(key)
}

/// Makes a bucket. Where another CPU was faster, its one stays.
#[inline(always)]
pub fn make_bucket(key: &BucketKey, value: u64) {
    const NO_EXIST: u64 = 1;
    let _there_or_full = RULE_BUCKETS.insert(key, value, NO_EXIST);
}

/// What is known of a source; [`make_source`] makes it.
#[inline(always)]
pub fn source(key: &PeerKey) -> Option<*mut Source> {
    SOURCES.get_ptr_mut(key)
}

/// Begins to know a source.
#[inline(always)]
pub fn make_source(key: &PeerKey, source: &Source) {
    let _full = SOURCES.insert(key, source, 0);
}

/// What is known of a destination; [`make_destination`] makes it.
#[inline(always)]
pub fn destination(key: &PeerKey) -> Option<*mut Destination> {
    DESTINATIONS.get_ptr_mut(key)
}

/// Begins to know a destination.
#[inline(always)]
pub fn make_destination(key: &PeerKey, destination: &Destination) {
    let _full = DESTINATIONS.insert(key, destination, 0);
}

/// The last block of a source.
#[inline(always)]
pub fn block(key: &PeerKey) -> Option<Block> {
    // SAFETY: the value is copied at once; its fields are written by this program and user space only when a block
    // begins.
    unsafe { BLOCKS.get(key) }.copied()
}

/// Blocks a source.
#[inline(always)]
pub fn set_block(key: &PeerKey, block: &Block) {
    let _full = BLOCKS.insert(key, block, 0);
}

/// Whether the guard may never block an address.
#[inline(always)]
pub fn is_protected(key: &ProtectedKey) -> bool {
    // SAFETY: PROTECTED is a map whose key has the size and layout of ProtectedKey; the value is not looked at.
    unsafe {
        let value = bpf_map_lookup_elem(
            (&raw const PROTECTED).cast_mut().cast(),
            core::ptr::from_ref(key).cast_mut().cast(),
        );
        !value.is_null()
    }
}

/// The firewall's budget of reports, or of what its monitor shows.
#[inline(always)]
pub fn budget(of_monitor: bool) -> Option<*mut Budget> {
    let first = if of_monitor { PROFILES } else { 0 };
    BUDGETS.get_ptr_mut(first + settings::profile())
}

/// Frames that the monitor still skips on this CPU.
#[inline(always)]
pub fn skips() -> Option<*mut u64> {
    SKIPS.get_ptr_mut(settings::profile())
}

/// How many sources the firewall has blocked.
#[inline(always)]
pub fn block_count() -> Option<*mut BlockCount> {
    BLOCK_COUNTS.get_ptr_mut(settings::profile())
}

/// Where what was seen of the frame in hand is kept between functions.
#[inline(always)]
pub fn facts() -> Option<*mut Facts> {
    FACTS.get_ptr_mut(0)
}

/// The stream of events to the agent.
#[inline(always)]
pub fn events() -> &'static RingBuf<DropEvent, { 512 * 1024 }> {
    &EVENTS
}

/// A table of lines, of the one length that there is.
pub struct FixedTable<const LINES: usize>(&'static Fixed<LINES>);

impl<const LINES: usize> Lines for FixedTable<LINES> {
    type Row = KernelRow;

    #[inline(always)]
    fn row(&self, line: u32) -> Option<KernelRow> {
        self.0.get_ptr(line).map(KernelRow)
    }
}

/// A table of lines, of any length.
pub struct AnyTable(&'static AnyLength);

impl Lines for AnyTable {
    type Row = KernelRow;

    #[inline(always)]
    fn row(&self, line: u32) -> Option<KernelRow> {
        self.0.get_ptr(line).map(KernelRow)
    }
}

/// A line of one.
pub struct KernelRow(*const Line);

impl Row for KernelRow {
    #[inline(always)]
    fn word(&self, word: u32) -> u64 {
        // SAFETY: the line is an array map's value, readable while the program runs, and has eight aligned words;
        // user space stores them at once, so none is half written.
        unsafe { self.0.cast::<u64>().add((word & 7) as usize).read_volatile() }
    }

    #[inline(always)]
    fn word_at(&self, word: u32) -> u64 {
        // SAFETY: as above.
        unsafe { self.0.cast::<u64>().add(bounded::<7>(word)).read_volatile() }
    }
}

/// A number and a mask, masked here and now. The compiler masks where it likes, and keeps the outcome in half a word of
/// the stack, where the verifier forgets its bounds (before 5.16).
#[inline(always)]
pub fn bounded<const MASK: u64>(number: u32) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = u64::from(number);
        // SAFETY: one arithmetic instruction. Not `pure`: it is to stay where it is.
        unsafe {
            core::arch::asm!("{number} &= {mask}", number = inout(reg) number, mask = const MASK, options(nomem, nostack));
        }
        number as usize
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        (u64::from(number) & MASK) as usize
    }
}
