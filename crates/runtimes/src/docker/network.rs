//! Networks and their bridges.

use portcullis_policy::container::{HostInterface, Network};
use serde_json::Value;

use super::answer::{DockerNetwork, PodmanNetwork};
use super::http::{Client, Result};
use crate::resolve::HostSpaces;
use crate::source::Kind;
use crate::text;

/// Names of networks are free text in Podman's files.
const NAME_CHARS: usize = 128;
/// The option by which a user names the bridge of a network.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// Docker names the others by this many digits of the network's id.
const ID_DIGITS: usize = 12;

/// A network and the name that its bridge has when it exists (Podman's come and go with their containers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) driver: String,
    pub(super) bridge: Option<String>,
}

/// Networks with their bridges as they are now. Blocks.
pub(super) fn look(known: &[Known], hosts: &HostSpaces) -> Result<Vec<Network>> {
    let names = known.iter().map(|network| network.bridge.as_deref().unwrap_or_default());
    let bridges = hosts.interfaces(names)?;
    let network = |(known, bridge): (&Known, Option<HostInterface>)| Network {
        id: known.id.clone(),
        name: known.name.clone(),
        driver: known.driver.clone(),
        bridge,
    };
    Ok(known.iter().zip(bridges).map(network).collect())
}

impl From<&DockerNetwork> for Known {
    fn from(network: &DockerNetwork) -> Self {
        let derived = || Some(format!("br-{}", network.id.get(..ID_DIGITS)?));
        let bridge = match network.driver.as_str() {
            "bridge" => network.options.get(BRIDGE_NAME).cloned().or_else(derived),
            _ => None,
        };
        Self {
            id: text::clean(&network.id, NAME_CHARS),
            name: text::clean(&network.name, NAME_CHARS),
            driver: text::clean(&network.driver, NAME_CHARS),
            bridge,
        }
    }
}

impl From<&PodmanNetwork> for Known {
    fn from(network: &PodmanNetwork) -> Self {
        let named = !network.network_interface.is_empty() && network.driver == "bridge";
        Self {
            id: text::clean(&network.id, NAME_CHARS),
            name: text::clean(&network.name, NAME_CHARS),
            driver: text::clean(&network.driver, NAME_CHARS),
            bridge: named.then(|| network.network_interface.clone()),
        }
    }
}

/// All networks. One that cannot be read is left out.
pub(super) async fn list(client: &Client, kind: Kind) -> Result<Vec<Known>> {
    const WHAT: &str = "the list of networks";
    // Podman's service refuses its own paths without a version; it accepts any up to its own.
    let path = if kind == Kind::Podman { "/v4.0.0/libpod/networks/json" } else { "/networks" };
    let entries: Option<Vec<Value>> = client.get(WHAT, path).await?;
    let read = |entry: Value| {
        if kind == Kind::Podman {
            serde_json::from_value::<PodmanNetwork>(entry).ok().map(|network| Known::from(&network))
        } else {
            serde_json::from_value::<DockerNetwork>(entry).ok().map(|network| Known::from(&network))
        }
    };
    let mut networks: Vec<Known> = entries.unwrap_or_default().into_iter().filter_map(read).collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
    Ok(networks)
}
