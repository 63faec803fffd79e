//! Where the frames of an interface come out.

use std::net::IpAddr;

use portcullis_abi::Mac;

use super::learn::{Target, mac_of};
use super::namespace::Namespace;
use super::netlink::{self, Address, Link};
use super::sys::PacketSocket;
use super::{Options, ProbeError};

/// A place to listen.
pub struct FarSide {
    /// For people.
    pub name: String,
    /// Where unicast frames are to go.
    pub mac: Mac,
    /// The MAC of the host, where it is known.
    pub gateway_mac: Option<Mac>,
    /// Addresses of the host.
    pub node: Vec<IpAddr>,
    namespace: Namespace,
    taps: Vec<Tap>,
}

/// How to listen on an interface.
#[derive(Clone, Copy)]
enum Tap {
    /// Everything that it takes in.
    All(u32),
    /// Single ethertypes: these sockets are served after TC.
    ByEthertype(u32),
}

/// `ETH_P_ALL`.
const ALL: u16 = 3;
/// Bytes of receive buffer: the suite many times over.
const BUFFER: i32 = 8 << 20;

/// Finds the far side of an interface, or takes the one that was named.
pub fn find(target: &Target, options: &Options) -> Result<FarSide, ProbeError> {
    if let Some(path) = &options.to {
        return named(target, Namespace::open(path)?, options);
    }
    if target.is_loopback() {
        return itself(target, options);
    }
    let no = |problem: String| ProbeError::NoFarSide { interface: target.link.name.clone(), problem };
    let Some(peer_index) = target.link.peer.filter(|_| target.link.kind.as_deref() != Some("macvlan")) else {
        return Err(no(
            "it is not one end of a pair (host network, macvlan, ipvlan or a device of the machine)".into(),
        ));
    };
    let Some((namespace, host)) = other_end(target, options)? else {
        return Err(no(format!(
            "the other end of the pair (index {peer_index}) is in no namespace that is known here"
        )));
    };
    behind(namespace, host).map_err(no)
}

/// What lies behind the host's end of a pair: a bridge, or the host itself.
fn behind(namespace: Namespace, host: Host) -> Result<FarSide, String> {
    let Host { end, links, addresses } = host;
    let master = end.master.and_then(|index| links.iter().find(|l| l.index == index));
    let place = namespace.name();
    let (mac, name, device, taps) = match master {
        Some(bridge) if bridge.kind.as_deref() == Some("bridge") => (
            mac_of(bridge),
            format!("bridge {} behind {} in {place}", bridge.name, end.name),
            bridge.index,
            // What a bridge never passes on, such as LLDP, it hands to the host's end.
            vec![Tap::All(bridge.index), Tap::ByEthertype(end.index)],
        ),
        Some(other) if other.kind.as_deref() != Some("vrf") => {
            let kind = other.kind.as_deref().unwrap_or("unknown");
            return Err(format!("{} is a port of {}, a device of kind {kind}", end.name, other.name));
        }
        _ => (
            mac_of(&end),
            format!("{} in {place}, routed", end.name),
            end.index,
            vec![Tap::ByEthertype(end.index)],
        ),
    };
    let mut node: Vec<IpAddr> = addresses.iter().filter(|a| a.index == device).map(|a| a.ip).collect();
    // A routed end often has no address of its own; any of the host's will do.
    node.extend(addresses.iter().map(|a| a.ip).filter(|ip| !ip.is_loopback()));
    Ok(FarSide { name, mac, gateway_mac: Some(mac), node, namespace, taps })
}

/// What the namespace of the host's end holds.
struct Host {
    end: Link,
    links: Vec<Link>,
    addresses: Vec<Address>,
}

fn other_end(target: &Target, options: &Options) -> Result<Option<(Namespace, Host)>, ProbeError> {
    let candidates = match &options.host_netns {
        Some(path) => vec![Namespace::open(path)?],
        None => Namespace::candidates(),
    };
    for namespace in candidates {
        let host = namespace.enter(|| {
            let links = netlink::links()?;
            let end =
                links.iter().find(|l| Some(l.index) == target.link.peer && l.peer == Some(target.link.index));
            let Some(end) = end.cloned() else { return Ok(None) };
            // Indices repeat between namespaces; the number of the other end's namespace does not.
            let same = match end.peer_nsid {
                Some(id) => netlink::nsid_of(target.namespace.fd())? == Some(id),
                None => target.link.peer_nsid.is_none(),
            };
            Ok(if same { Some(Host { end, addresses: netlink::addresses()?, links }) } else { None })
        });
        // A namespace that cannot be entered is not the caller's to look into.
        if let Ok(Some(host)) = host {
            return Ok(Some((namespace, host)));
        }
    }
    Ok(None)
}

/// The interface in the namespace that the caller named.
fn named(target: &Target, namespace: Namespace, options: &Options) -> Result<FarSide, ProbeError> {
    let links = namespace.enter(netlink::links)?;
    let wanted = |l: &&Link| match &options.to_interface {
        Some(name) => l.name == *name,
        None => l.hardware == 1 && l.up,
    };
    let Some(link) = links.iter().find(wanted) else {
        let present: Vec<&str> = links.iter().map(|l| l.name.as_str()).collect();
        return Err(ProbeError::NoInterface {
            interface: options.to_interface.clone().unwrap_or_else(|| "of Ethernet that is up".to_owned()),
            namespace: namespace.name().to_owned(),
            present: present.join(", "),
        });
    };
    // The host is only asked who it is; there is no need to find it.
    let host = if target.is_loopback() { None } else { other_end(target, options)? };
    let host = host.and_then(|(namespace, host)| behind(namespace, host).ok());
    Ok(FarSide {
        name: format!("{} in {}", link.name, namespace.name()),
        mac: mac_of(link),
        gateway_mac: host.as_ref().map(|h| h.mac),
        node: host.map(|h| h.node).unwrap_or_default(),
        taps: vec![Tap::All(link.index)],
        namespace,
    })
}

/// A loopback interface: what is sent comes back in.
fn itself(target: &Target, options: &Options) -> Result<FarSide, ProbeError> {
    let namespace = match &options.netns {
        Some(path) => Namespace::open(path)?,
        None => Namespace::current()?,
    };
    Ok(FarSide {
        name: format!("{} itself", target.link.name),
        mac: mac_of(&target.link),
        gateway_mac: None,
        node: Vec::new(),
        taps: vec![Tap::All(target.link.index)],
        namespace,
    })
}

impl FarSide {
    /// Opens the sockets; from here on arriving frames wait in them.
    pub fn open(&self, ethertypes: &[u16]) -> Result<Vec<PacketSocket>, ProbeError> {
        let mut wanted = Vec::new();
        for tap in &self.taps {
            match *tap {
                Tap::All(index) => wanted.push((index, ALL, true)),
                Tap::ByEthertype(index) => wanted.extend(ethertypes.iter().map(|&e| (index, e, false))),
            }
        }
        self.namespace.enter(|| {
            wanted
                .into_iter()
                .map(|(index, protocol, promiscuous)| {
                    let socket = PacketSocket::open()?;
                    socket.prepare_listening(BUFFER)?;
                    if promiscuous {
                        socket.promiscuous(index)?;
                    }
                    socket.bind(index, protocol)?;
                    Ok(socket)
                })
                .collect()
        })
    }
}
