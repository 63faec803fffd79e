//! Where a container's interface is: on the host, and inside.

use std::net::IpAddr;

use portcullis_datapath::shield::Shield;
use portcullis_inventory::{Netns, all_addresses, discover, learn, link_by_index};
use portcullis_policy::model::{Direction, Workload};

use super::handle::Agent;
use super::{Core, Entry};
use crate::config::Config;
use crate::control::Fault;
use crate::store::Store;

/// The interface of a container.
#[derive(Clone, Debug)]
pub struct Doorstep {
    /// The namespace of the side that the endpoint is bound on.
    pub netns: Netns,
    /// Its index there.
    pub ifindex: u32,
    /// It is the workload's own interface: the endpoint is bound from inside.
    pub is_inside: bool,
}

impl Doorstep {
    /// What tells one door from another: inode of the namespace, and index.
    #[must_use]
    pub const fn door(&self) -> (u32, u32) {
        (self.netns.id.0, self.ifindex)
    }

    /// The workload's own interface: its namespace, and the index there.
    #[must_use]
    pub fn inside(&self) -> Option<(Netns, u32)> {
        if self.is_inside {
            return Some((self.netns.clone(), self.ifindex));
        }
        let link = link_by_index(&self.netns, self.ifindex).ok()??;
        let learned = learn(&self.netns, &link, Direction::Ingress).ok()?;
        let (id, _) = learned.workload_netns?;
        let netns = discover().ok()?.into_iter().find(|netns| netns.id == id)?;
        Some((netns, learned.workload_ifindex?))
    }
}

impl Core {
    /// The door of an endpoint, by its name or id, or by the name or id of its container, or its pod's.
    fn doorstep(&self, name: &str) -> Result<Doorstep, Fault> {
        let entry = match self.resolve(name) {
            Ok(endpoint) => self.entries.get(&endpoint),
            Err(_) => self.entry_of_workload(name)?,
        };
        let entry = entry.ok_or_else(|| none(name))?;
        let bound = entry.bound.as_ref().ok_or_else(|| {
            Fault::NotFound(format!("the interface of {name} does not exist yet, or is not bound"))
        })?;
        Ok(Doorstep {
            netns: bound.space.netns.clone(),
            ifindex: bound.anchor.ifindex,
            is_inside: entry.record.spec.direction == Direction::Egress,
        })
    }

    fn entry_of_workload(&self, name: &str) -> Result<Option<&Entry>, Fault> {
        let mut all = self.entries.values().filter(|entry| is_named(&entry.record.spec.workload, name));
        let first = all.next();
        if all.next().is_some() {
            return Err(Fault::Conflict(format!(
                "{name} has several interfaces: name the endpoint instead (`portcullis endpoint list`)"
            )));
        }
        Ok(first)
    }
}

fn is_named(workload: &Workload, name: &str) -> bool {
    const SHORT_ID: usize = 12;
    let is = |text: &Option<String>| text.as_deref() == Some(name);
    let is_id =
        name.len() >= SHORT_ID && workload.container.as_deref().is_some_and(|id| id.starts_with(name));
    let pod = match (&workload.namespace, &workload.pod) {
        (Some(namespace), Some(pod)) => name.split_once('/') == Some((namespace, pod)),
        _ => false,
    };
    is(&workload.name) || is_id || pod
}

fn none(name: &str) -> Fault {
    Fault::NotFound(format!("there is no container, pod or endpoint {name:?}: `portcullis map` shows all"))
}

impl Agent {
    /// Where a container's interface is.
    pub fn doorstep(&self, name: &str) -> Result<Doorstep, Fault> {
        self.core().doorstep(name)
    }

    /// Addresses of this host's interfaces.
    #[must_use]
    pub fn own_addresses(&self) -> Vec<IpAddr> {
        let own = self.core().spaces.own().netns.clone();
        all_addresses(&own).unwrap_or_default().into_iter().map(|address| address.ip).collect()
    }

    /// Addresses of its workloads, as far as they are bound.
    #[must_use]
    pub fn backends(&self) -> Vec<IpAddr> {
        let core = self.core();
        let addresses = core.entries.values().flat_map(|entry| entry.record.spec.addresses.iter());
        addresses.filter(|address| address.is_host()).map(|address| address.ip()).collect()
    }

    /// The shield's kernel side, made or taken up.
    pub fn open_shield(&self) -> Result<Shield, portcullis_datapath::Error> {
        let core = self.core();
        Shield::beside(&core.config.bpffs, &core.datapath)
    }

    /// The state file.
    #[must_use]
    pub fn store(&self) -> std::sync::Arc<Store> {
        std::sync::Arc::clone(&self.core().store)
    }

    /// The configuration that it runs with.
    #[must_use]
    pub fn config(&self) -> Config {
        self.core().config.clone()
    }
}
