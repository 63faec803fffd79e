//! R5's question: do address, container and interface belong together?

use std::net::IpAddr;

use portcullis_policy::api::{MapRow, OfNode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::compact::{ContainerId, Uid};
use super::row::{NodeMap, Row};
use super::store::Store;
use super::view;

/// What somebody claims to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub address: Option<IpAddr>,
    /// The container (or sandbox), by its id or the beginning of it; or the pod's UID.
    pub container: Option<String>,
    /// The host side of its interface.
    pub interface: Option<String>,
    /// The node.
    pub node: Option<String>,
}

/// What the map says of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// All of it belongs together.
    Agrees,
    /// Some of it is another's.
    Differs,
    /// Nothing of it is in the map.
    Unknown,
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Agreement {
    /// What the map says.
    pub finding: Finding,
    /// One sentence that says so.
    pub message: String,
    /// Rows that have any of it.
    pub rows: Vec<OfNode<MapRow>>,
}

impl Store {
    /// What the map says of a claim: its parts must be of one and the same row.
    #[must_use]
    pub fn agreement(&self, claim: &Claim) -> Agreement {
        let found: Vec<(&NodeMap, &Row)> = self.any_of(claim);
        let whole: Vec<_> = found.iter().filter(|(map, row)| claim.fits(map, row)).collect();
        let names = |rows: &[&(&NodeMap, &Row)]| -> String {
            let name = |(map, row): &&(&NodeMap, &Row)| format!("{} on {}", row.title(), map.node);
            let mut names: Vec<String> = rows.iter().map(name).collect();
            names.dedup();
            names.truncate(5);
            names.join(", ")
        };
        let (finding, message) = if !whole.is_empty() {
            (Finding::Agrees, format!("all of this is {}", names(&whole)))
        } else if found.is_empty() {
            (Finding::Unknown, "nothing of this is in the map of any node".to_owned())
        } else {
            let all: Vec<_> = found.iter().collect();
            (Finding::Differs, format!("this does not belong together: parts of it are of {}", names(&all)))
        };
        let rows = found.iter().map(|(map, row)| view::row(self, map, row)).collect();
        Agreement { finding, message, rows }
    }

    fn any_of<'a>(&'a self, claim: &'a Claim) -> Vec<(&'a NodeMap, &'a Row)> {
        if let Some(address) = claim.address {
            let of_address: Vec<_> = self.of_address(address).collect();
            let container = claim.container.as_deref();
            let others = container.into_iter().flat_map(|container| self.of_container(container));
            let others: Vec<_> = others
                .filter(|(_, row)| !of_address.iter().any(|(_, known)| std::ptr::eq(*known, *row)))
                .collect();
            return of_address.into_iter().chain(others).collect();
        }
        match (&claim.container, &claim.interface) {
            (Some(container), _) => self.of_container(container).collect(),
            // Names of interfaces mean something on their node only.
            (None, Some(interface)) => {
                let map = claim.node.as_deref().and_then(|node| self.get(node)?.map.as_ref());
                let rows = map.into_iter().flat_map(|map| map.rows.iter().map(move |row| (map, row)));
                rows.filter(|(_, row)| row.interface.as_deref() == Some(interface)).collect()
            }
            (None, None) => Vec::new(),
        }
    }

    /// By the pod's UID with an index; by an id of a container by looking at all.
    fn of_container<'a>(&'a self, container: &'a str) -> impl Iterator<Item = (&'a NodeMap, &'a Row)> {
        let by_uid: Vec<_> = self.of_pod(container).collect();
        let all = by_uid.is_empty().then(|| self.maps()).into_iter().flatten();
        let rows = all.flat_map(|map| map.rows.iter().map(move |row| (map, row)));
        by_uid.into_iter().chain(rows.filter(move |(_, row)| is_container(row, container)))
    }
}

fn is_container(row: &Row, container: &str) -> bool {
    // Twelve digits are what people copy from `crictl ps`.
    let begins = |id: &ContainerId| container.len() >= 12 && id.to_string().starts_with(container);
    row.uid == Some(Uid::new(container))
        || row.container.as_ref().is_some_and(|id| *id == ContainerId::new(container) || begins(id))
}

impl Claim {
    fn fits(&self, map: &NodeMap, row: &Row) -> bool {
        self.address.is_none_or(|address| row.addresses.iter().any(|bound| bound.contains(address)))
            && self.container.as_deref().is_none_or(|container| is_container(row, container))
            && self.interface.as_deref().is_none_or(|name| row.interface.as_deref() == Some(name))
            && self.node.as_deref().is_none_or(|node| &*map.node == node)
    }
}
