//! From a spec and what was learned about its interface to table entries.
//!
//! The first MAC, IPv4 address, global IPv6 address and link-local address stand inline in the
//! [`Endpoint`] entry, where a frame is decided without any look-up; the rest goes to the further
//! and the prefix table, and a bit of `allow` says that something is there.
//!
//! **Link-local addresses are always bound** as soon as a MAC or a link-local address is known,
//! even where the operator binds IPv4 alone. Every Linux interface speaks link-local IPv6 when it
//! comes up (DAD, MLD reports, router solicitations) whether or not anybody wants IPv6; a workload
//! that does only this claims nobody's identity and must not count as hostile. Global IPv6 stays
//! shut until an address is bound.

use std::net::{IpAddr, Ipv6Addr};

use portcullis_abi::{self as abi, Allow, Endpoint, FurtherKey, Ipv4, Ipv6, Mac, Mode, PrefixKey};

use crate::address::AddressBinding;
use crate::guard::{Answer, Response};
use crate::model::{self, EndpointSpec};

/// What the agent learned about an interface, and nobody declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// MACs of the workload's side; used where the spec declares none.
    pub macs: Vec<Mac>,
    /// Link-local addresses of the workload's side; used where the spec declares none.
    pub link_local: Vec<Ipv6Addr>,
    /// All addresses of the namespace; used on loopback interfaces only.
    pub local: Vec<IpAddr>,
}

/// All that an endpoint may claim, each list without duplicates, the inline one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// MACs: declared, or learned.
    pub macs: Vec<Mac>,
    /// IPv4 addresses.
    pub ipv4: Vec<Ipv4>,
    /// IPv6 addresses that are not link-local.
    pub ipv6: Vec<Ipv6>,
    /// Link-local addresses: declared, or learned, or derived from the MACs.
    pub link_local: Vec<Ipv6>,
    /// Prefixes.
    pub prefixes: Vec<AddressBinding>,
}

/// The table entries of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledBinding {
    /// The entry at index `binding`.
    pub endpoint: Endpoint,
    /// Keys of the further table.
    pub further: Vec<FurtherKey>,
    /// Keys of the prefix table.
    pub prefixes: Vec<PrefixKey>,
}

/// Makes the table entries of `spec`: `answer` says what becomes of it if it keeps forging, `slot` counts
/// for it ([`portcullis_abi::UNBOUND_SLOT`] is never an endpoint's), `binding` is the index of its entry and
/// marks its keys in the other tables.
#[must_use]
pub fn compile(
    spec: &EndpointSpec,
    learned: &Learned,
    answer: &Answer,
    slot: u32,
    binding: u32,
) -> CompiledBinding {
    let effective = effective(spec, learned);
    let mut allow = spec.allow.iter().fold(0, |bits, permission| bits | permission.bit());
    let mut further = Vec::new();
    let mut put = |bit: u32, keys: &mut dyn Iterator<Item = FurtherKey>| {
        let before = further.len();
        further.extend(keys);
        if further.len() > before {
            allow |= bit;
        }
    };
    put(Allow::FURTHER_MAC, &mut rest(&effective.macs).map(|m| FurtherKey::mac(binding, *m)));
    put(Allow::FURTHER_IPV4, &mut rest(&effective.ipv4).map(|a| FurtherKey::address(binding, a.mapped())));
    let ipv6 = rest(&effective.ipv6).chain(rest(&effective.link_local));
    put(Allow::FURTHER_IPV6, &mut ipv6.map(|a| FurtherKey::address(binding, *a)));
    put(Allow::FURTHER_VLAN, &mut spec.vlans.iter().map(|v| FurtherKey::vlan(binding, v.number())));
    let ethertypes = spec.ethertypes.iter().map(|e| FurtherKey::ethertype(binding, e.number()));
    put(Allow::FURTHER_ETHERTYPE, &mut ethertypes.into_iter());

    let mut prefixes = Vec::with_capacity(effective.prefixes.len());
    for prefix in &effective.prefixes {
        let (address, len_bits) = prefix.mapped();
        prefixes.push(PrefixKey::prefix(binding, address, len_bits));
        allow |= if prefix.ip().is_ipv4() { Allow::PREFIX_IPV4 } else { Allow::PREFIX_IPV6 };
    }
    let endpoint = Endpoint {
        mac: first(&effective.macs),
        mode: Mode::from(spec.mode) as u8,
        quarantine: u8::from(spec.quarantined),
        ipv4: first(&effective.ipv4),
        slot,
        ipv6: first(&effective.ipv6),
        link_local: first(&effective.link_local),
        allow,
        ..Endpoint::default()
    };
    let response = kernel_response(spec, answer);
    let endpoint = endpoint.with_threshold(answer.attempts, answer.window.millis(), response);
    CompiledBinding { endpoint, further, prefixes }
}

/// What the kernel itself does at the threshold. Ending a container includes its quarantine: nothing more
/// comes from it while it ends.
fn kernel_response(spec: &EndpointSpec, answer: &Answer) -> abi::Response {
    let quarantines =
        answer.response >= Response::Quarantine && !answer.dry_run && spec.mode == model::Mode::Enforce;
    if quarantines { abi::Response::Quarantine } else { abi::Response::Report }
}

/// What `spec` may claim with what was learned; the agent shows it, [`compile`] puts it into tables.
#[must_use]
pub fn effective(spec: &EndpointSpec, learned: &Learned) -> Effective {
    let mut all = Effective { macs: effective_macs(spec, learned), ..Effective::default() };
    for binding in &spec.addresses {
        if binding.is_host() {
            all.add(binding.ip());
        } else {
            push_new(&mut all.prefixes, *binding);
        }
    }
    if all.link_local.is_empty() {
        all.link_local = undeclared_link_local(&all.macs, learned);
    }
    if spec.interface.is_loopback() {
        // Traffic to the namespace's own addresses takes `lo`, whichever interface has them.
        // What could not be declared is not learned either.
        let usable = learned.local.iter().filter(|a| AddressBinding::try_from(**a).is_ok());
        usable.for_each(|address| all.add(*address));
    }
    all
}

/// The MACs in force: the declared ones, else the learned ones.
///
/// An endpoint without any gets all zeros in its entry, which no honest Ethernet frame carries:
/// only devices without an Ethernet header can send through it.
#[must_use]
pub fn effective_macs(spec: &EndpointSpec, learned: &Learned) -> Vec<Mac> {
    let mut macs = Vec::new();
    if spec.macs.is_empty() {
        let loopback = spec.interface.is_loopback();
        let usable = learned.macs.iter().filter(|m| !m.is_group() && (loopback || **m != Mac::ZERO));
        usable.for_each(|mac| push_new(&mut macs, *mac));
    } else {
        spec.macs.iter().for_each(|mac| push_new(&mut macs, mac.mac()));
    }
    macs
}

/// Learned link-local addresses; where there are none, those that the kernel derives from the MACs.
fn undeclared_link_local(macs: &[Mac], learned: &Learned) -> Vec<Ipv6> {
    let mut addresses = Vec::new();
    for address in learned.link_local.iter().map(|a| Ipv6::from(*a)).filter(|a| a.is_link_local()) {
        push_new(&mut addresses, address);
    }
    if addresses.is_empty() {
        macs.iter().filter(|m| **m != Mac::ZERO).for_each(|m| push_new(&mut addresses, m.eui64_link_local()));
    }
    addresses
}

impl Effective {
    fn add(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => push_new(&mut self.ipv4, v4.into()),
            IpAddr::V6(v6) if Ipv6::from(v6).is_link_local() => push_new(&mut self.link_local, v6.into()),
            IpAddr::V6(v6) => push_new(&mut self.ipv6, v6.into()),
        }
    }
}

fn push_new<T: PartialEq>(items: &mut Vec<T>, item: T) {
    if !items.contains(&item) {
        items.push(item);
    }
}

fn first<T: Copy + Default>(items: &[T]) -> T {
    items.first().copied().unwrap_or_default()
}

fn rest<T>(items: &[T]) -> std::slice::Iter<'_, T> {
    items.get(1..).unwrap_or_default().iter()
}

#[cfg(test)]
mod tests;
