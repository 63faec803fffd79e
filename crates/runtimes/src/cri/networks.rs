//! The CNI networks that a runtime attaches pods to, as far as it tells (containerd does, CRI-O does not).

use portcullis_policy::container::Network;
use serde_json::Value;

use super::wire::StatusResponse;
use crate::resolve::HostSpaces;

const MOST_NETWORKS: usize = 64;

/// A network by its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CniNetwork {
    /// Its name.
    pub name: String,
    /// Its first plugin: the one that makes the interface.
    pub driver: String,
    /// The bridge of that plugin.
    pub bridge: Option<String>,
    /// What its interface is called inside.
    pub inside: String,
}

/// The networks, without loopback.
pub(super) fn read(status: &StatusResponse) -> Vec<CniNetwork> {
    let config = status.info.get("cniconfig").and_then(|text| serde_json::from_str::<Value>(text).ok());
    let config = config.unwrap_or(Value::Null);
    let networks = config["Networks"].as_array().map_or(&[][..], Vec::as_slice);
    networks.iter().take(MOST_NETWORKS).filter_map(network).filter(|network| network.inside != "lo").collect()
}

fn network(entry: &Value) -> Option<CniNetwork> {
    let plugin = entry.pointer("/Config/Plugins/0")?;
    let driver = plugin.pointer("/Network/type")?.as_str()?.to_owned();
    let source = plugin["Source"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let bridge = source.as_ref().and_then(|source| source["bridge"].as_str()).map(str::to_owned);
    // The plugin's own default.
    let bridge = bridge.or_else(|| (driver == "bridge").then(|| "cni0".to_owned()));
    Some(CniNetwork {
        name: entry.pointer("/Config/Name")?.as_str()?.to_owned(),
        driver,
        bridge,
        inside: entry["IFName"].as_str()?.to_owned(),
    })
}

/// The network of the interface that is called `inside`. Told of the configuration as it is now: a pod
/// that was made under another one has the name of its successor.
pub(super) fn name_of(networks: &[CniNetwork], inside: &str) -> Option<String> {
    networks.iter().find(|network| network.inside == inside).map(|network| network.name.clone())
}

/// As the agent knows networks. Asks the kernel, and blocks.
pub(super) fn describe(networks: &[CniNetwork], hosts: &HostSpaces) -> Vec<Network> {
    let bridge = |network: &CniNetwork| {
        let name = network.bridge.as_deref()?;
        hosts.interfaces([name]).ok()?.pop().flatten()
    };
    networks
        .iter()
        .map(|network| Network {
            id: network.name.clone(),
            name: network.name.clone(),
            driver: network.driver.clone(),
            bridge: bridge(network),
        })
        .collect()
}

#[cfg(test)]
mod tests;
