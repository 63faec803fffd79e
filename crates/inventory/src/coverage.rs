//! Which interfaces a workload could send from, and whether the host can stand in its way.
//!
//! Pure: what to look at is handed in (see [`crate::survey()`]), so every case can be made up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::hostnet::HostNetworkProcess;
use crate::link::{Link, LinkKind};
use crate::netns::NetnsId;

/// More containers on the host's network than this are counted, not named.
const HOST_NETWORK_ROWS: usize = 16;

/// A namespace as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceView {
    /// Which one.
    pub id: NetnsId,
    /// Its path, where one is known.
    pub path: Option<PathBuf>,
    /// Whether the agent lives in it.
    pub is_agent: bool,
    /// Its interfaces.
    pub links: Vec<Link>,
    /// Which namespaces stand behind the numbers that its interfaces refer to.
    pub nsids: BTreeMap<i32, NetnsId>,
}

/// An interface that a workload could send from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The namespace of the interface.
    pub netns: NetnsId,
    /// Its path; none: the agent's own, or no path is known.
    pub netns_path: Option<PathBuf>,
    /// Whether that is the agent's own namespace.
    pub in_agent_netns: bool,
    /// The interface; none: processes on the host's network.
    pub link: Option<Link>,
    /// The workload's side, such as `eth0 in /run/netns/web`.
    pub peer: Option<String>,
    /// How it stands.
    pub protectability: Protectability,
}

/// Whether frames can be verified where the workload has no say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protectability {
    /// This interface is on the host's side: bind it with direction ingress.
    HostSide,
    /// There is no host side: the reason, and what can be done instead.
    NotProtectable(String),
}

/// Every interface that a workload could send from, and how it stands.
#[must_use]
pub fn classify(views: &[NamespaceView], host_network: &[HostNetworkProcess]) -> Vec<Candidate> {
    let world = World::new(views);
    let mut rows: Vec<Candidate> = views
        .iter()
        .flat_map(|view| view.links.iter().filter_map(|link| world.candidate(view, link)))
        .collect();
    if let Some(agent) = views.iter().find(|view| view.is_agent) {
        rows.extend(host_network_rows(agent, host_network));
    }
    rows
}

struct World<'a> {
    views: BTreeMap<NetnsId, &'a NamespaceView>,
}

/// Where the device lies that an interface refers to.
enum Elsewhere<'a> {
    /// In the same namespace.
    Same,
    /// In another that was looked into.
    Known(&'a NamespaceView),
    /// In another that was not found.
    Unknown(i32),
}

impl<'a> World<'a> {
    fn new(views: &'a [NamespaceView]) -> Self {
        Self { views: views.iter().map(|view| (view.id, view)).collect() }
    }

    fn candidate(&self, view: &NamespaceView, link: &Link) -> Option<Candidate> {
        let (peer, protectability) = match &link.kind {
            LinkKind::Veth | LinkKind::Netkit => {
                (Some(self.workload_side(view, link)?), Protectability::HostSide)
            }
            // A virtual machine or a VPN writes into it; one inside a container has its frames
            // leave by the container's own interface, which has a row of its own.
            LinkKind::Tun if view.is_agent => (None, Protectability::HostSide),
            LinkKind::Macvtap if view.is_agent => {
                (None, Protectability::NotProtectable(macvtap_reason(link)))
            }
            LinkKind::Macvlan | LinkKind::Macvtap | LinkKind::Ipvlan | LinkKind::Vlan if !view.is_agent => {
                (None, Protectability::NotProtectable(self.stacked_reason(view, link)?))
            }
            LinkKind::Physical if !view.is_agent => {
                (None, Protectability::NotProtectable(physical_reason(view, link)))
            }
            _ => return None,
        };
        Some(Candidate {
            netns: view.id,
            netns_path: view.path.clone(),
            in_agent_netns: view.is_agent,
            link: Some(link.clone()),
            peer,
            protectability,
        })
    }

    fn elsewhere(&self, view: &NamespaceView, link: &Link) -> Option<Elsewhere<'a>> {
        let Some(nsid) = link.peer?.netnsid else { return Some(Elsewhere::Same) };
        Some(match view.nsids.get(&nsid) {
            Some(id) if *id == view.id => Elsewhere::Same,
            Some(id) => self.views.get(id).map_or(Elsewhere::Unknown(nsid), |&view| Elsewhere::Known(view)),
            None => Elsewhere::Unknown(nsid),
        })
    }

    /// The workload's side of a pair, if this end is the host's.
    fn workload_side(&self, view: &NamespaceView, link: &Link) -> Option<String> {
        let index = link.peer?.ifindex;
        let secondary = link.kind == LinkKind::Netkit && link.netkit_primary == Some(false);
        match self.elsewhere(view, link)? {
            // Both ends in one namespace: a cable of the host's own, or of the workload's own.
            Elsewhere::Same => None,
            _ if secondary => None,
            Elsewhere::Unknown(nsid) => (view.is_agent || hosts_others(view, link))
                .then(|| format!("interface {index} in a namespace without a path (nsid {nsid})")),
            Elsewhere::Known(other) => {
                let inside = other.links.iter().find(|l| l.index == index);
                let primary = link.kind == LinkKind::Netkit;
                let host =
                    primary || view.is_agent || (!other.is_agent && is_host_end(view, link, other, inside));
                let name = inside.map_or_else(|| format!("interface {index}"), |l| l.name.clone());
                host.then(|| format!("{name} in {}", place(other)))
            }
        }
    }

    /// Why a device stacked on another has no host side; none: the other one is in the same
    /// namespace, so that its frames leave by an interface that has a row of its own.
    fn stacked_reason(&self, view: &NamespaceView, link: &Link) -> Option<String> {
        let kind = &link.kind;
        let lower = match self.elsewhere(view, link) {
            Some(Elsewhere::Same) => return None,
            Some(Elsewhere::Known(other)) => {
                let index = link.peer.map(|peer| peer.ifindex);
                let below = other.links.iter().find(|l| Some(l.index) == index);
                let name = below.map_or("a device", |l| l.name.as_str());
                if other.is_agent {
                    format!("{name} in the agent's namespace")
                } else {
                    format!("{name} in {}", place(other))
                }
            }
            Some(Elsewhere::Unknown(_)) | None => "a device in another namespace".to_owned(),
        };
        Some(format!("{kind} of {lower}: no host-side interface; {}", bind_inside(view)))
    }
}

/// Of a pair between two namespaces that are not the agent's: whether this end is the host's.
///
/// An end that is a port of a bridge is; else the one in the namespace that has more such pairs.
/// If nothing tells them apart, both are: each meets the other's frames.
fn is_host_end(view: &NamespaceView, link: &Link, other: &NamespaceView, inside: Option<&Link>) -> bool {
    let enslaved = (link.master.is_some(), inside.is_some_and(|l| l.master.is_some()));
    match enslaved {
        (true, false) => true,
        (false, true) => false,
        _ => outward_pairs(view) >= outward_pairs(other),
    }
}

/// Whether an end with an unknown other end looks like the host's.
fn hosts_others(view: &NamespaceView, link: &Link) -> bool {
    link.master.is_some() || outward_pairs(view) > 1
}

/// How many pairs lead out of a namespace.
fn outward_pairs(view: &NamespaceView) -> usize {
    view.links.iter().filter(|l| l.kind.is_pair() && l.peer.is_some_and(|p| p.netnsid.is_some())).count()
}

/// How a namespace is named in a sentence.
fn place(view: &NamespaceView) -> String {
    match &view.path {
        _ if view.is_agent => "the agent's namespace".to_owned(),
        Some(path) => path.display().to_string(),
        None => view.id.to_string(),
    }
}

fn bind_inside(view: &NamespaceView) -> String {
    let path = view.path.as_ref().map_or("PATH".to_owned(), |path| path.display().to_string());
    format!("bind it from inside with --netns {path} --direction egress")
}

fn macvtap_reason(link: &Link) -> String {
    format!(
        "macvtap: what writes to its character device bypasses ingress; bind it with --interface {} --direction egress",
        link.name
    )
}

fn physical_reason(view: &NamespaceView, link: &Link) -> String {
    let what = if link.is_sriov_vf() { "SR-IOV virtual function" } else { "physical device" };
    format!("{what} moved into the workload's namespace: no host-side interface; {}", bind_inside(view))
}

fn host_network_rows(agent: &NamespaceView, processes: &[HostNetworkProcess]) -> Vec<Candidate> {
    let row = |reason: String| Candidate {
        netns: agent.id,
        netns_path: agent.path.clone(),
        in_agent_netns: true,
        link: None,
        peer: None,
        protectability: Protectability::NotProtectable(reason),
    };
    let (named, rest) = processes.split_at(processes.len().min(HOST_NETWORK_ROWS));
    let mut rows: Vec<Candidate> = named
        .iter()
        .map(|p| {
            row(format!("host network: a container ({}, pid {}) sends as the host itself", p.command, p.pid))
        })
        .collect();
    if !rest.is_empty() {
        rows.push(row(format!("host network: {} more containers send as the host itself", rest.len())));
    }
    rows
}
