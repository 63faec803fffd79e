//! From what the runtime says and what its namespace holds to a [`Container`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use portcullis_abi::Mac;
use portcullis_inventory::Netns;
use portcullis_policy::address::{AddressBinding, MacAddress};
use portcullis_policy::container::{
    Attachment, AttachmentPlace, Container, HostInterface, Network, Networking,
};
use portcullis_policy::model::Workload;

use super::answer::{DockerNetwork, Inspected, Listed, Member};
use super::ids;
use crate::resolve::{HostSpaces, InsideLink, resolve};
use crate::source::Kind;
use crate::text;

/// Docker takes names of any length; a file name has at most this.
const NAME_CHARS: usize = 253;
const IMAGE_CHARS: usize = 512;
/// A container may carry this much of labels; what goes beyond it is left out.
const LABELS: usize = 256;
const LABEL_CHARS: usize = 4096;
const LABELS_CHARS: usize = 64 << 10;

/// What a runtime says of one network of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) network: String,
    pub(super) bridge: Option<HostInterface>,
    pub(super) macs: Vec<MacAddress>,
    pub(super) addresses: Vec<AddressBinding>,
}

impl Claim {
    /// Reads a MAC and addresses, each of them perhaps empty and with or without a length.
    fn new(
        network: &str,
        bridge: Option<HostInterface>,
        mac: &str,
        addresses: [&str; 2],
    ) -> Result<Self, String> {
        let wrong = |what: &dyn std::fmt::Display| {
            format!("what the runtime says of its network {network:?} cannot be used: {what}")
        };
        let mac = Some(mac).filter(|mac| !mac.is_empty());
        let macs = mac.map(str::parse::<MacAddress>).transpose().map_err(|e| wrong(&e))?;
        let mut bound = Vec::new();
        for address in addresses {
            let address = address.split_once('/').map_or(address, |(address, _)| address);
            if !address.is_empty() {
                bound.push(address.parse::<AddressBinding>().map_err(|e| wrong(&e))?);
            }
        }
        bound.retain(|address| !address.is_link_local());
        Ok(Self { network: network.to_owned(), bridge, macs: macs.into_iter().collect(), addresses: bound })
    }

    /// Neither MAC nor address: it is not (yet, or any more) attached there.
    fn is_empty(&self) -> bool {
        self.macs.is_empty() && self.addresses.is_empty()
    }

    fn attachment(self, inside: Option<String>, place: AttachmentPlace) -> Attachment {
        let Self { network, macs, addresses, .. } = self;
        Attachment { network: Some(network), inside, place, addresses, macs }
    }
}

/// What a container's network mode says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mode<'a> {
    Own,
    Host,
    None,
    /// Id or name, or the beginning of an id.
    Of(&'a str),
}

/// Reads a network mode.
pub(super) fn mode(text: &str) -> Mode<'_> {
    match text.split_once(':') {
        _ if text == "host" => Mode::Host,
        _ if text == "none" => Mode::None,
        Some(("container", other)) => Mode::Of(other),
        _ => Mode::Own,
    }
}

/// A container without anything of its network.
pub(super) fn bare(kind: Kind, id: &str, name: &str) -> Container {
    let name = text::clean(name.trim_start_matches('/'), NAME_CHARS);
    let name = if name.is_empty() { id.to_owned() } else { name };
    let workload = Workload {
        runtime: Some(kind.name().to_owned()),
        container: Some(id.to_owned()),
        name: Some(name.clone()),
        ..Workload::default()
    };
    Container {
        id: id.to_owned(),
        name,
        workload,
        netns: None,
        networking: Networking::Own,
        attachments: Vec::new(),
        since: None,
        trouble: None,
    }
}

fn dress(container: &mut Container, image: &str, labels: &BTreeMap<String, String>) {
    container.workload.image = Some(text::clean(image, IMAGE_CHARS)).filter(|image| !image.is_empty());
    let mut room = LABELS_CHARS;
    for (name, value) in labels.iter().take(LABELS) {
        let size = name.len() + value.len();
        if size <= LABEL_CHARS && size <= room {
            room -= size;
            container.workload.labels.insert(name.clone(), value.clone());
        }
    }
}

/// A container that is being started: its interfaces are not in place yet.
pub(super) fn starting(kind: Kind, listed: &Listed) -> Container {
    let name = listed.names.first().map_or("", String::as_str);
    let mut container = bare(kind, &listed.id, name);
    dress(&mut container, &listed.image, &listed.labels);
    container
}

/// The attachment that a container being started will have, if it can be told beforehand.
pub(super) fn expected(
    network: &DockerNetwork,
    bridge: Option<HostInterface>,
    member: &Member,
) -> Option<Attachment> {
    let addresses = [member.ipv4_address.as_str(), member.ipv6_address.as_str()];
    let claim = Claim::new(&network.name, bridge, &member.mac_address, addresses).ok()?;
    let bridge = claim.bridge.clone().filter(|_| claim.macs.len() == 1)?;
    Some(claim.attachment(None, AttachmentPlace::Expected { bridge }))
}

/// What an inspection says without a look into the namespace. `shares` is the id behind a mode that names
/// another container.
pub(super) fn described(kind: Kind, inspected: &Inspected, shares: Option<String>) -> Container {
    let mut container = bare(kind, &inspected.id, &inspected.name);
    dress(&mut container, &inspected.config.image, &inspected.config.labels);
    container.since = started(inspected).map(|_| inspected.state.started_at.clone());
    match mode(&inspected.host_config.network_mode) {
        Mode::Host => container.networking = Networking::Host,
        Mode::None => container.networking = Networking::None,
        Mode::Own => {}
        Mode::Of(other) => match shares {
            Some(with) => container.networking = Networking::Shared { with },
            None => {
                let other = text::clean(other, NAME_CHARS);
                container.trouble = Some(format!("it shares the network of {other:?}, which is not known"));
            }
        },
    }
    container
}

/// When it was started.
pub(super) fn started(inspected: &Inspected) -> Option<jiff::Timestamp> {
    // Go's zero time is the first of January of year 1.
    inspected.state.started_at.parse().ok().filter(|at: &jiff::Timestamp| at.as_second() > 0)
}

/// Fills in the attachments of a container with a network of its own. Blocks.
pub(super) fn attach(
    container: &mut Container,
    inspected: &Inspected,
    networks: &[Network],
    hosts: &HostSpaces,
) {
    let (claims, mut trouble) = claims(inspected, networks);
    if claims.is_empty() && trouble.is_none() {
        container.networking = Networking::None;
    }
    let mut best: Option<(Vec<Attachment>, Option<String>)> = None;
    for path in namespace_paths(inspected) {
        let links = match Netns::open(&path) {
            Ok(netns) if hosts.is_host(netns.id) => {
                container.networking = Networking::Host;
                return;
            }
            Ok(netns) => resolve(&netns, hosts),
            Err(error) => Err(error),
        };
        let outcome = match links {
            Ok(links) => place(claims.clone(), links, &path),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let settled = outcome.1.is_none();
        if settled || best.as_ref().is_none_or(|(found, _)| found.len() < outcome.0.len()) {
            container.netns = Some(path.display().to_string());
            best = Some(outcome);
        }
        if settled {
            break;
        }
    }
    match best {
        Some((attachments, unplaced)) => {
            container.attachments = attachments;
            trouble = trouble.or(unplaced);
        }
        None => {
            trouble = trouble.or_else(|| Some("the runtime does not say where its network is".to_owned()))
        }
    }
    // Nothing is looked for where nothing is claimed.
    container.trouble = trouble.filter(|_| container.networking != Networking::None);
}

/// The ways to its namespace: Docker's file is in the daemon's mount namespace, the process in its pid
/// namespace, and neither need be ours.
fn namespace_paths(inspected: &Inspected) -> Vec<PathBuf> {
    let key = Some(inspected.network_settings.sandbox_key.as_str()).filter(|key| key.starts_with('/'));
    let pid = Some(inspected.state.pid).filter(|&pid| pid != 0);
    let paths = key.map(PathBuf::from).into_iter();
    paths.chain(pid.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")))).collect()
}

fn claims(inspected: &Inspected, networks: &[Network]) -> (Vec<Claim>, Option<String>) {
    let (mut claims, mut trouble) = (Vec::new(), None);
    for (name, joined) in &inspected.network_settings.networks {
        // Podman says the name in place of the id.
        let network = networks.iter().find(|n| n.id == joined.network_id || n.name == joined.network_id);
        let network = network.or_else(|| networks.iter().find(|n| n.name == *name));
        let bridge = network.and_then(|network| network.bridge.clone());
        let name = text::clean(network.map_or(name, |network| &network.name), NAME_CHARS);
        let addresses = [joined.ip_address.as_str(), joined.global_ipv6_address.as_str()];
        match Claim::new(&name, bridge, &joined.mac_address, addresses) {
            Ok(claim) if claim.is_empty() => {}
            Ok(claim) => claims.push(claim),
            Err(error) => trouble = Some(error),
        }
    }
    (claims, trouble)
}

/// Finds the interface of each claim. The text says which were not found.
pub(super) fn place(
    claims: Vec<Claim>,
    mut links: Vec<InsideLink>,
    path: &Path,
) -> (Vec<Attachment>, Option<String>) {
    let (mut found, mut trouble) = (Vec::new(), None);
    // The bridge first, since a workload with CAP_NET_ADMIN can give one of its interfaces the MAC and the
    // addresses of another, but cannot move the host side to another bridge.
    let bridged: Vec<HostInterface> = claims.iter().filter_map(|claim| claim.bridge.clone()).collect();
    for claim in claims {
        match choose(&claim, &links, &bridged) {
            Some(chosen) => {
                let link = links.swap_remove(chosen);
                match link.place(path) {
                    Some(at) => found.push(claim.attachment(Some(link.name), at)),
                    None => {
                        trouble = Some(format!("the host side of its interface {} was not found", link.name))
                    }
                }
            }
            None => trouble = Some(format!("it has no interface in its network {:?}", claim.network)),
        }
    }
    (found, trouble)
}

fn choose(claim: &Claim, links: &[InsideLink], bridged: &[HostInterface]) -> Option<usize> {
    let on = |link: &InsideLink, bridge: &HostInterface| {
        let host = link.host.as_ref();
        host.is_some_and(|h| h.interface.netns == bridge.netns && h.master == Some(bridge.index))
    };
    let possible: Vec<usize> = match &claim.bridge {
        Some(bridge) => (0..links.len()).filter(|&i| on(&links[i], bridge)).collect(),
        None => (0..links.len()).filter(|&i| !bridged.iter().any(|bridge| on(&links[i], bridge))).collect(),
    };
    let is_claims_mac = |mac: Mac| claim.macs.iter().any(|claimed| claimed.mac() == mac);
    let by_mac = possible.iter().find(|&&i| links[i].mac.is_some_and(is_claims_mac));
    let has_address = |link: &InsideLink| {
        link.addresses
            .iter()
            .any(|address| claim.addresses.iter().any(|claimed| claimed.contains(address.ip)))
    };
    let by_address = || possible.iter().find(|&&i| has_address(&links[i]));
    let only = || possible.first().filter(|_| claim.bridge.is_some() && possible.len() == 1);
    by_mac.or_else(by_address).or_else(only).copied()
}

/// The id of a container that is named in a network mode, if it needs no question.
pub(super) fn whole_id(other: &str) -> Option<String> {
    ids::is_whole(other).then(|| other.to_owned())
}

#[cfg(test)]
mod tests;
