//! All nodes, and where to find what.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_kubernetes::crd::Offender;
use portcullis_policy::api::{MapRow, OfNode};

use super::compact::Uid;
use super::places::{NodeId, Places};
use super::pool::Pool;
use super::row::{Address, NodeMap, Row};
use super::view;

/// A node.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// What it says; none: no agent ever said anything.
    pub map: Option<NodeMap>,
    /// Whether there is a Node object of that name.
    pub exists: bool,
    id: NodeId,
}

/// The map of the whole cluster.
#[derive(Debug, Default)]
pub struct Store {
    nodes: BTreeMap<Arc<str>, NodeEntry>,
    names: Vec<Option<Arc<str>>>,
    vacant: Vec<NodeId>,
    by_uid: HashMap<Uid, Places>,
    by_address: HashMap<IpAddr, Places>,
    shared: BTreeSet<IpAddr>,
    common: Vec<Address>,
    pool: Pool,
}

impl Store {
    /// A node says this.
    pub fn put(&mut self, mut map: NodeMap) {
        map.adopt(&mut self.pool);
        let id = self.node(&map.node);
        let before = self.nodes.get_mut(&map.node).and_then(|entry| entry.map.take());
        if let Some(before) = before {
            self.unlist(id, &before.rows);
        }
        self.list(id, &map.rows);
        if let Some(entry) = self.nodes.get_mut(&map.node) {
            entry.map = Some(map);
        }
    }

    /// A node's map is gone.
    pub fn forget(&mut self, node: &str) {
        let Some(entry) = self.nodes.get_mut(node) else { return };
        let id = entry.id;
        if let Some(before) = entry.map.take() {
            self.unlist(id, &before.rows);
        }
        self.drop_if_empty(node);
    }

    /// These are all maps that there are.
    pub fn replace(&mut self, maps: Vec<NodeMap>) {
        let present: BTreeSet<Arc<str>> = maps.iter().map(|map| Arc::clone(&map.node)).collect();
        let gone: Vec<Arc<str>> =
            self.nodes.keys().filter(|node| !present.contains(*node)).map(Arc::clone).collect();
        gone.iter().for_each(|node| self.forget(node));
        maps.into_iter().for_each(|map| self.put(map));
    }

    /// Whether there is a Node object of this name.
    pub fn node_exists(&mut self, node: &str, exists: bool) {
        if exists {
            self.node(&node.into());
        }
        if let Some(entry) = self.nodes.get_mut(node) {
            entry.exists = exists;
        }
        self.drop_if_empty(node);
    }

    /// These are all Node objects that there are.
    pub fn replace_nodes(&mut self, present: &BTreeSet<String>) {
        let known: Vec<Arc<str>> = self.nodes.keys().map(Arc::clone).collect();
        for node in known.iter().filter(|node| !present.contains(&***node)) {
            self.node_exists(node, false);
        }
        present.iter().for_each(|node| self.node_exists(node, true));
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&Arc<str>, &NodeEntry)> {
        self.nodes.iter()
    }

    /// A node.
    #[must_use]
    pub fn get(&self, node: &str) -> Option<&NodeEntry> {
        self.nodes.get(node)
    }

    /// Everything that nodes say.
    pub fn maps(&self) -> impl Iterator<Item = &NodeMap> + Clone {
        self.nodes.values().filter_map(|entry| entry.map.as_ref())
    }

    /// Rows of a node.
    pub fn rows(&self, node: &str) -> impl Iterator<Item = &Row> {
        let map = self.nodes.get(node).and_then(|entry| entry.map.as_ref());
        map.into_iter().flat_map(|map| map.rows.iter())
    }

    /// Rows of a node that are wanted, as the API has them.
    pub fn rows_of(&self, node: &str, wanted: impl Fn(&Row) -> bool) -> impl Iterator<Item = OfNode<MapRow>> {
        let map = self.nodes.get(node).and_then(|entry| entry.map.as_ref());
        let rows = map.into_iter().flat_map(|map| map.rows.iter().map(move |row| (map, row)));
        rows.filter(move |(_, row)| wanted(row)).map(|(map, row)| view::row(self, map, row))
    }

    /// All pods over their threshold, with the node that says so.
    pub fn offenders(&self) -> impl Iterator<Item = (&Arc<str>, &Offender)> {
        self.maps().flat_map(|map| map.offenders.iter().map(|offender| (&map.node, offender)))
    }

    /// Rows of a pod, with their node.
    pub fn of_pod(&self, uid: &str) -> impl Iterator<Item = (&NodeMap, &Row)> {
        let uid = Uid::new(uid);
        let maps = self.by_uid.get(&uid).into_iter().flat_map(Places::nodes).filter_map(|id| self.by_id(id));
        maps.flat_map(|map| map.rows.iter().map(move |row| (map, row)))
            .filter(move |(_, row)| row.uid.as_ref() == Some(&uid))
    }

    /// Rows that have this address for themselves, with their node.
    pub fn of_address(&self, address: IpAddr) -> impl Iterator<Item = (&NodeMap, &Row)> {
        let places = self.by_address.get(&address).into_iter();
        let maps = places.flat_map(Places::nodes).filter_map(|id| self.by_id(id));
        maps.flat_map(|map| map.rows.iter().map(move |row| (map, row)))
            .filter(move |(_, row)| row.own_addresses().any(|own| own == address))
    }

    /// Addresses that policies give to several pods, which is no contradiction.
    pub fn set_common(&mut self, addresses: Vec<Address>) {
        self.common = addresses;
    }

    /// Addresses that pods of several nodes have for themselves, though nobody gave it to them together.
    pub fn shared(&self) -> impl Iterator<Item = IpAddr> {
        self.shared.iter().copied().filter(|address| !self.is_common(*address))
    }

    /// Whether it is one of these.
    #[must_use]
    pub fn is_shared(&self, address: IpAddr) -> bool {
        self.shared.contains(&address) && !self.is_common(address)
    }

    fn is_common(&self, address: IpAddr) -> bool {
        self.common.iter().any(|common| common.contains(address))
    }

    fn by_id(&self, id: NodeId) -> Option<&NodeMap> {
        let name = self.names.get(usize::try_from(id).ok()?)?.as_ref()?;
        self.nodes.get(name)?.map.as_ref()
    }

    fn node(&mut self, name: &Arc<str>) -> NodeId {
        if let Some(entry) = self.nodes.get(name) {
            return entry.id;
        }
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.names.push(None);
            NodeId::try_from(self.names.len() - 1).unwrap_or(NodeId::MAX)
        });
        if let Some(place) = usize::try_from(id).ok().and_then(|at| self.names.get_mut(at)) {
            *place = Some(Arc::clone(name));
        }
        self.nodes.insert(Arc::clone(name), NodeEntry { map: None, exists: false, id });
        id
    }

    fn drop_if_empty(&mut self, node: &str) {
        let empty = self.nodes.get(node).filter(|entry| entry.map.is_none() && !entry.exists);
        let Some(id) = empty.map(|entry| entry.id) else { return };
        self.nodes.remove(node);
        if let Some(place) = usize::try_from(id).ok().and_then(|at| self.names.get_mut(at)) {
            *place = None;
            self.vacant.push(id);
        }
    }

    fn list(&mut self, id: NodeId, rows: &[Row]) {
        for row in rows {
            if let Some(uid) = &row.uid {
                let places = self.by_uid.entry(uid.clone());
                places.and_modify(|places| places.add(id)).or_insert_with(|| Places::new(id));
            }
            for address in row.own_addresses() {
                let places = self.by_address.entry(address);
                let places = places.and_modify(|places| places.add(id)).or_insert_with(|| Places::new(id));
                if places.is_many() {
                    self.shared.insert(address);
                }
            }
        }
    }

    fn unlist(&mut self, id: NodeId, rows: &[Row]) {
        for row in rows {
            if let Some(uid) = &row.uid
                && self.by_uid.get_mut(uid).is_some_and(|places| places.remove(id))
            {
                self.by_uid.remove(uid);
            }
            for address in row.own_addresses() {
                let Some(places) = self.by_address.get_mut(&address) else { continue };
                let nowhere = places.remove(id);
                if !places.is_many() {
                    self.shared.remove(&address);
                }
                if nowhere {
                    self.by_address.remove(&address);
                }
            }
        }
    }
}
