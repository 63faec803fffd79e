//! An installation's life: by Helm into a cluster and out of it, with an upgrade and a reboot between.

use portcullis_forger::FORGED;
use portcullis_testkit::kube::{ClusterOptions, Node, SYSTEM};
use portcullis_testkit::{Listener, Namespace, wait_for, wait_until};
use serde_json::{Value, json};

use super::stage::{Server, connect, create, pod, ready, uid, wait_bound};

const VALUES: [&str; 1] = ["hub.replicas=1"];

/// A pod that forges from its first instruction, without end.
fn liar() -> Value {
    let mut liar = pod("liar", 1, json!({"app": "liar"}));
    let command = json!(["/bin/forger", "forge", "eth0", "ipv4,arp,mac", "0", "20000"]);
    liar["spec"]["containers"][0]["command"] = command;
    liar
}

/// Counts what forged frames come to a pod.
fn listen(namespace: &Namespace) -> Listener {
    let forged = |frame: &[u8]| frame.windows(FORGED.len()).any(|part| part == FORGED);
    Listener::start(namespace, "eth0", forged).unwrap()
}

fn attempts(node: &Node) -> Option<u64> {
    Some(node.endpoint("default/liar").ok()?.counters.reasons.values().sum())
}

fn agents(cluster: &portcullis_testkit::kube::Cluster) -> Vec<String> {
    let path =
        format!("/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io%2Fcomponent%3Dagent");
    let list = cluster.control().get(&path).unwrap();
    let pods = list["items"].as_array().unwrap().iter();
    pods.map(|pod| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn upgrades_and_reboots_leave_the_gate_shut_and_an_uninstall_opens_it() {
    let mut cluster = ClusterOptions::default().nodes(1).portcullis().start().unwrap();
    cluster.control().kubectl(&["create", "namespace", SYSTEM]).unwrap();
    cluster.helm("install", &VALUES).unwrap();
    cluster.wait_installed().unwrap();
    create(&cluster, &pod("server", 1, json!({"app": "server"})));
    create(&cluster, &pod("source", 1, json!({"app": "source"})));
    let server_at = ready(&cluster, "server")[0];
    ready(&cluster, "source");
    let server_space = cluster.pod_namespace("default", "server").unwrap();
    let server = Server::start(&server_space);
    let passed = listen(&server_space);
    create(&cluster, &liar());
    ready(&cluster, "liar");
    let node = wait_bound(&cluster, "liar");
    wait_until("the liar is heard", || attempts(node).is_some_and(|count| count > 0)).unwrap();

    // An upgrade: another agent, the same gate.
    let source = cluster.pod_namespace("default", "source").unwrap();
    let before = agents(&cluster);
    let counted = attempts(node).unwrap();
    cluster.helm("upgrade", &[VALUES[0], "agent.podAnnotations.turn=second"]).unwrap();
    wait_until("the agent is another one", || {
        assert_eq!(connect(&source, server_at, 2), 2, "honest traffic goes on during an upgrade");
        let now = agents(&cluster);
        now.len() == 1 && now != before
    })
    .unwrap();
    cluster.wait_installed().unwrap();
    assert_eq!(connect(&source, server_at, 5), 5, "and after it");
    wait_until("the next agent counts on", || attempts(node).is_some_and(|count| count > counted)).unwrap();
    assert_eq!(passed.stop().unwrap(), 0, "nothing forged came through");
    drop((server, source));

    // A reboot: no pod starts before there is an agent, and none forges before it is bound.
    cluster.node_mut(1).reboot().unwrap();
    let server_space = wait_for("the server runs again", || cluster.pod_namespace("default", "server").ok());
    let server_space = server_space.unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.news()));
    wait_until("it has its interface", || server_space.run("ip link show eth0").is_ok()).unwrap();
    let passed = listen(&server_space);
    let node = wait_bound(&cluster, "liar");
    wait_until("the liar is heard again", || attempts(node).is_some_and(|count| count > 0))
        .unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", node.map(), cluster.news()));
    wait_bound(&cluster, "source");
    wait_bound(&cluster, "server");
    let server_at = wait_for("the API knows the server's new address", || {
        let at = ready(&cluster, "server")[0];
        server_space.run("ip -o addr show eth0").is_ok_and(|own| own.contains(&at.to_string())).then_some(at)
    })
    .unwrap();
    let server = Server::start(&server_space);
    let source =
        wait_for("the source runs again", || cluster.pod_namespace("default", "source").ok()).unwrap();
    assert_eq!(connect(&source, server_at, 5), 5, "honest traffic after a reboot");
    assert_eq!(passed.count(), 0, "nothing forged came through");
    drop(source);

    // Taken away: nothing of ours is left in the chain or the kernel, and pods go on, come and go.
    let conflist = "/etc/cni/net.d/10-lab.conflist";
    let read = |path: &str| std::fs::read_to_string(node.outside(path).unwrap());
    assert!(read(conflist).unwrap().contains("portcullis"), "the plugin is chained");
    cluster.helm("uninstall", &[]).unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.news()));
    assert!(!read(conflist).unwrap().contains("portcullis"), "the chain is as it was");
    let pinned = node.run("find /sys/fs/bpf -path *portcullis* -type f").unwrap();
    assert_eq!(pinned, "", "nothing is pinned");
    passed.wait_for(1).expect("the gate is open");
    let source = cluster.pod_namespace("default", "source").unwrap();
    assert_eq!(connect(&source, server_at, 5), 5, "pods go on");
    create(&cluster, &pod("later", 1, json!({"app": "later"})));
    ready(&cluster, "later");
    drop((server, passed, server_space, source));
    for name in ["server", "liar", "later"] {
        cluster.control().kubectl(&["delete", "pod", name]).unwrap();
        assert!(uid(&cluster, name).is_none());
    }
    let left = cluster
        .control()
        .kubectl(&[
            "get",
            "clusterroles,clusterrolebindings,roles,daemonsets,deployments,jobs,configmaps",
            "-A",
            "-o",
            "name",
        ])
        .unwrap();
    let ours: Vec<&str> = left.lines().filter(|name| name.contains("portcullis")).collect();
    // Whoever publishes certificates made it, not Helm; and nothing of it is secret.
    assert!(ours.iter().all(|name| *name == "configmap/portcullis-hub"), "{ours:?}");
    assert!(
        cluster.control().kubectl(&["get", "gatepolicies"]).is_ok(),
        "definitions stay, with everybody's policies"
    );
}
