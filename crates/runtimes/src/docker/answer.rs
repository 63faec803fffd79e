//! The few fields that are read of the runtime's answers.
//!
//! What decides about bindings must have the right shape; where a mere description (a label, an image) has
//! another, only that is missing. Go writes an empty map or list as `null`, which is nothing either.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Podman's word for a container that was told to stop, and may take its grace period to do so.
const STOPPING: &str = "stopping";

/// `null` is nothing.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Whatever has another shape is nothing.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).unwrap_or_default())
}

/// One container in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    pub(super) id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) names: Vec<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) image: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) state: String,
    #[serde(default)]
    network_settings: Value,
}

impl Listed {
    /// Whether it runs: then it can be inspected without waiting for its start. What is being stopped runs until
    /// it has ended.
    pub(super) fn runs(&self) -> bool {
        matches!(self.state.as_str(), "running" | "paused" | "restarting" | STOPPING)
    }

    /// Differs when something that is bound or shown differs.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.names, &self.state, self.network_settings.to_string()).hash(&mut hasher);
        hasher.finish()
    }
}

/// A list in which an entry that cannot be read is left out.
#[derive(Debug)]
pub(super) struct Listing(pub(super) Vec<Listed>);

impl<'de> Deserialize<'de> for Listing {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let entries: Vec<Value> = or_none(from)?;
        let readable = entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok());
        Ok(Self(readable.collect()))
    }
}

/// A container, inspected.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    pub(super) id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) config: Config,
    pub(super) state: State,
    #[serde(default, deserialize_with = "or_none")]
    pub(super) host_config: HostConfig,
    #[serde(default, deserialize_with = "or_none")]
    pub(super) network_settings: NetworkSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Config {
    #[serde(deserialize_with = "lenient")]
    pub(super) image: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct State {
    running: bool,
    #[serde(default, deserialize_with = "or_none")]
    paused: bool,
    #[serde(default, deserialize_with = "lenient")]
    status: String,
    #[serde(default, deserialize_with = "or_none")]
    pub(super) pid: u32,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) started_at: String,
}

impl State {
    /// Whether it has processes: Podman does not call running what is being stopped.
    pub(super) fn is_up(&self) -> bool {
        self.running || self.paused || self.status == STOPPING
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct HostConfig {
    #[serde(deserialize_with = "or_none")]
    pub(super) network_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NetworkSettings {
    #[serde(deserialize_with = "or_none")]
    pub(super) sandbox_key: String,
    #[serde(deserialize_with = "or_none")]
    pub(super) networks: BTreeMap<String, Joined>,
}

/// A container's side of a network.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Joined {
    #[serde(rename = "NetworkID", deserialize_with = "or_none")]
    pub(super) network_id: String,
    #[serde(rename = "IPAddress", deserialize_with = "or_none")]
    pub(super) ip_address: String,
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "or_none")]
    pub(super) global_ipv6_address: String,
    #[serde(deserialize_with = "or_none")]
    pub(super) mac_address: String,
}

/// A network; `containers` only where one is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerNetwork {
    pub(super) id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) driver: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) options: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_none")]
    pub(super) containers: BTreeMap<String, Member>,
}

/// A network's side of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Member {
    #[serde(deserialize_with = "or_none")]
    pub(super) mac_address: String,
    /// With the length of the network, unlike elsewhere.
    #[serde(rename = "IPv4Address", deserialize_with = "or_none")]
    pub(super) ipv4_address: String,
    #[serde(rename = "IPv6Address", deserialize_with = "or_none")]
    pub(super) ipv6_address: String,
}

/// A network as Podman's own API has it, which tells the bridge.
#[derive(Debug, Deserialize)]
pub(super) struct PodmanNetwork {
    pub(super) id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) driver: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) network_interface: String,
}
