//! Things go away and come back: the gate stays as it was.

use portcullis_testkit::wait_until;
use serde_json::json;

use super::stage::{Server, connect, create, forge, installed, listen, pod, ready, wait_bound};

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
    cluster.control_mut().start().unwrap();
    holds("with it again");

    // The runtime and the kubelet.
    cluster.node_mut(1).kill_kubelet().unwrap();
    cluster.node_mut(1).kill_containerd().unwrap();
    holds("without kubelet and containerd");
    cluster.node_mut(1).start_containerd().unwrap();
    cluster.node_mut(1).start_kubelet().unwrap();
    cluster.wait_node(1).unwrap();
    holds("with them again");

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
