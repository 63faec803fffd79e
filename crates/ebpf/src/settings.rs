//! Settings that the loader writes into `.rodata`, where the verifier sees them as constants and
//! prunes what they turn off. A change of a setting is a new load of the program.

use aya_ebpf::Global;

/// Inode number of the network namespace that this instance of the programs serves.
#[unsafe(no_mangle)]
static NETNS: Global<u32> = Global::new(0);

/// Not 0: this is the namespace whose anchors are found by array index.
#[unsafe(no_mangle)]
static PRIMARY: Global<u32> = Global::new(0);

/// What an interface without a binding may do, as a [`portcullis_abi::Mode`]: off, audit, enforce.
#[unsafe(no_mangle)]
static UNBOUND_MODE: Global<u32> = Global::new(0);

/// Events a second that each slot may send in the long run.
#[unsafe(no_mangle)]
static EVENT_RATE: Global<u32> = Global::new(10);

/// Events that each slot may send at once.
#[unsafe(no_mangle)]
static EVENT_BURST: Global<u32> = Global::new(20);

#[inline(always)]
pub fn netns() -> u32 {
    NETNS.load()
}

#[inline(always)]
pub fn is_primary() -> bool {
    PRIMARY.load() != 0
}

#[inline(always)]
pub fn unbound_mode() -> u8 {
    UNBOUND_MODE.load() as u8
}

#[inline(always)]
pub fn event_rate() -> u32 {
    EVENT_RATE.load()
}

#[inline(always)]
pub fn event_burst() -> u32 {
    EVENT_BURST.load()
}
