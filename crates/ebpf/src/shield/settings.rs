//! Settings that the loader writes into `.rodata`, where the verifier sees them as constants.

use aya_ebpf::Global;

/// Which firewall's lists and rules this instance of the programs uses.
#[unsafe(no_mangle)]
static PROFILE: Global<u32> = Global::new(0);

/// Inode number of the network namespace that it stands in, for events.
#[unsafe(no_mangle)]
static NETNS: Global<u32> = Global::new(0);

/// Not 0: the kernel has the helpers for SYN cookies, and the program stands where it can answer.
#[unsafe(no_mangle)]
static HAS_COOKIES: Global<u32> = Global::new(0);

#[inline(always)]
pub fn has_cookies() -> bool {
    HAS_COOKIES.load() != 0
}

#[inline(always)]
pub fn profile() -> u32 {
    PROFILE.load()
}

#[inline(always)]
pub fn netns() -> u32 {
    NETNS.load()
}
