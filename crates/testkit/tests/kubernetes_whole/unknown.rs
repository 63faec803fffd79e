//! R5's check: what the map does not know is looked up by itself, and nothing passes meanwhile.

use std::net::IpAddr;

use portcullis_testkit::kube::{Cluster, ClusterOptions};
use portcullis_testkit::{Conflist, wait_until};
use serde_json::json;

use super::stage::{Server, connect, create, pod, ready, wait_bound};

/// Five addresses, which come round soon.
fn narrow(_node: usize) -> Conflist {
    Conflist::ptp("pods", &["10.244.1.0/29"])
}

/// Without the plugin, on a CNI without a bridge: pods are bound when the runtime tells of them, and somebody else's pair never is.
#[test]
fn what_nobody_knows_stays_shut() {
    let cluster = ClusterOptions::default().nodes(1).network(narrow).portcullis().start().unwrap();
    // A pod that was there before us goes on.
    create(&cluster, &pod("older", 1, json!({"app": "older"})));
    let older_at = ready(&cluster, "older")[0];
    cluster.install(&["hub.replicas=1", "cni.enabled=false"]).unwrap_or_else(|error| panic!("{error:#}"));
    wait_bound(&cluster, "older");
    create(&cluster, &pod("source", 1, json!({"app": "source"})));
    ready(&cluster, "source");
    let node = wait_bound(&cluster, "source");
    let older = cluster.pod_namespace("default", "older").unwrap();
    let _server = Server::start(&older);
    assert_eq!(connect(&cluster.pod_namespace("default", "source").unwrap(), older_at, 5), 5);

    a_completed_pods_address_is_its_heirs(&cluster, older_at);

    // A pair that is no pod's: as a stranger with rights on the node would make it, and as a pod that nobody tells of.
    let host = node.namespace().unwrap();
    let name = format!("{}-x", node.tag());
    node.run(&format!("ip netns add {name}")).unwrap();
    host.ip("link add stranger type veth peer name inside").unwrap();
    host.ip("link set stranger up").unwrap();
    node.run(&format!("ip link set inside netns {name}")).unwrap();
    host.ip("addr add 10.99.0.1/24 dev stranger").unwrap();
    for line in ["link set lo up", "link set inside up", "addr add 10.99.0.2/24 dev inside"] {
        node.run(&format!("ip netns exec {name} ip {line}")).unwrap();
    }
    let state = || {
        let map = node.map().unwrap();
        let row =
            map.rows.into_iter().find(|row| row.interface.as_ref().is_some_and(|it| it.name == "stranger"));
        row.map(|row| serde_json::to_value(row.state).unwrap())
    };
    wait_until("the stranger's interface is held", || state() == Some(json!("held")))
        .unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", node.map(), cluster.news()));
    wait_until("and refused after everybody was asked", || {
        node.ask("GET", "/api/v1/status", None).is_ok_and(|(_, text)| text.contains("stranger is no pod's"))
    })
    .unwrap_or_else(|error| {
        panic!("{error:#}\n{:?}\n{}", node.ask("GET", "/api/v1/status", None), cluster.news())
    });
    assert_eq!(state(), Some(json!("held")), "it stays shut");
    let ping = format!("ip netns exec {name} ping -c 2 -W 1 10.99.0.1");
    assert!(node.run(&ping).is_err(), "nothing that it sends passes");
    let object = || cluster.control().get("/apis/portcullis.dev/v1alpha1/endpointmaps/node-1").unwrap();
    wait_until("the cluster's map says so", || object()["status"]["summary"]["held"] == 1)
        .unwrap_or_else(|error| panic!("{error:#}\n{:#}", object()));
    node.run("ip link del stranger").unwrap();
    node.run(&format!("ip netns del {name}")).unwrap();
    wait_until("it is forgotten with its interface", || state().is_none()).unwrap();
}

/// What has ended claims nothing, though the API still tells of its address.
fn a_completed_pods_address_is_its_heirs(cluster: &Cluster, server_at: IpAddr) {
    let control = cluster.control();
    let mut done = pod("done", 1, json!({"app": "done"}));
    done["spec"]["restartPolicy"] = json!("Never");
    done["spec"]["containers"][0]["command"] = json!(["/bin/forger", "forge", "eth0", "ipv4", "1", "0"]);
    // Long enough to have been bound.
    done["spec"]["activeDeadlineSeconds"] = json!(5);
    create(cluster, &done);
    let path = "/api/v1/namespaces/default/pods/done";
    let ended = control.wait_object(path, "the pod ends", |pod| pod["status"]["phase"] == "Failed").unwrap();
    let address = ended["status"]["podIP"].as_str().map(str::to_owned);
    assert!(address.is_some(), "the API still tells of its address: {ended:#}");
    for number in 0..8 {
        let name = format!("heir-{number}");
        create(cluster, &pod(&name, 1, json!({"app": "heir"})));
        let at = ready(cluster, &name)[0];
        let node = wait_bound(cluster, &name);
        let endpoint = node.endpoint(&format!("default/{name}")).unwrap();
        assert_eq!(endpoint.conflicts, Vec::<String>::new(), "{name}");
        let space = cluster.pod_namespace("default", &name).unwrap();
        assert_eq!(connect(&space, server_at, 2), 2, "{name}");
        drop(space);
        control.kubectl(&["delete", "pod", &name]).unwrap();
        if address.as_deref() == Some(at.to_string().as_str()) {
            return;
        }
    }
    panic!("the address {address:?} did not come round");
}
