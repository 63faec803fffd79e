//! Clusters with nodes.

use std::path::Path;
use std::time::Instant;

use portcullis_testkit::kube::{Cluster, ClusterOptions, PORTCULLIS_IMAGE};
use portcullis_testkit::{IMAGE, Namespace, ping, wait_until};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A pod that does nothing, on a node.
fn idle(name: &str, node: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "idle"}},
        "spec": {"nodeName": format!("node-{node}"), "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": IMAGE, "command": ["/bin/forger", "pause"]}]}})
}

fn deployment(name: &str, replicas: usize) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "main", "image": IMAGE, "command": ["/bin/forger", "pause"]}]}}}})
}

/// Waits until a pod is ready; gives its addresses.
fn addresses(cluster: &Cluster, name: &str) -> Vec<String> {
    let pod = cluster.control().wait_pod("default", name).unwrap();
    let all = pod["status"]["podIPs"].as_array().unwrap();
    all.iter().map(|ip| ip["ip"].as_str().unwrap().to_owned()).collect()
}

fn talks(from: &Namespace, to: &[String]) {
    for address in to {
        assert!(ping(from, address, 3).unwrap().none_lost(), "{address}");
    }
}

/// What a kubelet changes if one lets it.
fn settings() -> Vec<String> {
    let names = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys"];
    names.map(|name| std::fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap()).to_vec()
}

#[test]
fn two_nodes_run_what_they_are_told() {
    let before = Instant::now();
    let settings_before = settings();
    let cluster = Cluster::full(2).unwrap();
    println!("two nodes ready after {:?}", before.elapsed());
    let control = cluster.control();
    control.apply(&deployment("web", 4).to_string()).unwrap();
    control.wait_rollout("default", "deployment/web").unwrap();
    println!("deployed after {:?}", before.elapsed());
    for node in [1, 2] {
        control.send("POST", PODS, Some(&idle(&format!("on-{node}"), node))).unwrap();
    }
    let [near, far] = ["on-1", "on-2"].map(|name| addresses(&cluster, name));
    assert_eq!((near.len(), far.len()), (2, 2), "both families");
    let inside = ["on-1", "on-2"].map(|name| cluster.pod_namespace("default", name).unwrap());
    talks(&inside[0], &far);
    talks(&inside[1], &near);
    // Nodes talk with pods of others, and a pod with the API server by its Service.
    talks(cluster.node(1).namespace().unwrap(), &far);
    let pod = control.get(&format!("{PODS}/on-1")).unwrap();
    let container = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    let node = cluster.node_of("default", "on-1").unwrap();
    let seen =
        node.exec(container, &["/bin/cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"]).unwrap();
    assert_eq!(seen.code, 0, "{}", String::from_utf8_lossy(&seen.stderr));
    assert_eq!(seen.stdout.iter().filter(|byte| **byte == b'.').count(), 2, "a token");
    let reached =
        node.exec(container, &["/bin/nc", "-w", "2", "10.96.0.1", "443", "-e", "/bin/true"]).unwrap();
    assert_eq!(reached.code, 0, "{}", String::from_utf8_lossy(&reached.stderr));
    assert!(control.kubectl(&["exec", "on-1", "--", "/bin/ip", "addr"]).unwrap().contains(&near[0]));

    // Nothing of it is the machine's.
    assert_eq!(settings(), settings_before);
    for path in ["/var/log/pods", "/var/lib/kubelet", "/run/containerd/containerd.sock"] {
        assert!(!Path::new(path).exists(), "{path}");
    }
    let tags: Vec<String> = cluster.nodes().iter().map(|node| node.tag().to_owned()).collect();
    drop(cluster);
    nothing_left(&tags);
}

/// No namespace, cgroup, mount or process of these nodes.
fn nothing_left(tags: &[String]) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for tag in tags {
        assert!(!Path::new("/run/netns").join(tag).exists(), "{tag}");
        assert!(!mounts.contains(tag), "{mounts}");
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
            assert!(!hierarchy.as_ref().unwrap().path().join(tag).exists(), "{tag} in {hierarchy:?}");
        }
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&line).contains(tag.as_str()), "{process:?}");
        }
    }
    let left = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let left: Vec<_> = left
        .filter(|e| tags.iter().any(|tag| e.file_name().to_string_lossy().starts_with(tag.as_str())))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn daemons_come_back_and_so_does_a_node() {
    let before = Instant::now();
    let passed = |what: &str| println!("{what} after {:?}", before.elapsed());
    let mut cluster = ClusterOptions::default().nodes(1).network(Cluster::ptp).start().unwrap();
    let send = |cluster: &Cluster, name: &str| {
        cluster.control().send("POST", PODS, Some(&idle(name, 1))).unwrap();
        addresses(cluster, name)
    };
    passed("ready");
    let stays = send(&cluster, "stays");
    let sandbox = cluster.node(1).sandbox("default", "stays").unwrap();

    // Without the API server pods run on.
    cluster.control_mut().stop().unwrap();
    talks(cluster.node(1).namespace().unwrap(), &stays);
    cluster.control_mut().start().unwrap();
    send(&cluster, "after-the-api-server");
    passed("the API server came back");

    let node = cluster.node_mut(1);
    node.stop_kubelet().unwrap();
    node.start_kubelet().unwrap();
    node.kill_containerd().unwrap();
    node.start_containerd().unwrap();
    send(&cluster, "after-the-daemons");
    passed("the daemons came back");
    assert_eq!(cluster.node(1).sandbox("default", "stays").unwrap(), sandbox);
    talks(cluster.node(1).namespace().unwrap(), &stays);

    // A snapshot from before a pod: it is an orphan, and the kubelet takes it away.
    let snapshot = cluster.control().save("before").unwrap();
    send(&cluster, "too-new");
    cluster.control_mut().restore(&snapshot).unwrap();
    // It watches from a version that is in the future now.
    cluster.node_mut(1).kill_kubelet().unwrap();
    cluster.node_mut(1).start_kubelet().unwrap();
    wait_until("the pod to go", || cluster.node(1).sandbox("default", "too-new").is_err()).unwrap();
    assert_eq!(cluster.node(1).sandbox("default", "stays").unwrap(), sandbox);

    passed("back in time");

    // A reboot: the pod is the same, its sandbox is another.
    cluster.node_mut(1).reboot().unwrap();
    wait_until("the pod to run again", || {
        cluster.node(1).sandbox("default", "stays").is_ok_and(|now| now != sandbox)
    })
    .unwrap();
    let path = format!("{PODS}/stays");
    let again = cluster.control().wait_object(&path, "ready with a new address", |pod| {
        let container = &pod["status"]["containerStatuses"][0];
        container["ready"] == true && container["restartCount"].as_u64() > Some(0)
    });
    let address = again.unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
    talks(cluster.node(1).namespace().unwrap(), &[address]);
    passed("the node came back");
    let tags = vec![cluster.node(1).tag().to_owned()];
    drop(cluster);
    nothing_left(&tags);
}

#[test]
fn the_real_binary_runs_in_a_pod() {
    let cluster = ClusterOptions::default().portcullis().start().unwrap();
    let control = cluster.control();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "version"},
        "spec": {"restartPolicy": "Never", "hostNetwork": true,
            "containers": [{"name": "main", "image": PORTCULLIS_IMAGE, "args": ["--version"],
                "command": ["/usr/local/bin/portcullis"], "securityContext": {"privileged": true},
                "volumeMounts": [{"name": "run", "mountPath": "/run/portcullis"}]}],
            "volumes": [{"name": "run",
                "hostPath": {"path": "/run/portcullis", "type": "DirectoryOrCreate"}}]}});
    control.send("POST", PODS, Some(&pod)).unwrap();
    let done = |pod: &Value| pod["status"]["phase"] == "Succeeded";
    control.wait_object(&format!("{PODS}/version"), "done", done).unwrap();
    assert!(control.kubectl(&["logs", "version"]).unwrap().starts_with("portcullis "));
    // What a pod makes on its node is the node's.
    assert!(cluster.node(1).outside("/run/portcullis").unwrap().is_dir());
}
