//! Addresses that are somebody's: this node's own, and those that endpoints are known by.

use std::collections::HashSet;

use portcullis_abi::{Ipv6, KnownAs};

use super::Tables;
use crate::error::Result;

impl Tables {
    /// Makes the set of node addresses (IPv4 mapped) this one.
    pub fn set_nodes(&self, nodes: &[Ipv6]) -> Result<()> {
        self.make(KnownAs::NODE, nodes)
    }

    /// Makes the set of addresses that endpoints are known by (IPv4 mapped) this one.
    pub fn set_identities(&self, identities: &[Ipv6]) -> Result<()> {
        self.make(KnownAs::IDENTITY, identities)
    }

    /// Notes that an endpoint is known by a link-local address (IPv4 mapped), or is not any more: for
    /// anyone else it is evidence to claim it.
    pub fn set_identity(&self, address: Ipv6, present: bool) -> Result<()> {
        self.mark(address, KnownAs::IDENTITY, present)
    }

    fn make(&self, bit: u32, wanted: &[Ipv6]) -> Result<()> {
        let wanted: HashSet<Ipv6> = wanted.iter().copied().collect();
        for &address in &wanted {
            self.mark(address, bit, true)?;
        }
        for address in self.known.keys::<Ipv6>()? {
            if !wanted.contains(&address) {
                self.mark(address, bit, false)?;
            }
        }
        Ok(())
    }

    fn mark(&self, address: Ipv6, bit: u32, present: bool) -> Result<()> {
        let before = self.known.get::<_, u32>(&address)?.unwrap_or(0);
        match if present { before | bit } else { before & !bit } {
            after if after == before => Ok(()),
            0 => self.known.remove(&address).map(drop),
            after => self.known.insert(&address, &after),
        }
    }
}
