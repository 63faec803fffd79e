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
    Ok(views)
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
