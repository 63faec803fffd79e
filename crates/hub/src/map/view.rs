//! Rows as the API has them.

use portcullis_policy::api::{Interface, MapRow, OfNode};
use portcullis_policy::model::{Owner, Workload};

use super::row::{NodeMap, Row};
use super::store::Store;

/// A row; what is wrong with its addresses across nodes is said with it.
pub fn row(store: &Store, map: &NodeMap, row: &Row) -> OfNode<MapRow> {
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let namespace = row.namespace.as_deref().map(str::to_owned);
    let workload = Workload {
        container: row.container.as_ref().map(ToString::to_string),
        pod: text(&row.pod),
        namespace,
        uid: row.uid.as_ref().map(ToString::to_string),
        ..Workload::default()
    };
    let of = MapRow {
        container: row.pod.is_some().then(|| row.title()),
        workload,
        network: None,
        inside: None,
        interface: text(&row.interface).map(|name| Interface { name, index: None, netns: None }),
        addresses: row.addresses.iter().map(ToString::to_string).collect(),
        macs: row.macs.iter().map(ToString::to_string).collect(),
        endpoint: row.endpoint(),
        state: row.state,
        message: message(store, map, row),
        sources: vec![Owner::Kubernetes],
        since: None,
    };
    OfNode { node: map.node.to_string(), of }
}

fn message(store: &Store, map: &NodeMap, row: &Row) -> Option<String> {
    let mut parts: Vec<String> = row.message.iter().chain(&row.conflicts).map(ToString::to_string).collect();
    for address in row.own_addresses().filter(|address| store.is_shared(*address)) {
        let others = store.of_address(address).filter(|(other, _)| other.node != map.node);
        let others: Vec<String> =
            others.map(|(other, row)| format!("{} on {}", row.title(), other.node)).collect();
        parts.push(format!("its address {address} is also that of {}", others.join(", ")));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
