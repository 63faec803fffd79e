//! What a runtime tells of a sandbox: read leniently, wrong only where it is wrong.
//!
//! The interface defines little (`status`). What it leaves out stands in JSON of the runtime's own: that of
//! containerd has `cniResult`, in the words of its CNI library; that of CRI-O has the plugins' result as
//! an annotation. Both have the sandbox's process and its OCI specification.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use portcullis_policy::address::{AddressBinding, MacAddress};
use serde_json::Value;

use super::wire::{NODE, PodSandboxStatus, PodSandboxStatusResponse};

/// An interface may have this many addresses, a sandbox this many interfaces, a pod this many labels.
pub(super) const MOST_ADDRESSES: usize = 64;
const MOST_INTERFACES: usize = 32;
const MOST_LABELS: usize = 128;
/// Kubernetes allows a label's key 317 bytes, and less for its value and for names.
const LONGEST_TEXT: usize = 320;
/// CRI-O's annotation with the result of the CNI plugins.
const CRIO_RESULT: &str = "/runtimeSpec/annotations/io.kubernetes.cri-o.CNIResult";
/// What runtimes call a pod's interface in its first network.
pub(super) const FIRST: &str = "eth0";

/// What a runtime tells of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Its namespace is the host's.
    pub host_network: bool,
    /// Where its namespace may be found, best first.
    pub netns: Vec<PathBuf>,
    /// Its interfaces; the one in its first network comes first.
    pub interfaces: Vec<Told>,
    /// Nanoseconds since 1970; zero: not told.
    pub created_at: i64,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
}

/// What a runtime tells of an interface inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<AddressBinding>,
    /// Its MAC.
    pub mac: Option<MacAddress>,
}

impl Facts {
    pub fn read(answer: &PodSandboxStatusResponse, status: &PodSandboxStatus) -> Self {
        let info = answer.info.get("info").and_then(|text| serde_json::from_str::<Value>(text).ok());
        let info = info.unwrap_or(Value::Null);
        let options = status.linux.as_ref().and_then(|linux| linux.namespaces.as_ref()?.options.as_ref());
        Self {
            host_network: options.is_some_and(|options| options.network == NODE),
            netns: namespaces(&info),
            interfaces: interfaces(&info, &addresses_of(status)),
            created_at: status.created_at,
            labels: labels(status),
        }
    }
}

fn labels(status: &PodSandboxStatus) -> BTreeMap<String, String> {
    let fits = |text: &String| text.len() <= LONGEST_TEXT && !text.contains(char::is_control);
    let fitting = status.labels.iter().filter(|(key, value)| fits(key) && fits(value));
    // In order first: the same ones every time.
    let labels: BTreeMap<&String, &String> = fitting.collect();
    labels.into_iter().take(MOST_LABELS).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// By name, which outlives the process; else by the process.
fn namespaces(info: &Value) -> Vec<PathBuf> {
    let listed = info.pointer("/runtimeSpec/linux/namespaces").and_then(Value::as_array);
    let network = listed.into_iter().flatten().find(|entry| entry["type"] == "network");
    let named = network.and_then(|entry| entry["path"].as_str()).filter(|path| path.starts_with('/'));
    let process = info["pid"].as_u64().filter(|&pid| pid > 1);
    let process = process.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
    named.map(PathBuf::from).into_iter().chain(process).collect()
}

/// What the interface itself defines: the addresses in the first network.
fn addresses_of(status: &PodSandboxStatus) -> Vec<AddressBinding> {
    let Some(network) = &status.network else { return Vec::new() };
    let all = std::iter::once(&network.ip).chain(network.additional_ips.iter().map(|more| &more.ip));
    bindings(all.map(String::as_str))
}

/// Addresses that a binding can hold; link-local ones are learned from the kernel instead.
fn bindings<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<AddressBinding> {
    let mut bindings: Vec<AddressBinding> = Vec::new();
    for text in texts.take(MOST_ADDRESSES) {
        // With a prefix (`10.0.0.2/16`), it is the network's: the address alone is the interface's.
        let alone = text.split_once('/').map_or(text, |(ip, _)| ip);
        let Ok(binding) = alone.parse::<IpAddr>().map_err(drop).and_then(|ip| ip.try_into().map_err(drop))
        else {
            continue;
        };
        if !bindings.contains(&binding) && !binding.is_link_local() && !binding.is_loopback() {
            bindings.push(binding);
        }
    }
    bindings
}

fn interfaces(info: &Value, first: &[AddressBinding]) -> Vec<Told> {
    let mut told = from_containerd(&info["cniResult"]);
    if told.is_empty() {
        let result = info.pointer(CRIO_RESULT).and_then(Value::as_str);
        told =
            result.and_then(|text| serde_json::from_str(text).ok()).map_or(told, |result| from_cni(&result));
    }
    if let Some(position) = told.iter().position(|interface| interface.name == FIRST) {
        told.swap(0, position);
    }
    told.truncate(MOST_INTERFACES);
    match told.first_mut() {
        _ if first.is_empty() => {}
        Some(interface) => interface.addresses = first.to_vec(),
        None => told.push(Told { name: FIRST.into(), addresses: first.to_vec(), mac: None }),
    }
    told
}

fn mac(value: &Value) -> Option<MacAddress> {
    value.as_str()?.parse().ok().filter(|mac: &MacAddress| !mac.is_zero())
}

/// `{"Interfaces": {"eth0": {"IPConfigs": [{"IP": "10.0.0.2"}], "Mac": "…", "Sandbox": "/path"}}}`; host sides
/// have no `Sandbox`.
fn from_containerd(result: &Value) -> Vec<Told> {
    let Some(all) = result["Interfaces"].as_object() else { return Vec::new() };
    let inside = all.iter().filter(|(name, interface)| {
        *name != "lo" && interface["Sandbox"].as_str().is_some_and(|path| !path.is_empty())
    });
    inside
        .map(|(name, interface)| {
            let configs = interface["IPConfigs"].as_array().map_or(&[][..], Vec::as_slice);
            Told {
                name: name.clone(),
                addresses: bindings(configs.iter().filter_map(|config| config["IP"].as_str())),
                mac: mac(&interface["Mac"]),
            }
        })
        .collect()
}

/// A result as the CNI specification has it: addresses name their interface by its place in the list.
fn from_cni(result: &Value) -> Vec<Told> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let ips = list(&result["ips"]);
    let mut told = Vec::new();
    for (position, interface) in list(&result["interfaces"]).iter().enumerate() {
        let inside = interface["sandbox"].as_str().is_some_and(|path| !path.is_empty());
        let Some(name) = interface["name"].as_str().filter(|&name| inside && name != "lo") else { continue };
        let its_own = ips.iter().filter(|ip| ip["interface"].as_u64() == Some(position as u64));
        told.push(Told {
            name: name.to_owned(),
            addresses: bindings(its_own.filter_map(|ip| ip["address"].as_str())),
            mac: mac(&interface["mac"]),
        });
    }
    told
}

#[cfg(test)]
mod tests;
