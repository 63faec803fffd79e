//! Configurations of a node's daemons.

use std::path::Path;

use serde_json::{Value, json};

use super::setup::FEATURES;
use crate::runtime::IMAGE;

/// Where a kubelet finds pods that it runs by itself, on its node.
pub const STATIC_PODS: &str = "/var/lib/kubelet/manifests";

/// The kubelet's configuration. It may not touch what is the whole machine's.
pub fn config(cgroup: &str, directory: &Path) -> Value {
    let features: serde_json::Map<String, Value> = FEATURES
        .split(',')
        .filter_map(|one| Some((one.split_once('=')?.0.to_owned(), json!(true))))
        .collect();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "evictionHard": {"memory.available": "10Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
            "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "resolvConf": directory.join("resolv.conf"),
        "makeIPTablesUtilChains": false,
        "staticPodPath": STATIC_PODS,
        "serializeImagePulls": false,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "nodeStatusUpdateFrequency": "5s",
        "maxOpenFiles": 10000,
        "featureGates": features,
    })
}

/// The kubelet's arguments.
pub fn arguments(directory: &Path, name: &str, address: &str) -> Vec<String> {
    let at = directory.display();
    vec![
        format!("--config={at}/kubelet.json"),
        format!("--kubeconfig={at}/kubeconfig"),
        format!("--hostname-override={name}"),
        format!("--node-ip={address}"),
        "--container-runtime=remote".to_owned(),
        "--container-runtime-endpoint=unix:///run/containerd/containerd.sock".to_owned(),
        "--root-dir=/var/lib/kubelet".to_owned(),
        "--cert-dir=/var/lib/kubelet/pki".to_owned(),
    ]
}

/// containerd's configuration: its usual places, which are the node's own.
pub fn containerd_config() -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true
tolerate_missing_hugetlb_controller = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#
    )
}
