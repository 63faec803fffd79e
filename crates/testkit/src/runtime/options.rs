//! How a container or a network is to be, and how the Docker API says it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Forgery, IMAGE};

/// A container joins a network.
#[derive(Debug, Clone, Default)]
struct Join {
    network: String,
    addresses: Vec<String>,
}

impl Join {
    fn settings(&self) -> Value {
        let of = |v6: bool| self.addresses.iter().find(|address| address.contains(':') == v6);
        match (of(false), of(true)) {
            (None, None) => json!({}),
            (v4, v6) => json!({"IPAMConfig": {"IPv4Address": v4, "IPv6Address": v6}}),
        }
    }
}

/// How a container is to be. By default it does nothing, in the default network.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    mode: Option<String>,
    joins: Vec<Join>,
    mac: Option<String>,
    command: Vec<String>,
    labels: BTreeMap<String, String>,
    drop_capabilities: Vec<String>,
    add_capabilities: Vec<String>,
    always_restart: bool,
}

impl RunOptions {
    /// Does nothing, in the default network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Joins a user-defined network too; of several, the first is `eth0`. With addresses, it gets these.
    #[must_use]
    pub fn network(mut self, network: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        self.joins.push(Join { network: network.to_owned(), addresses });
        self
    }

    /// Has no network of its own: `host`, `none` or `container:NAME`.
    #[must_use]
    pub fn mode(mut self, mode: &str) -> Self {
        self.mode = Some(mode.to_owned());
        self
    }

    /// MAC of its first interface.
    #[must_use]
    pub fn mac(mut self, mac: &str) -> Self {
        self.mac = Some(mac.to_owned());
        self
    }

    /// What it runs.
    #[must_use]
    pub fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(ToString::to_string).collect();
        self
    }

    /// Forges from its first instruction: each kind in turn, so many in all (0: without end), this far apart.
    #[must_use]
    pub fn forging(self, interface: &str, kinds: &[Forgery], count: u64, interval_us: u64) -> Self {
        self.command(&forging(interface, kinds, count, interval_us).iter().map(|w| &**w).collect::<Vec<_>>())
    }

    /// Has a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Has one more capability.
    #[must_use]
    pub fn capability(mut self, name: &str) -> Self {
        self.add_capabilities.push(name.to_owned());
        self
    }

    /// Lacks a capability that it would have.
    #[must_use]
    pub fn without_capability(mut self, name: &str) -> Self {
        self.drop_capabilities.push(name.to_owned());
        self
    }

    /// The runtime starts it again whenever it ends.
    #[must_use]
    pub const fn always_restart(mut self) -> Self {
        self.always_restart = true;
        self
    }

    /// The body of a request to create it.
    pub(super) fn body(&self, cgroup: &str) -> Value {
        let first = self.joins.first();
        let mode = self.mode.as_deref().or_else(|| first.map(|join| join.network.as_str()));
        let endpoints: BTreeMap<&str, Value> =
            first.map(|join| (join.network.as_str(), join.settings())).into_iter().collect();
        let mut body = json!({
            "Image": IMAGE,
            "Labels": self.labels,
            "HostConfig": {
                "NetworkMode": mode.unwrap_or("bridge"),
                "CgroupParent": format!("/{cgroup}"),
                "CapAdd": self.add_capabilities,
                "CapDrop": self.drop_capabilities,
                "RestartPolicy": {"Name": if self.always_restart { "always" } else { "no" }},
            },
            "NetworkingConfig": {"EndpointsConfig": endpoints},
        });
        if !self.command.is_empty() {
            body["Cmd"] = json!(self.command);
        }
        if let Some(mac) = &self.mac {
            body["MacAddress"] = json!(mac);
        }
        body
    }

    /// The networks that are joined before the start, with the settings there.
    pub(super) fn further_networks(&self) -> impl Iterator<Item = (&str, Value)> {
        self.joins.iter().skip(1).map(|join| (join.network.as_str(), join.settings()))
    }
}

/// The command of a container that forges.
pub(super) fn forging(interface: &str, kinds: &[Forgery], count: u64, interval_us: u64) -> Vec<String> {
    let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
    let (count, interval) = (count.to_string(), interval_us.to_string());
    vec!["/bin/forger".into(), "forge".into(), interface.into(), kinds.join(","), count, interval]
}

/// The settings of a network to be joined later.
pub(super) fn joining(network: &str, addresses: &[&str]) -> Value {
    let addresses = addresses.iter().map(ToString::to_string).collect();
    Join { network: network.to_owned(), addresses }.settings()
}

/// How a network is to be. By default a bridge.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    driver: String,
    subnets: Vec<String>,
    options: BTreeMap<String, String>,
}

impl NetworkOptions {
    /// A bridge with these subnets, of one family or both.
    #[must_use]
    pub fn bridge(subnets: &[&str]) -> Self {
        let subnets = subnets.iter().map(ToString::to_string).collect();
        Self { driver: "bridge".to_owned(), subnets, options: BTreeMap::new() }
    }

    /// A network of this driver (`macvlan`, `ipvlan`) on an interface of the host.
    #[must_use]
    pub fn on(driver: &str, parent: &str, subnets: &[&str]) -> Self {
        let mut network = Self { driver: driver.to_owned(), ..Self::bridge(subnets) };
        network.options.insert("parent".to_owned(), parent.to_owned());
        network
    }

    /// With an option of the driver.
    #[must_use]
    pub fn option(mut self, key: &str, value: &str) -> Self {
        self.options.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The body of a request to create it.
    pub(super) fn body(&self, name: &str) -> Value {
        let pools: Vec<Value> = self.subnets.iter().map(|subnet| json!({"Subnet": subnet})).collect();
        json!({
            "Name": name,
            "CheckDuplicate": true,
            "Driver": self.driver,
            "EnableIPv6": self.subnets.iter().any(|subnet| subnet.contains(':')),
            "IPAM": {"Driver": "default", "Config": pools},
            "Options": self.options,
        })
    }
}
