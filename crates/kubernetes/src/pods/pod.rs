//! A pod, with the fields that matter and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portcullis_policy::address::AddressBinding;
use portcullis_policy::model::Workload;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Addresses that one pod may have: one of each family, and some room.
const MOST_ADDRESSES: usize = 16;
/// The label of a static pod with the UID that its kubelet has for it: the API's is its mirror's.
const KUBELETS_UID: &str = "io.kubernetes.pod.uid";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub metadata: Meta,
    pub spec: Spec,
    pub status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub labels: Option<BTreeMap<String, String>>,
    pub annotations: Option<Annotations>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Annotations {
    /// Of a static pod's mirror: the UID by which the kubelet knows the pod itself.
    #[serde(rename = "kubernetes.io/config.mirror")]
    mirror: Option<String>,
    #[serde(rename = "kubernetes.io/config.hash")]
    hash: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub host_network: Option<bool>,
    restart_policy: Option<String>,
    containers: Option<Vec<IgnoredAny>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    phase: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
    /// Before dual stack there was only this.
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    start_time: Option<String>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodIp {
    ip: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerStatus {
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    state: Option<State>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    running: Option<IgnoredAny>,
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Terminated {
    exit_code: i64,
}

/// What is kept of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub workload: Workload,
    /// `namespace/name`.
    pub name: String,
    /// The UID that its cgroup has.
    pub cgroup: String,
    pub host_network: bool,
    pub addresses: Vec<AddressBinding>,
    pub since: Option<String>,
    /// Its containers, without the sandbox.
    pub containers: BTreeSet<String>,
}

impl Pod {
    /// Its containers have ended, and none will be started again: its address may be another's already.
    pub fn is_over(&self) -> bool {
        match self.status.phase.as_deref() {
            Some("Succeeded" | "Failed") => return true,
            None | Some("Pending") => return false,
            _ => {}
        }
        let ended =
            |status: &ContainerStatus| status.state.as_ref()?.terminated.as_ref().map(|end| end.exit_code);
        let of_pod = self.status.container_statuses.as_deref().unwrap_or_default();
        let exits: Option<Vec<i64>> = of_pod.iter().map(ended).collect();
        // Sidecars go on sending until they have ended too.
        let others =
            self.status.init_container_statuses.iter().chain(&self.status.ephemeral_container_statuses);
        let running =
            |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
        if others.flatten().any(running) {
            return false;
        }
        let Some(exits) = exits.filter(|exits| {
            !exits.is_empty() && exits.len() >= self.spec.containers.as_ref().map_or(0, Vec::len)
        }) else {
            return false;
        };
        match self.spec.restart_policy.as_deref() {
            Some("Never") => true,
            Some("OnFailure") => exits.iter().all(|code| *code == 0),
            _ => false,
        }
    }

    /// What is kept of it; none: it is no pod of ours to speak of.
    pub fn facts(self) -> Option<Facts> {
        let Meta { name, namespace, uid, labels, annotations } = self.metadata;
        if uid.is_empty() || name.is_empty() {
            return None;
        }
        let Annotations { mirror, hash } = annotations.unwrap_or_default();
        let kubelets = mirror.and(hash);
        let mut labels = labels.unwrap_or_default();
        // As runtimes have it, so that both are known to speak of the same pod.
        labels.extend(kubelets.iter().map(|uid| (KUBELETS_UID.to_owned(), uid.clone())));
        let statuses = [
            self.status.container_statuses,
            self.status.init_container_statuses,
            self.status.ephemeral_container_statuses,
        ];
        let ids = statuses.iter().flatten().flatten().filter_map(|status| status.container_id.as_deref());
        let split: Vec<(&str, &str)> = ids.filter_map(|id| id.split_once("://")).collect();
        let runtime = split.first().map(|(runtime, _)| (*runtime).to_owned());
        let containers = split.iter().map(|(_, id)| (*id).to_owned()).collect();
        let texts = self.status.pod_ips.into_iter().flatten().map(|ip| ip.ip).chain(self.status.pod_ip);
        let mut addresses: Vec<AddressBinding> = Vec::new();
        for text in texts.take(MOST_ADDRESSES) {
            let binding = text.parse::<IpAddr>().ok().and_then(|ip| AddressBinding::try_from(ip).ok());
            addresses.extend(binding.filter(|binding| !addresses.contains(binding)));
        }
        Some(Facts {
            name: format!("{namespace}/{name}"),
            cgroup: kubelets.unwrap_or_else(|| uid.clone()),
            host_network: self.spec.host_network == Some(true),
            addresses,
            since: self.status.start_time,
            containers,
            workload: Workload {
                runtime,
                pod: Some(name),
                namespace: Some(namespace),
                uid: Some(uid),
                labels,
                ..Workload::default()
            },
        })
    }
}
