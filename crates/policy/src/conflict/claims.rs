//! An index of claims: finds a conflict without a look at every endpoint.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use portcullis_abi::Mac;

use super::{Claim, Conflict, NetworkScope, Resolved};
use crate::address::AddressBinding;
use crate::model::{Direction, InterfaceRef};

/// The claims of all endpoints that were accepted; no two of them conflict.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    holders: HashMap<String, Holder>,
    by_interface: HashMap<InterfaceRef, String>,
    by_anchor: HashMap<(u32, u32), String>,
    /// By network and first address. The ranges are disjoint: there are no conflicts, and a holder's
    /// own prefixes and addresses inside its wider prefixes are left out.
    ranges: BTreeMap<(NetworkScope, u128), Range>,
    macs: HashMap<(NetworkScope, Mac), String>,
}

/// One accepted endpoint.
#[derive(Clone, Debug)]
struct Holder {
    name: String,
    interface: InterfaceRef,
    direction: Direction,
    /// Namespace and index of the interface.
    anchor: Option<(u32, u32)>,
    /// The network, where it may have other members.
    network: Option<NetworkScope>,
    addresses: Vec<AddressBinding>,
    macs: Vec<Mac>,
}

#[derive(Clone, Debug)]
struct Range {
    last: u128,
    binding: AddressBinding,
    holder: String,
}

impl Claims {
    /// Accepts the claims of `new`, in place of those it had before under the same name.
    ///
    /// # Errors
    /// A claim that another endpoint has already; then nothing is changed.
    pub fn claim(&mut self, new: &Resolved<'_>) -> Result<(), Box<Conflict>> {
        let holder = Holder::new(new);
        let before = self.take(&holder.name);
        match self.conflict(&holder) {
            None => {
                self.put(holder);
                Ok(())
            }
            Some(conflict) => {
                if let Some(before) = before {
                    self.put(before);
                }
                Err(Box::new(conflict))
            }
        }
    }

    /// Gives the claims of an endpoint free; whether it had some.
    pub fn release(&mut self, name: &str) -> bool {
        self.take(name).is_some()
    }

    /// How many endpoints hold claims.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether nobody holds a claim.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    fn conflict(&self, new: &Holder) -> Option<Conflict> {
        let anchor = new.anchor.and_then(|anchor| self.by_anchor.get(&anchor));
        if let Some(other) = self.by_interface.get(&new.interface).or(anchor) {
            return self.conflict_with(new, other, Claim::Anchor(new.interface.clone()));
        }
        let network = new.network?;
        for address in &new.addresses {
            let (first, last) = address.range();
            // Of disjoint ranges the one that begins last also ends last.
            let candidate = self.ranges.range((network, 0)..=(network, last)).next_back();
            if let Some((_, range)) = candidate
                && range.last >= first
            {
                let claim = Claim::Address { new: *address, bound: range.binding };
                return self.conflict_with(new, &range.holder, claim);
            }
        }
        let (mac, other) = new.macs.iter().find_map(|m| Some((*m, self.macs.get(&(network, *m))?)))?;
        self.conflict_with(new, other, Claim::Mac(mac))
    }

    fn conflict_with(&self, new: &Holder, other: &str, claim: Claim) -> Option<Conflict> {
        let other = self.holders.get(other)?;
        Some(Conflict {
            endpoint: new.name.clone(),
            other: other.name.clone(),
            other_interface: other.interface.clone(),
            other_direction: other.direction,
            claim,
        })
    }

    fn put(&mut self, holder: Holder) {
        let name = || holder.name.clone();
        self.by_interface.insert(holder.interface.clone(), name());
        if let Some(anchor) = holder.anchor {
            self.by_anchor.insert(anchor, name());
        }
        if let Some(network) = holder.network {
            for binding in widest(&holder.addresses) {
                let (first, last) = binding.range();
                self.ranges.insert((network, first), Range { last, binding, holder: name() });
            }
            for mac in &holder.macs {
                self.macs.insert((network, *mac), name());
            }
        }
        self.holders.insert(name(), holder);
    }

    fn take(&mut self, name: &str) -> Option<Holder> {
        let holder = self.holders.remove(name)?;
        self.by_interface.remove(&holder.interface);
        if let Some(anchor) = holder.anchor {
            self.by_anchor.remove(&anchor);
        }
        if let Some(network) = holder.network {
            for binding in widest(&holder.addresses) {
                self.ranges.remove(&(network, binding.range().0));
            }
            for mac in &holder.macs {
                self.macs.remove(&(network, *mac));
            }
        }
        Some(holder)
    }
}

impl Holder {
    fn new(resolved: &Resolved<'_>) -> Self {
        Self {
            name: resolved.spec.name.clone(),
            interface: resolved.spec.interface.clone(),
            direction: resolved.spec.direction,
            anchor: resolved.scope.map(|s| s.netns).zip(resolved.ifindex),
            network: resolved.scope.filter(|s| s.private.is_none()),
            addresses: resolved.spec.addresses.clone(),
            macs: resolved.claimed_macs().collect(),
        }
    }
}

/// What is left when everything inside a wider prefix is taken out.
fn widest(addresses: &[AddressBinding]) -> Vec<AddressBinding> {
    let mut sorted: Vec<_> = addresses.iter().map(|a| (a.range(), *a)).collect();
    sorted.sort_by_key(|((first, last), _)| (*first, Reverse(*last)));
    let mut kept: Vec<AddressBinding> = Vec::with_capacity(sorted.len());
    for (_, binding) in sorted {
        if !kept.last().is_some_and(|wider| wider.overlaps(&binding)) {
            kept.push(binding);
        }
    }
    kept
}
