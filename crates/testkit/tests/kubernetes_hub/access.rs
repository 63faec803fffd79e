//! Whom the hub answers, and what the plugin shows.

use std::process::Output;

use serde_json::{Value, json};

use crate::cluster::Cluster;

/// A service account that may do this to all of the hub's paths.
pub fn account(cluster: &Cluster, name: &str, verbs: &[&str]) {
    let plane = &cluster.plane;
    plane.token("portcullis-system", name, &[]).unwrap();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
        "rules": [{"nonResourceURLs": ["/portcullis/api/v1/*", "/portcullis/openapi.json"], "verbs": verbs}]});
    plane.send("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", Some(&role)).unwrap();
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "portcullis-system"}]});
    plane.send("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", Some(&binding)).unwrap();
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_plugin_shows_the_cluster_to_whom_it_may() {
    let cluster = Cluster::start();
    for node in ["n1", "n2"] {
        cluster.node(node);
    }
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n3"}});
    cluster.plane.send("POST", "/api/v1/nodes", Some(&node)).unwrap();
    let row = |namespace: &str, pod: &str, address: &str, state: &str| {
        json!({"name": format!("{namespace}/{pod}"), "namespace": namespace, "pod": pod, "uid": format!("u-{pod}"),
            "interface": format!("veth-{pod}"), "addresses": [address], "mode": "enforce", "state": state})
    };
    cluster.say("n1", &json!({"endpoints": [row("shop", "web", "10.0.1.1", "bound"), row("db", "pg", "10.0.1.2", "quarantined")]}));
    cluster.say("n2", &json!({"endpoints": [row("shop", "api", "10.0.2.1", "bound")]}));
    let hub = cluster.leader(0, &[]);

    // Without the account there is no token.
    let (code, _, why) = said(&cluster.plugin(&hub, &["map"]));
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("portcullis-reader") && why.contains("portcullis-kubectl-reader"), "{why}");
    // With it, but without a right.
    cluster.plane.token("portcullis-system", "portcullis-reader", &[]).unwrap();
    let (code, _, why) = said(&cluster.plugin(&hub, &["map"]));
    assert_eq!(code, Some(1), "{why}");
    assert!(
        why.contains(
            "system:serviceaccount:portcullis-system:portcullis-reader has no right to get /portcullis/api/v1/map"
        ),
        "{why}"
    );
    account(&cluster, "portcullis-reader", &["get"]);
    account(&cluster, "portcullis-operator", &["get", "put", "delete"]);
    // What was said a moment ago counts for ten seconds.
    let shown = portcullis_testkit::wait_for("the map to be shown", || {
        let (code, text, _) = said(&cluster.plugin(&hub, &["map"]));
        (code == Some(0)).then_some(text)
    })
    .unwrap();
    println!("{shown}");
    assert!(
        shown.contains("db/pg") && shown.contains("QUARANTINED") && shown.contains("10.0.2.1"),
        "{shown}"
    );
    assert!(shown.contains("n3 is MISSING: no agent ever published a map of it"), "{shown}");
    assert!(shown.contains("n1 is AWAY: what is shown of it may be old"), "{shown}");
    assert!(shown.ends_with("3 nodes: 2 bound, 1 quarantined\n"), "{shown}");

    let (_, text, _) = said(&cluster.plugin(&hub, &["map", "-n", "shop", "--node", "n1", "-o", "json"]));
    let map: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(map["rows"].as_array().unwrap().len(), 1);
    assert_eq!((&map["rows"][0]["node"], &map["rows"][0]["workload"]["pod"]), (&json!("n1"), &json!("web")));
    let (code, _, why) = said(&cluster.plugin(&hub, &["map", "--node", "n9"]));
    assert_eq!(code, Some(4), "{why}");
    for command in ["status", "nodes", "endpoints", "events"] {
        let (code, text, why) = said(&cluster.plugin(&hub, &[command]));
        println!("--- {command}\n{text}{why}");
        assert_eq!(code, Some(0), "{command}: {why}");
    }
    let text = portcullis_testkit::wait_for("the agents to be asked", || {
        let (_, text, _) = said(&cluster.plugin(&hub, &["nodes", "-o", "json"]));
        (text.matches("takes no connections").count() == 2).then_some(text)
    })
    .unwrap();
    let nodes: Value = serde_json::from_str(&text).unwrap();
    let states: Vec<&str> =
        nodes.as_array().unwrap().iter().map(|node| node["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["away", "away", "missing"]);

    // The agent is away, and that is what is said.
    let (code, _, why) = said(&cluster.plugin(&hub, &["quarantine", "shop/web"]));
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("the agent of node n1 takes no connections"), "{why}");
    let (code, _, why) = said(&cluster.plugin(&hub, &["release", "nobody", "-n", "shop"]));
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains("no node tells of an endpoint \"shop/nobody\""), "{why}");
}
