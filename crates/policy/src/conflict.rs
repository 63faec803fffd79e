//! Claims that two endpoints cannot both have.
//!
//! An address or a MAC has one owner in one network, and an interface has one endpoint. A network is
//! a bridge in a namespace, or everything in it that is routed; what stands alone on its own side
//! (egress and loopback bindings) shares a network with nobody.
//!
//! [`find_conflict`] compares with every other endpoint; [`Claims`] keeps an index for hosts with
//! thousands of them, and finds the same.

use std::fmt;
use std::net::IpAddr;

use portcullis_abi::{Ipv6, Mac};
use thiserror::Error;

use crate::address::AddressBinding;
use crate::compile::{Learned, effective_macs};
use crate::model::{Direction, EndpointSpec, InterfaceRef};

mod claims;
pub use claims::Claims;

/// The network that an interface's frames come into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkScope {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Index of the bridge (or other master) there; none: its frames are routed.
    pub master: Option<u32>,
    /// Set for egress and loopback bindings: the interface's own index. Such a network has one member.
    pub private: Option<u32>,
}

impl NetworkScope {
    /// Whether an address can have only one owner among the two.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        self.private.is_none() && other.private.is_none() && self == other
    }
}

/// A spec with what the host says about its interface.
#[derive(Clone, Debug)]
pub struct Resolved<'a> {
    /// The spec.
    pub spec: &'a EndpointSpec,
    /// The network; none while the interface does not exist: then only the anchor can conflict.
    pub scope: Option<NetworkScope>,
    /// Index of the interface; none while it does not exist.
    pub ifindex: Option<u32>,
    /// MACs in force.
    pub macs: Vec<Mac>,
}

impl<'a> Resolved<'a> {
    /// A spec whose interface does not exist yet.
    #[must_use]
    pub fn waiting(spec: &'a EndpointSpec) -> Self {
        Self { spec, scope: None, ifindex: None, macs: effective_macs(spec, &Learned::default()) }
    }

    /// A spec whose interface was found.
    #[must_use]
    pub fn found(spec: &'a EndpointSpec, learned: &Learned, scope: NetworkScope, ifindex: u32) -> Self {
        Self { spec, scope: Some(scope), ifindex: Some(ifindex), macs: effective_macs(spec, learned) }
    }

    /// Whether both hang on one interface. The side does not matter: the kernel finds an endpoint by
    /// namespace and interface index alone. Two paths may name one namespace, so indices count too.
    fn same_anchor(&self, other: &Resolved<'_>) -> bool {
        let anchor = |r: &Resolved<'_>| r.scope.map(|s| s.netns).zip(r.ifindex);
        self.spec.interface == other.spec.interface
            || anchor(self).is_some_and(|mine| anchor(other) == Some(mine))
    }

    fn shares_network_with(&self, other: &Resolved<'_>) -> bool {
        self.scope.zip(other.scope).is_some_and(|(mine, theirs)| mine.is_shared_with(&theirs))
    }

    /// MACs that stand for somebody: all zeros, on loopback, do not.
    fn claimed_macs(&self) -> impl Iterator<Item = Mac> + '_ {
        self.macs.iter().copied().filter(|m| *m != Mac::ZERO)
    }
}

/// What two endpoints claim both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The interface.
    Anchor(InterfaceRef),
    /// An address or prefix of the new endpoint, and the other's that it overlaps.
    Address {
        /// As the new endpoint has it.
        new: AddressBinding,
        /// As the other has it.
        bound: AddressBinding,
    },
    /// A MAC.
    Mac(Mac),
}

/// A claim that another endpoint has already.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Conflict {
    /// The endpoint that was to be bound.
    pub endpoint: String,
    /// The endpoint that has the claim.
    pub other: String,
    /// Its interface.
    pub other_interface: InterfaceRef,
    /// Its side.
    pub other_direction: Direction,
    /// What both claim.
    pub claim: Claim,
}

impl Conflict {
    fn new(new: &Resolved<'_>, other: &Resolved<'_>, claim: Claim) -> Self {
        Self {
            endpoint: new.spec.name.clone(),
            other: other.spec.name.clone(),
            other_interface: other.spec.interface.clone(),
            other_direction: other.spec.direction,
            claim,
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (other, interface) = (&self.other, &self.other_interface);
        match &self.claim {
            Claim::Anchor(anchor) => {
                write!(
                    f,
                    "interface {anchor} already has endpoint \"{other}\" ({}); ",
                    self.other_direction
                )?;
            }
            Claim::Address { new, bound } if new == bound => {
                let is = "is already bound to endpoint";
                write!(f, "{new} {is} \"{other}\" (interface {interface}) in the same network; ")?;
            }
            Claim::Address { new, bound } => {
                let has = "which is already bound to endpoint";
                write!(
                    f,
                    "{new} overlaps {bound}, {has} \"{other}\" (interface {interface}) in the same network; "
                )?;
            }
            Claim::Mac(mac) => {
                let is = "is already bound to endpoint";
                write!(f, "MAC {mac} {is} \"{other}\" (interface {interface}) in the same network; ")?;
            }
        }
        write!(f, "unbind it there first: portcullis endpoint unbind {other}")
    }
}

/// The first claim of `new` that one of `others` has already. An endpoint of the same name is the
/// one that `new` replaces, and never in conflict with it.
#[must_use]
pub fn find_conflict<'a>(
    new: &Resolved<'_>,
    others: impl IntoIterator<Item = Resolved<'a>>,
) -> Option<Conflict> {
    others.into_iter().filter(|other| other.spec.name != new.spec.name).find_map(|other| {
        let claim = shared_claim(new, &other)?;
        Some(Conflict::new(new, &other, claim))
    })
}

fn shared_claim(new: &Resolved<'_>, other: &Resolved<'_>) -> Option<Claim> {
    if new.same_anchor(other) {
        return Some(Claim::Anchor(new.spec.interface.clone()));
    }
    if !new.shares_network_with(other) {
        return None;
    }
    for address in &new.spec.addresses {
        if let Some(bound) = other.spec.addresses.iter().find(|bound| bound.overlaps(address)) {
            return Some(Claim::Address { new: *address, bound: *bound });
        }
    }
    new.claimed_macs().find(|mac| other.macs.contains(mac)).map(Claim::Mac)
}

/// Takes out of `learned` what another endpoint of the same network has, so that a workload cannot
/// get at its neighbour's identity by giving its own interface the neighbour's MAC or address.
/// Returns what was taken out, with the owner's name.
pub fn withhold<'a>(
    name: &str,
    scope: &NetworkScope,
    learned: &mut Learned,
    others: impl IntoIterator<Item = (&'a Resolved<'a>, &'a Learned)>,
) -> Vec<(String, String)> {
    let mut withheld = Vec::new();
    for (other, theirs) in others {
        let shared = other.scope.is_some_and(|s| s.is_shared_with(scope));
        if !shared || other.spec.name == name {
            continue;
        }
        let effective = crate::compile::effective(other.spec, theirs);
        let mut take = |what: String| withheld.push((what, other.spec.name.clone()));
        learned.macs.retain(|mac| {
            let foreign = effective.macs.contains(mac);
            if foreign {
                take(mac.to_string());
            }
            !foreign
        });
        learned.link_local.retain(|address| {
            let foreign = effective.link_local.contains(&Ipv6::from(*address))
                || other.spec.addresses.iter().any(|b| b.contains(IpAddr::V6(*address)));
            if foreign {
                take(address.to_string());
            }
            !foreign
        });
    }
    withheld
}

#[cfg(test)]
mod tests;
