//! Whose interface this is, and who is around it.

use std::net::IpAddr;

use portcullis_abi::{Ipv4, Ipv6, Mac};

use super::far::FarSide;
use super::namespace::Namespace;
use super::netlink::{self, Address, Link};
use super::{Overrides, ProbeError};
use crate::cases::Identity;

/// The workload's interface as its namespace shows it.
pub struct Target {
    pub namespace: Namespace,
    pub link: Link,
    addresses: Vec<Address>,
    gateways: Vec<IpAddr>,
}

/// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK`.
const ETHERNET: u16 = 1;
const LOOPBACK: u16 = 772;

impl Target {
    /// Reads the interface of this name.
    pub fn read(namespace: Namespace, interface: &str) -> Result<Self, ProbeError> {
        let (links, addresses, gateways) = namespace
            .enter(|| Ok((netlink::links()?, netlink::addresses()?, netlink::default_gateways()?)))?;
        let Some(link) = links.iter().find(|l| l.name == interface).cloned() else {
            let present: Vec<&str> = links.iter().map(|l| l.name.as_str()).collect();
            return Err(ProbeError::NoInterface {
                interface: interface.to_owned(),
                namespace: namespace.name().to_owned(),
                present: present.join(", "),
            });
        };
        let problem = if !link.up {
            Some("is down; set it up first")
        } else if ![ETHERNET, LOOPBACK].contains(&link.hardware) {
            Some("has no Ethernet header, and the suite is made of Ethernet frames; choose another")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(ProbeError::Unsuitable { interface: interface.to_owned(), problem });
        }
        let addresses = addresses.into_iter().filter(|a| a.index == link.index).collect();
        let gateways = gateways.into_iter().filter(|(i, _)| *i == link.index).map(|(_, ip)| ip).collect();
        Ok(Self { namespace, link, addresses, gateways })
    }

    pub fn is_loopback(&self) -> bool {
        self.link.hardware == LOOPBACK
    }

    pub fn describe(&self) -> String {
        format!("{} in {}", self.link.name, self.namespace.name())
    }
}

/// The identity that the suite is made for.
pub fn identity(target: &Target, far: &FarSide, over: &Overrides) -> Identity {
    let bound: Vec<IpAddr> =
        over.addresses.clone().unwrap_or_else(|| target.addresses.iter().map(|a| a.ip).collect());
    let mac = over.mac.or(target.link.mac).unwrap_or_default();
    let ipv4 = first4(&bound);
    let ipv6 = bound.iter().find_map(|ip| global6(*ip));
    let link_local = bound.iter().find_map(|ip| v6(*ip).filter(|a| a.is_link_local()));
    let prefix4 =
        target.addresses.iter().find(|a| v4(a.ip).is_some() && v4(a.ip) == ipv4).map_or(24, |a| a.prefix);
    let node4 = over.node4.or(first4(&far.node));
    let node6 = over.node6.or(far.node.iter().find_map(|ip| global6(*ip)));
    let gateway4 = over.gateway4.or(first4(&target.gateways)).or(node4);
    let gateway6 = over.gateway6.or(target.gateways.iter().find_map(|ip| v6(*ip))).or(node6);
    let made_up = Identity::new(mac);
    let mut identity = Identity {
        ipv4,
        prefix4,
        ipv6,
        link_local: match (ipv6, link_local) {
            // Without a global address IPv6 does not count as bound, unless the caller says so.
            (None, Some(own)) if over.addresses.is_some() => own,
            (Some(_), Some(own)) => own,
            (Some(_), None) if !target.is_loopback() => mac.eui64_link_local(),
            _ => Ipv6::UNSPECIFIED,
        },
        far_mac: far.mac,
        gateway_mac: far.gateway_mac.unwrap_or(made_up.gateway_mac),
        gateway4,
        gateway6,
        neighbour_mac: over.neighbour_mac.unwrap_or(made_up.neighbour_mac),
        neighbour4: over.neighbour4,
        neighbour6: over.neighbour6,
        node4,
        node6,
        ..made_up
    };
    avoid_taken(&mut identity, &bound, &far.node);
    identity
}

/// Moves made-up neighbours off the addresses that are ours or the node's.
fn avoid_taken(identity: &mut Identity, bound: &[IpAddr], node: &[IpAddr]) {
    let taken = |ip: IpAddr| bound.contains(&ip) || node.contains(&ip);
    if identity.neighbour4.is_none() {
        let mut at = identity.neighbour4();
        for _ in 0..250 {
            if !taken(IpAddr::V4(at.into())) {
                break;
            }
            at = Identity { ipv4: Some(at), ..identity.clone() }.neighbour4();
        }
        identity.neighbour4 = Some(at);
    }
    if identity.neighbour6.is_none() {
        let mut at = identity.neighbour6();
        for _ in 0..250 {
            if !taken(IpAddr::V6(at.into())) {
                break;
            }
            at = Identity { ipv6: Some(at), ..identity.clone() }.neighbour6();
        }
        identity.neighbour6 = Some(at);
    }
}

fn v4(ip: IpAddr) -> Option<Ipv4> {
    match ip {
        IpAddr::V4(a) => Some(a.into()),
        IpAddr::V6(_) => None,
    }
}

fn v6(ip: IpAddr) -> Option<Ipv6> {
    match ip {
        IpAddr::V6(a) => Some(a.into()),
        IpAddr::V4(_) => None,
    }
}

fn global6(ip: IpAddr) -> Option<Ipv6> {
    v6(ip).filter(|a| !a.is_link_local())
}

fn first4(all: &[IpAddr]) -> Option<Ipv4> {
    all.iter().find_map(|ip| v4(*ip))
}

/// The MAC of a link, zero where it has none.
pub fn mac_of(link: &Link) -> Mac {
    link.mac.unwrap_or_default()
}
