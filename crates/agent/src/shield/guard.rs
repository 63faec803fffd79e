//! The flood guard: what it does, whom it has blocked, whom it never blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use portcullis_abi::DropReason;
use portcullis_abi::shield::guard::{Block, PeerKey};
use portcullis_datapath::monotonic_ns;
use portcullis_inventory::reach;
use portcullis_policy::api::{BlockedSource, GuardSpec, GuardView};
use portcullis_policy::shield::guard::Guard;

use super::kernel::failed;
use super::{Keeper, unkept};
use crate::control::Fault;
use crate::core::Agent;
use crate::store::KeptBlock;

/// A guard as it is compiled.
pub(super) fn meant(guard: &GuardSpec) -> Result<Guard, Fault> {
    guard.guard().map_err(|error| Fault::Invalid(error.to_string()))
}

impl Keeper {
    pub(super) fn put_guard(&mut self, agent: &Agent, guard: Option<GuardSpec>) -> Result<GuardView, Fault> {
        let compiled = guard.as_ref().map(meant).transpose()?;
        if guard == self.guard {
            return self.guard_view(agent);
        }
        if compiled.is_some() {
            self.open(agent)?;
            self.protect(agent)?;
        }
        if let Some(kernel) = &self.kernel {
            kernel.put_guard(compiled.as_ref())?;
        }
        self.store.put_shield_guard(guard.as_ref()).map_err(unkept)?;
        self.guard = guard;
        self.guard_view(agent)
    }

    /// What the guard never blocks, and why.
    fn protected(&self, agent: &Agent) -> BTreeMap<IpNet, &'static str> {
        let mut all = BTreeMap::new();
        let single =
            |addresses: Vec<IpAddr>, why: &'static str| addresses.into_iter().map(move |ip| (ip.into(), why));
        all.extend(single(agent.own_addresses(), "an address of this host"));
        all.extend(single(agent.backends(), "a workload of this host"));
        all.extend(single(reach::resolvers().into_iter().collect(), "a resolver"));
        all.extend(single(reach::gateways().into_iter().collect(), "a gateway"));
        let loopback = ["127.0.0.0/8", "::1/128"].into_iter().filter_map(|text| text.parse().ok());
        all.extend(loopback.map(|net: IpNet| (net, "loopback")));
        all.extend(self.book.allowed().map(|net| (net, "on the allowlist")));
        all
    }

    /// Tells the kernel whom its guard never blocks: those, and nobody else.
    pub(super) fn protect(&mut self, agent: &Agent) -> Result<(), Fault> {
        let wanted: BTreeSet<([u64; 2], u32)> = self.protected(agent).into_keys().map(mapped).collect();
        let Some(kernel) = &self.kernel else { return Ok(()) };
        let profile = kernel.profile();
        // At first also what an earlier agent has told it.
        let told = match self.protecting.take() {
            Some(told) => told,
            None => kernel.shield.protected(profile).map_err(failed)?.into_iter().collect(),
        };
        for (address, len) in wanted.difference(&told) {
            kernel.shield.protect(profile, *address, *len).map_err(failed)?;
        }
        for (address, len) in told.difference(&wanted) {
            kernel.shield.unprotect(profile, *address, *len).map_err(failed)?;
        }
        self.protecting = Some(wanted);
        Ok(())
    }

    fn blocks(&self) -> Vec<(PeerKey, Block)> {
        let Some(kernel) = &self.kernel else { return Vec::new() };
        let profile = kernel.profile().number();
        let now = monotonic_ns();
        let mut blocks = kernel.shield.blocks().unwrap_or_default();
        blocks.retain(|(key, block)| key.profile == profile && block.until_ns > now);
        blocks.sort_by_key(|(_, block)| std::cmp::Reverse(block.since_ns));
        blocks
    }

    pub(super) fn guard_view(&self, agent: &Agent) -> Result<GuardView, Fault> {
        let blocked = self.blocks().into_iter().map(|(key, block)| BlockedSource {
            source: source_text(&key),
            reason: DropReason::from_number(u8::try_from(block.reason).unwrap_or(u8::MAX))
                .map_or_else(|| "rate-limited".to_owned(), |reason| reason.name().to_owned()),
            since: wall(block.since_ns).to_string(),
            until: wall(block.until_ns).to_string(),
            offences: block.offences,
        });
        let protected = match self.guard {
            Some(_) => self.protected(agent).into_iter().map(|(net, why)| format!("{net}: {why}")).collect(),
            None => Vec::new(),
        };
        Ok(GuardView { guard: self.guard.clone(), blocked: blocked.collect(), protected })
    }

    pub(super) fn unblock(&mut self, source: &str) -> Result<(), Fault> {
        let found = self.blocks().into_iter().find(|(key, _)| source_text(key) == source);
        let (Some((key, _)), Some(kernel)) = (found, &self.kernel) else {
            return Err(Fault::NotFound(format!(
                "{source} is not blocked by the flood guard: `portcullis shield guard` shows who is"
            )));
        };
        kernel.shield.unblock(&key).map_err(failed)?;
        self.bus.notice("guard", None, format!("{source} was let go by hand"));
        Ok(())
    }

    /// Tells of new blocks, keeps all on the disk when they have changed, and holds their number down.
    pub(super) fn keep_blocks(&mut self, agent: &Agent) {
        if self.guard.is_none() && self.blocked.is_empty() {
            return;
        }
        if let Err(fault) = self.protect(agent) {
            tracing::warn!(%fault, "the flood guard does not know all whom it must not block");
        }
        let blocks = self.blocks();
        if let Some(kernel) = &self.kernel
            && let Err(error) = kernel.shield.recount_blocks(&blocks)
        {
            tracing::warn!(%error, "the flood guard counts its blocks by itself");
        }
        let now: BTreeMap<String, u64> =
            blocks.iter().map(|(key, block)| (source_text(key), block.since_ns)).collect();
        if now == self.blocked {
            return;
        }
        for (key, block) in &blocks {
            let source = source_text(key);
            if self.blocked.get(&source) == Some(&block.since_ns) {
                continue;
            }
            let (until, times) = (wall(block.until_ns), block.offences);
            let length = Timestamp::now().duration_until(until).as_secs().max(0);
            let message = format!(
                "the flood guard has blocked {source} for {length} s (offence {times}): it went over its limit"
            );
            self.bus.notice("guard", None, message);
        }
        for source in self.blocked.keys().filter(|source| !now.contains_key(*source)) {
            self.bus.notice("guard", None, format!("{source} is not blocked by the flood guard any more"));
        }
        self.blocked = now;
        let kept: Vec<KeptBlock> = blocks
            .iter()
            .map(|(key, block)| KeptBlock {
                address: key.address,
                family: key.family,
                since: wall(block.since_ns),
                until: wall(block.until_ns),
                offences: block.offences,
                reason: block.reason,
            })
            .collect();
        if let Err(error) = self.store.put_shield_blocks(&kept) {
            tracing::warn!(%error, "whom the flood guard has blocked is not on the disk");
        }
    }

    /// Sources that were blocked before the agent, or the host, was started anew, for the time that is left.
    pub(super) fn restore_blocks(&mut self, kept: &[KeptBlock]) {
        let Some(kernel) = &self.kernel else { return };
        let known = self.blocks();
        for block in kept.iter().filter(|block| block.until > Timestamp::now()) {
            let key = PeerKey {
                address: block.address,
                profile: kernel.profile().number(),
                family: block.family,
                port: 0,
            };
            if known.iter().any(|(there, _)| *there == key) {
                continue;
            }
            let entry = Block {
                until_ns: monotonic(block.until),
                since_ns: monotonic(block.since),
                offences: block.offences,
                reason: block.reason,
            };
            if let Err(error) = kernel.shield.set_block(&key, &entry) {
                tracing::warn!(%error, "a source that was blocked is not any more");
            }
        }
        self.blocked = self.blocks().iter().map(|(key, block)| (source_text(key), block.since_ns)).collect();
    }
}

/// A prefix as the guard's table has it: IPv4 mapped into IPv6.
fn mapped(net: IpNet) -> ([u64; 2], u32) {
    match net {
        IpNet::V4(net) => {
            ([0, 0xffff_0000_0000 | u64::from(net.network().to_bits())], 96 + u32::from(net.prefix_len()))
        }
        IpNet::V6(net) => {
            let bits = net.network().to_bits();
            ([(bits >> 64) as u64, bits as u64], u32::from(net.prefix_len()))
        }
    }
}

fn source_text(key: &PeerKey) -> String {
    match key.family {
        4 => Ipv4Addr::from_bits(key.address[1] as u32).to_string(),
        _ => format!("{}/64", Ipv6Addr::from_bits(u128::from(key.address[0]) << 64)),
    }
}

/// The time of a moment of the monotonic clock.
fn wall(ns: u64) -> Timestamp {
    let ahead = i128::from(ns) - i128::from(monotonic_ns());
    let ahead = SignedDuration::from_nanos(i64::try_from(ahead).unwrap_or(i64::MAX));
    let now = Timestamp::now();
    now.checked_add(ahead).unwrap_or(now)
}

/// The moment of the monotonic clock at a time.
fn monotonic(at: Timestamp) -> u64 {
    let ahead = Timestamp::now().duration_until(at).as_nanos();
    u64::try_from(i128::from(monotonic_ns()) + ahead).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_kernel() {
        assert_eq!(mapped("192.0.2.0/24".parse().unwrap()), ([0, 0xffff_c000_0200], 120));
        assert_eq!(mapped("2001:db8::/32".parse().unwrap()), ([0x2001_0db8_0000_0000, 0], 32));
        let key = |address, family| PeerKey { address, profile: 0, family, port: 0 };
        assert_eq!(source_text(&key([0, 0xc000_0201], 4)), "192.0.2.1");
        assert_eq!(source_text(&key([0x2001_0db8_0000_0001, 0], 6)), "2001:db8:0:1::/64");
        let now = monotonic_ns();
        assert!(monotonic(wall(now + 5_000_000_000)).abs_diff(now + 5_000_000_000) < 1_000_000_000);
    }
}
