//! Things go away and come back: the gate stays as it was.

use portcullis_testkit::kube::Cluster;
use portcullis_testkit::{wait_for, wait_until};
use serde_json::json;

use super::stage::{Server, connect, create, forge, installed, listen, pod, ready, uid, wait_bound};

/// In which order things fall. The next order begins when all are back.
const ORDERS: [[&str; 4]; 3] = [
    ["agent", "hub", "kubelet", "containerd"],
    ["containerd", "agent", "kubelet", "hub"],
    ["kubelet", "containerd", "hub", "agent"],
];

fn fell(cluster: &mut Cluster, what: &str) {
    match what {
        "kubelet" => cluster.node_mut(1).kill_kubelet().unwrap(),
        "containerd" => cluster.node_mut(1).kill_containerd().unwrap(),
        part => cluster.node(1).kill(part).unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.news())),
    }
}

#[test]
fn the_gate_stays_shut_whatever_is_away() {
    let mut cluster = installed(1, &["hub.replicas=1"]);
    create(&cluster, &pod("server", 1, json!({"app": "server"})));
    create(&cluster, &pod("source", 1, json!({"app": "source"})));
    let server_at = ready(&cluster, "server")[0];
    ready(&cluster, "source");
    wait_bound(&cluster, "source");
    let server_space = cluster.pod_namespace("default", "server").unwrap();
    let _server = Server::start(&server_space);
    let passed = listen(&server_space);
    let source = cluster.pod_namespace("default", "source").unwrap();
    let holds = |what: &str| {
        assert_eq!(connect(&source, server_at, 3), 3, "{what}: honest connections");
        forge(&source, server_at, 5);
    };
    holds("everything is there");

    // The API server.
    let snapshot = cluster.control().save("before").unwrap();
    cluster.control_mut().stop().unwrap();
    holds("without an API server");
    // A new pod of which only the plugin and the runtime can tell.
    cluster.node(1).run_static(&pod("lone", 1, json!({"app": "lone"}))).unwrap();
    let node = cluster.node(1);
    let lone = || node.endpoint("default/lone-node-1");
    wait_until("the new pod is bound", || lone().is_ok_and(|it| it.interface.index.is_some()))
        .unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", node.map(), node.log("kubelet")));
    let space = wait_for("it runs", || node.pod_namespace("default", "lone-node-1").ok()).unwrap();
    assert_eq!(connect(&space, server_at, 3), 3, "the new pod's honest connections");
    forge(&space, server_at, 5);
    assert_eq!(lone().unwrap().counters.reasons.get("spoofed-ipv4"), Some(&5));
    cluster.control_mut().start().unwrap();
    holds("with it again");
    // The kubelet has its own UID for a pod that it runs by itself; events and the hub need the cluster's.
    let node = cluster.node(1);
    wait_until("the new pod is known as the cluster knows it", || {
        let there = uid(&cluster, "lone-node-1");
        there.is_some() && node.endpoint("default/lone-node-1").is_ok_and(|it| it.workload.uid == there)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", node.map(), cluster.news()));

    // Everything, in several orders.
    for order in ORDERS {
        for what in order {
            fell(&mut cluster, what);
            holds(&format!("{what} was killed, of {order:?}"));
        }
        cluster.node_mut(1).start_containerd().unwrap();
        cluster.node_mut(1).start_kubelet().unwrap();
        cluster.wait_node(1).unwrap();
        for part in ["agent", "hub"] {
            wait_until(&format!("there is a {part} again"), || cluster.node(1).process(part).is_ok())
                .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.news()));
        }
        wait_bound(&cluster, "source");
        holds(&format!("everything is back, after {order:?}"));
    }

    // The agent: its pod is replaced.
    let control = cluster.control();
    control
        .kubectl(&[
            "-n",
            "portcullis-system",
            "delete",
            "pod",
            "-l",
            "app.kubernetes.io/component=agent",
            "--wait=false",
        ])
        .unwrap();
    for _ in 0..5 {
        holds("while the agent is replaced");
    }
    control.wait_rollout("portcullis-system", "daemonset/portcullis-agent").unwrap();
    wait_bound(&cluster, "source");
    holds("with the next agent");

    // What came after the backup is forgotten by the cluster, and the map converges.
    create(&cluster, &pod("later", 1, json!({"app": "later"})));
    ready(&cluster, "later");
    wait_bound(&cluster, "later");
    cluster.control_mut().restore(&snapshot).unwrap();
    cluster.node_mut(1).stop_kubelet().unwrap();
    cluster.node_mut(1).start_kubelet().unwrap();
    cluster.wait_node(1).unwrap();
    holds("after a restored backup");
    wait_until("the map has forgotten the pod that the backup does not know", || {
        let Ok(object) = cluster.control().get("/apis/portcullis.dev/v1alpha1/endpointmaps/node-1") else {
            return false;
        };
        let rows = object["status"]["endpoints"].as_array().cloned().unwrap_or_default();
        let has = |name: &str| rows.iter().any(|row| row["pod"] == name);
        has("source") && !has("later")
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.news()));
    assert_eq!(passed.stop().unwrap(), 0, "no forged segment ever came through");
}
