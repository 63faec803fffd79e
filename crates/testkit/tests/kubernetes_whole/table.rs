//! Reference R5's own table, repeated: source pods that begin some of their connections with an address that is not theirs.

use portcullis_testkit::wait_until;
use serde_json::{Value, json};

use super::stage::{Server, connect, create, forge, installed, listen, pod, ready, wait_bound};

/// Forged connections of so many in all, as the reference has them.
const SOURCES: [(u64, u64); 4] = [(50, 80), (100, 150), (150, 200), (200, 300)];

/// Nodes of the cluster: `PORTCULLIS_LAB_NODES`, up to the reference's ten; else two.
fn nodes() -> usize {
    let wanted = std::env::var("PORTCULLIS_LAB_NODES").map(|text| text.parse().expect("a number of nodes"));
    wanted.unwrap_or(2)
}

#[test]
fn every_forged_connection_is_dropped_and_every_honest_one_passes() {
    let nodes = nodes();
    let cluster = installed(nodes, &["hub.replicas=1"]);
    create(&cluster, &pod("server", nodes, json!({"app": "server"})));
    let server_at = ready(&cluster, "server");
    // At least one source on each node.
    let sources: Vec<(u64, u64)> = SOURCES.into_iter().cycle().take(SOURCES.len().max(nodes)).collect();
    for (index, _) in sources.iter().enumerate() {
        create(&cluster, &pod(&format!("source-{index}"), 1 + index % nodes, json!({"app": "source"})));
    }
    let server_space = cluster.pod_namespace("default", "server").unwrap();
    let _server = Server::start(&server_space);
    let forged = listen(&server_space);
    for (index, (bad, all)) in sources.iter().copied().enumerate() {
        let name = format!("source-{index}");
        ready(&cluster, &name);
        let node = wait_bound(&cluster, &name);
        let from = cluster.pod_namespace("default", &name).unwrap();
        let honest = all - bad;
        // By both families, and interleaved: neither disturbs the other.
        let half = honest / 2;
        assert_eq!(connect(&from, server_at[0], half), half, "{name}");
        forge(&from, server_at[0], bad);
        let other = server_at.get(1).copied().unwrap_or(server_at[0]);
        assert_eq!(connect(&from, other, honest - half), honest - half, "{name}");
        let endpoint = node.endpoint(&format!("default/{name}")).unwrap();
        assert_eq!(endpoint.counters.reasons.get("spoofed-ipv4"), Some(&bad), "{name}: {endpoint:?}");
        assert_eq!(endpoint.counters.reasons.len(), 1, "{name}: {endpoint:?}");
        assert_eq!(endpoint.attempts, bad, "{name}");
        println!("{name}: {bad} of {all} connections forged: {bad} dropped, {honest} answered");
    }
    assert_eq!(forged.stop().unwrap(), 0, "no forged segment came to the server");

    // Each of them has its event, with the count, and the map of each node has its pods.
    wait_until("the events have the counts", || {
        sources.iter().enumerate().all(|(index, (bad, _))| {
            let told = cluster
                .control()
                .kubectl(&["describe", "pod", &format!("source-{index}")])
                .unwrap_or_default();
            told.lines()
                .any(|line| line.contains("SpoofedSource") && line.contains(&format!("spoofed-ipv4 {bad}")))
        })
    })
    .unwrap_or_else(|error| {
        panic!("{error:#}\n{}", cluster.control().kubectl(&["describe", "pods"]).unwrap())
    });
    for node in cluster.nodes() {
        let path = format!("/apis/portcullis.dev/v1alpha1/endpointmaps/{}", node.name());
        let object = || cluster.control().get(&path).unwrap();
        // It is written every ten seconds at most.
        wait_until(&format!("the map of {} has its pods", node.name()), || {
            let object = object();
            let rows = object["status"]["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
            let bound = |row: &&Value| row["state"] == "bound" && row["namespace"] == "default";
            rows.iter().filter(bound).count() >= sources.len() / nodes
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{:#}", object()));
    }
    println!("{}", cluster.control().kubectl(&["get", "endpointmaps"]).unwrap());
}
