//! Everything that [`classify`](crate::classify) looks at, read once.

use std::collections::{BTreeMap, BTreeSet};

use crate::coverage::NamespaceView;
use crate::error::Result;
use crate::netns::{Netns, NetnsId, discover};
use crate::route::RouteSocket;

/// Looks into every namespace there is, the caller's own first. Namespaces that vanish meanwhile,
/// or cannot be entered, are left out.
///
/// Looks at every process and every interface: for a status page or a change, not for a loop.
pub fn survey() -> Result<Vec<NamespaceView>> {
    let all = discover()?;
    let mut views = Vec::with_capacity(all.len());
    for (position, netns) in all.iter().enumerate() {
        let view = match view(netns, &all, position == 0) {
            Err(e) if position == 0 => return Err(e),
            other => other,
        };
        match view {
            Ok(view) => views.push(view),
            Err(e) => tracing::debug!(netns = netns.label(), error = %e, "namespace left out"),
        }
    }
    Ok(in_reach(views, initial_namespace()))
}

/// The namespace of process 1: the machine's own, unless the agent sees other processes' numbers.
fn initial_namespace() -> Option<NetnsId> {
    let meta = std::fs::metadata("/proc/1/ns/net").ok()?;
    u32::try_from(std::os::unix::fs::MetadataExt::ino(&meta)).ok().map(NetnsId)
}

/// An agent in the machine's own namespace answers for all of them. One in another namespace
/// answers for what is connected with it, and the machine's uplinks are nobody's workload.
fn in_reach(views: Vec<NamespaceView>, initial: Option<NetnsId>) -> Vec<NamespaceView> {
    let Some(agent) = views.first().map(|view| view.id) else { return views };
    if Some(agent) == initial {
        return views;
    }
    let mut reached = BTreeSet::from([agent]);
    loop {
        let more: Vec<NetnsId> = views
            .iter()
            .flat_map(|view| {
                let neighbours = view.nsids.values().copied();
                let forward = neighbours.clone().filter(|_| reached.contains(&view.id));
                let backward = neighbours.clone().any(|id| reached.contains(&id)).then_some(view.id);
                forward.chain(backward).collect::<Vec<_>>()
            })
            .filter(|id| Some(*id) != initial && !reached.contains(id))
            .collect();
        if more.is_empty() {
            break;
        }
        reached.extend(more);
    }
    views.into_iter().filter(|view| reached.contains(&view.id)).collect()
}

fn view(netns: &Netns, all: &[Netns], is_agent: bool) -> Result<NamespaceView> {
    let mut socket = RouteSocket::open(netns)?;
    let links = socket.links()?;
    let mut wanted: BTreeSet<i32> = links.iter().filter_map(|link| link.peer?.netnsid).collect();
    let mut nsids: BTreeMap<i32, NetnsId> = BTreeMap::new();
    // A container's only neighbour is the agent's namespace as a rule, and that is the first.
    for candidate in all {
        if wanted.is_empty() {
            break;
        }
        if let Some(nsid) = socket.nsid(candidate)?.filter(|nsid| wanted.remove(nsid)) {
            nsids.insert(nsid, candidate.id);
        }
    }
    Ok(NamespaceView { id: netns.id, path: netns.path.clone(), is_agent, links, nsids })
}
