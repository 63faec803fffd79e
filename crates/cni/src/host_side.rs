//! From the container's interface to the host side of its pair: what the kernel says, and whether the chain
//! says the same.

use std::path::Path;

use portcullis_inventory::{Link, LinkKind, Netns, RouteSocket};
use portcullis_policy::address::MacAddress;
use portcullis_policy::container::HostInterface;

use crate::environment::Key;
use crate::error::{CniError, Code};
use crate::result::Previous;

/// Where the container's interface can be bound.
#[derive(Debug)]
pub(crate) struct Found {
    /// The host side; none: it has none.
    pub(crate) host: Option<HostInterface>,
    /// What the container's interface is.
    pub(crate) kind: LinkKind,
    /// Its MAC; none: its frames have no Ethernet header.
    pub(crate) mac: Option<MacAddress>,
}

/// Asks the kernel. The host side must lie in the namespace of this process: that is where runtimes run
/// plugins, and where plugins put it.
pub(crate) fn find(path: &Path, key: &Key) -> Result<Found, CniError> {
    let netns = Netns::open(path).map_err(|error| CniError::environment("CNI_NETNS", error.to_string()))?;
    let own = Netns::current().map_err(|error| unanswered(&error))?;
    if netns.id == own.id {
        let details = format!("{} is the host's own namespace, not a container's", path.display());
        return Err(CniError::environment("CNI_NETNS", details));
    }
    let mut inside = RouteSocket::open(&netns).map_err(|error| unanswered(&error))?;
    let link = inside.link_by_name(&key.interface).map_err(|error| unanswered(&error))?.ok_or_else(|| {
        let details = format!("there is no interface {} in {}", key.interface, path.display());
        CniError::environment("CNI_IFNAME", details)
    })?;
    let host = match link.peer {
        Some(_) if link.kind.is_pair() => Some(other_end(&mut inside, &link, &netns, &own)?),
        _ => None,
    };
    let mac = link.mac.and_then(|mac| MacAddress::try_from(mac).ok());
    Ok(Found { host, kind: link.kind, mac })
}

fn other_end(
    inside: &mut RouteSocket,
    link: &Link,
    netns: &Netns,
    own: &Netns,
) -> Result<HostInterface, CniError> {
    let elsewhere = || {
        let details = format!(
            "the other end of {} lies neither in the container nor in the namespace that the plugin runs in; \
             portcullis must come after the plugin that makes the pair, and run where that one does",
            link.name
        );
        CniError::config("the host side of the pair is not here", details)
    };
    let peer = link.peer.ok_or_else(elsewhere)?;
    let number = inside.nsid(own).map_err(|error| unanswered(&error))?;
    // No number in the link: both ends are in the container.
    if peer.netnsid.is_none() || peer.netnsid != number {
        return Err(elsewhere());
    }
    let mut outside = RouteSocket::open(own).map_err(|error| unanswered(&error))?;
    let host =
        outside.link_by_index(peer.ifindex).map_err(|error| unanswered(&error))?.ok_or_else(elsewhere)?;
    // Asked both ways: an index may have been given anew between two questions.
    let back = host.peer.filter(|back| back.ifindex == link.index).and_then(|back| back.netnsid);
    if back.is_none() || back != outside.nsid(netns).map_err(|error| unanswered(&error))? {
        return Err(elsewhere());
    }
    Ok(HostInterface { netns: own.id.0, netns_path: None, index: host.index, name: host.name })
}

/// Whether the chain says the same as the kernel. Where it does not, one of them is wrong, and a binding
/// would be put on an interface that is somebody else's.
pub(crate) fn agree(found: &Found, previous: &Previous, key: &Key) -> Result<(), CniError> {
    if let (Some(told), Some(real)) = (previous.mac(&key.interface)?, found.mac)
        && told != real
    {
        let details = format!(
            "prevResult says that {} has the MAC {told}, the kernel says {real}; a plugin that changes it must \
             say so in its result",
            key.interface
        );
        return Err(CniError::config("prevResult and the kernel contradict each other", details));
    }
    let Some(host) = &found.host else { return Ok(()) };
    let mut named = previous.on_host().peekable();
    if named.peek().is_none() || previous.on_host().any(|interface| interface.name == host.name) {
        return Ok(());
    }
    let own = Netns::current().map_err(|error| unanswered(&error))?;
    let mut socket = RouteSocket::open(&own).map_err(|error| unanswered(&error))?;
    for interface in named {
        // A bridge, a VLAN or a master may well be named; another pair may not.
        let link = socket.link_by_name(&interface.name).ok().flatten();
        if link.is_none_or(|link| link.kind.is_pair()) {
            let details = format!(
                "prevResult names {} as the host side of {}, the kernel says that it is {}",
                interface.name, key.interface, host.name
            );
            return Err(CniError::config("prevResult and the kernel contradict each other", details));
        }
    }
    Ok(())
}

fn unanswered(error: &portcullis_inventory::Error) -> CniError {
    CniError::new(Code::Io, "the kernel does not say where the interface is", error.to_string())
}
