//! What the map of the largest cluster takes: 5,000 nodes with 110 pods each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use portcullis_hub::map::{NodeMap, Store};
use portcullis_kubernetes::crd::{EndpointMapStatus, EndpointRow};
use portcullis_policy::api::MapState;
use portcullis_policy::model::Mode;

/// The largest cluster that it is made for.
const LARGEST: u64 = 5_000;
const PODS: u32 = 110;
/// "Well under 1 GB", for the whole hub.
const MOST_MB: u64 = 500;

/// A tenth of them tells as much, in a tenth of the time; `PORTCULLIS_NODES=5000` measures them all.
fn nodes() -> u32 {
    std::env::var("PORTCULLIS_NODES").map_or(500, |text| text.parse().unwrap())
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn map(node: u32) -> NodeMap {
    let row = |pod: u32| {
        let (number, name) = (node * PODS + pod, format!("shop-backend-7d4f8b9c6-{node:04x}{pod:02x}"));
        EndpointRow {
            name: Some(format!("namespace-{}/{name}", pod % 40)),
            namespace: Some(format!("namespace-{}", pod % 40)),
            pod: Some(name),
            uid: Some(format!("0b5c{number:04x}-1d2e-4f3a-8b4c-{number:012x}")),
            container: Some(format!("{number:064x}")),
            interface: Some(format!("veth{number:08x}")),
            addresses: vec![
                format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255),
                format!("fd00::{:x}:{:x}", number >> 16, number & 0xffff),
            ],
            macs: vec![format!(
                "02:00:{:02x}:{:02x}:{:02x}:01",
                number >> 16 & 255,
                number >> 8 & 255,
                number & 255
            )],
            mode: Some(Mode::Enforce),
            state: MapState::Bound,
            message: None,
            policies: vec!["strict".into(), format!("team-{}", pod % 7)],
            response: None,
            conflicts: vec![],
        }
    };
    let status =
        EndpointMapStatus { endpoints: (0..PODS).map(row).collect(), ..EndpointMapStatus::default() };
    // As it comes from the API server.
    let object = serde_json::json!({"metadata": {"name": format!("node-{node}")}, "spec": {"node": ""}, "status": status});
    serde_json::from_str(&object.to_string()).unwrap()
}

#[test]
fn the_largest_cluster_fits() {
    let nodes = nodes();
    let before = resident_mb();
    let mut store = Store::default();
    (0..nodes).for_each(|node| store.put(map(node)));
    let taken = resident_mb() - before;
    let whole = taken * LARGEST / u64::from(nodes);
    println!("{nodes} nodes with {PODS} pods each take {taken} MB; {LARGEST} take {whole} MB");
    assert!(whole < MOST_MB, "{whole} MB");
    // Maps are replaced: what is not used any more is given back.
    (0..nodes).step_by(2).for_each(|node| store.put(map(node)));
    let again = (resident_mb() - before) * LARGEST / u64::from(nodes);
    println!("… and {again} MB after every second one was written once more");
    assert!(again < MOST_MB * 3 / 2, "{again} MB");
    assert_eq!(store.of_address("10.0.1.1".parse().unwrap()).count(), 1);
}
