//! What the flood guard knows: whom it has blocked, and whom it may not block.

use std::os::fd::AsFd as _;

use portcullis_abi::shield::guard::{Block, BlockCount, PROTECTED, PeerKey};
use portcullis_abi::shield::{PROFILES, ProtectedKey};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::{Profile, Shield};
use crate::error::{Error, Result};
use crate::sys;

impl Shield {
    /// All blocks that are remembered, those whose time is over among them.
    pub fn blocks(&self) -> Result<Vec<(PeerKey, Block)>> {
        let table = self.table("BLOCKS")?;
        let info = sys::map_info(table.as_fd()).map_err(|source| Error::system("BLOCKS", source))?;
        let keys: Vec<PeerKey> = sys::map_keys(table, info.max_entries as usize)
            .map_err(|source| Error::system("listing table BLOCKS", source))?;
        let mut all = Vec::with_capacity(keys.len());
        for key in keys {
            let mut block = Block::new_zeroed();
            let found = sys::map_lookup(table, &key, block.as_mut_bytes());
            if found.map_err(|source| Error::system("reading table BLOCKS", source))? {
                all.push((key, block));
            }
        }
        Ok(all)
    }

    /// Blocks a source, or changes its block: what a restart must not forget.
    pub fn set_block(&self, source: &PeerKey, block: &Block) -> Result<()> {
        sys::map_update(self.table("BLOCKS")?, source, block)
            .map_err(|error| Error::system("writing to table BLOCKS", error))
    }

    /// Lets a source go, and forgets its offences; answers whether there was a block.
    pub fn unblock(&self, source: &PeerKey) -> Result<bool> {
        sys::map_delete(self.table("BLOCKS")?, source)
            .map_err(|error| Error::system("removing from table BLOCKS", error))
    }

    /// Says how many sources a firewall has blocked now. The programs count blocks that begin, and forget those that
    /// are over only after a while; see [`portcullis_abi::shield::guard::GuardConfig::block_most`].
    pub fn set_block_count(&self, profile: Profile, live: u32) -> Result<()> {
        let count = BlockCount { since_ns: sys::monotonic_ns(), recent: live, earlier: 0 };
        sys::map_update(self.table("BLOCK_COUNTS")?, &profile.number(), &count)
            .map_err(|error| Error::system("writing to table BLOCK_COUNTS", error))
    }

    /// Does so for all firewalls, by what [`Self::blocks`] has answered.
    pub fn recount_blocks(&self, blocks: &[(PeerKey, Block)]) -> Result<()> {
        let now_ns = sys::monotonic_ns();
        let mut live = [0u32; PROFILES as usize];
        for (key, _) in blocks.iter().filter(|(_, block)| now_ns < block.until_ns) {
            if let Some(count) = live.get_mut(key.profile as usize) {
                *count = count.saturating_add(1);
            }
        }
        let profiles = (0..PROFILES).filter_map(Profile::new);
        profiles.zip(live).try_for_each(|(profile, live)| self.set_block_count(profile, live))
    }

    /// Has a firewall's guard never block the addresses of a prefix. The address is two numbers, its first byte the
    /// highest; IPv4 goes in mapped (`::ffff:a.b.c.d`), with 96 added to the length.
    pub fn protect(&self, profile: Profile, address: [u64; 2], len_bits: u32) -> Result<()> {
        let key = ProtectedKey::prefix(profile.number(), address, len_bits.min(128));
        sys::map_update(self.table("PROTECTED")?, &key, &1u32).map_err(|source| match source.raw_os_error() {
            Some(libc::ENOSPC) => Error::Full { table: "PROTECTED", capacity: PROTECTED },
            _ => Error::system("writing to table PROTECTED", source),
        })
    }

    /// All prefixes that a firewall's guard never blocks, as [`Self::protect`] takes them.
    pub fn protected(&self, profile: Profile) -> Result<Vec<([u64; 2], u32)>> {
        let keys: Vec<ProtectedKey> = sys::map_keys(self.table("PROTECTED")?, PROTECTED as usize)
            .map_err(|source| Error::system("listing table PROTECTED", source))?;
        let ours = keys.into_iter().filter(|key| key.profile == profile.number());
        let prefix = |key: ProtectedKey| (key.address.map(u64::from_be), key.prefix_len.saturating_sub(32));
        Ok(ours.map(prefix).collect())
    }

    /// The opposite; answers whether the prefix was there.
    pub fn unprotect(&self, profile: Profile, address: [u64; 2], len_bits: u32) -> Result<bool> {
        let key = ProtectedKey::prefix(profile.number(), address, len_bits.min(128));
        sys::map_delete(self.table("PROTECTED")?, &key)
            .map_err(|source| Error::system("removing from table PROTECTED", source))
    }
}
