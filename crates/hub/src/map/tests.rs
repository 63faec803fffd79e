use std::net::IpAddr;

use portcullis_kubernetes::crd::{EndpointMapStatus, EndpointRow, Offender};
use portcullis_policy::api::MapState;
use portcullis_policy::model::Mode;

use super::*;

pub fn uid(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

pub fn endpoint(namespace: &str, pod: &str, n: u32, address: &str) -> EndpointRow {
    EndpointRow {
        name: Some(format!("{namespace}/{pod}")),
        namespace: Some(namespace.into()),
        pod: Some(pod.into()),
        uid: Some(uid(n)),
        container: Some(format!("{n:064x}")),
        interface: Some(format!("veth{n:08x}")),
        addresses: vec![address.into()],
        macs: vec![format!("02:00:00:00:{:02x}:{:02x}", n >> 8 & 255, n & 255)],
        mode: Some(Mode::Enforce),
        state: MapState::Bound,
        message: None,
        policies: vec!["strict".into()],
        response: None,
        conflicts: vec![],
    }
}

fn node(name: &str, rows: Vec<EndpointRow>) -> NodeMap {
    NodeMap::new(name, Some(EndpointMapStatus { endpoints: rows, ..EndpointMapStatus::default() }))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pods(store: &Store, address: &str) -> Vec<String> {
    store.of_address(ip(address)).map(|(map, row)| format!("{} {}", map.node, row.title())).collect()
}

#[test]
fn indices_follow_what_nodes_say() {
    let mut store = Store::default();
    store
        .put(node("n1", vec![endpoint("shop", "web", 1, "10.0.1.1"), endpoint("shop", "db", 2, "10.0.1.2")]));
    store.put(node("n2", vec![endpoint("shop", "api", 3, "10.0.2.1")]));
    assert_eq!(pods(&store, "10.0.1.2"), ["n1 shop/db"]);
    assert_eq!(store.of_pod(&uid(3)).count(), 1);
    // The pod is gone, and another one has its address.
    store.put(node("n1", vec![endpoint("shop", "new", 4, "10.0.1.2")]));
    assert_eq!(pods(&store, "10.0.1.2"), ["n1 shop/new"]);
    assert!(pods(&store, "10.0.1.1").is_empty() && store.of_pod(&uid(1)).next().is_none());
    store.forget("n1");
    assert!(pods(&store, "10.0.1.2").is_empty());
    assert_eq!(store.nodes().count(), 1);
    store.replace(vec![node("n3", vec![endpoint("shop", "x", 5, "fd00::5")])]);
    assert_eq!(store.nodes().map(|(name, _)| name.to_string()).collect::<Vec<_>>(), ["n3"]);
    assert_eq!(pods(&store, "fd00::5"), ["n3 shop/x"]);
}

#[test]
fn a_node_without_an_agent_is_there_and_one_without_anything_is_not() {
    let mut store = Store::default();
    store.replace_nodes(&["a".to_owned(), "b".to_owned()].into());
    store.put(node("c", vec![]));
    let state = |store: &Store| -> Vec<(String, bool, bool)> {
        store.nodes().map(|(name, entry)| (name.to_string(), entry.map.is_some(), entry.exists)).collect()
    };
    assert_eq!(
        state(&store),
        [("a".into(), false, true), ("b".into(), false, true), ("c".into(), true, false)]
    );
    store.replace_nodes(&["a".to_owned()].into());
    store.forget("c");
    assert_eq!(state(&store), [("a".into(), false, true)]);
}

#[test]
fn an_address_on_two_nodes_is_a_contradiction_that_shows() {
    let mut store = Store::default();
    let host = |n| EndpointRow {
        state: MapState::HostNetwork,
        ..endpoint("kube-system", "proxy", n, "192.168.0.1")
    };
    store.put(node(
        "n1",
        vec![endpoint("shop", "web", 1, "10.0.0.1"), host(8), endpoint("shop", "l", 11, "169.254.1.1")],
    ));
    store.put(node(
        "n2",
        vec![endpoint("shop", "api", 2, "10.0.0.1"), host(9), endpoint("shop", "m", 12, "169.254.1.1")],
    ));
    assert_eq!(store.shared().collect::<Vec<_>>(), [ip("10.0.0.1")]);
    let row = store.rows_of("n1", |row| row.pod.as_deref() == Some("web")).next().unwrap();
    assert_eq!(row.of.message.as_deref(), Some("its address 10.0.0.1 is also that of shop/api on n2"));
    // A policy gives it to all of them.
    store.set_common(vec!["10.0.0.0/30".parse().unwrap()]);
    assert_eq!(store.shared().count(), 0);
    store.set_common(vec![]);
    store.put(node("n2", vec![]));
    assert_eq!(store.shared().count(), 0);
}

#[test]
fn a_claim_agrees_only_if_all_of_it_is_one_pods() {
    let mut store = Store::default();
    store
        .put(node("n1", vec![endpoint("shop", "web", 1, "10.0.1.1"), endpoint("shop", "db", 2, "10.0.1.2")]));
    store.put(node("n2", vec![endpoint("shop", "api", 3, "10.0.2.1")]));
    let claim = |address: &str, container: &str, interface: &str, node: &str| {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let address = text(address).map(|address| ip(&address));
        store.agreement(&Claim {
            address,
            container: text(container),
            interface: text(interface),
            node: text(node),
        })
    };
    let finding = |address: &str, container: &str, interface: &str, node: &str| {
        claim(address, container, interface, node).finding
    };
    let (web, db) = (format!("{:064x}", 1), format!("{:064x}", 2));
    assert_eq!(finding("10.0.1.1", &web, "veth00000001", "n1"), Finding::Agrees);
    assert_eq!(finding("10.0.1.1", "", "", ""), Finding::Agrees);
    assert_eq!(finding("10.0.1.1", &db, "", ""), Finding::Differs);
    assert_eq!(finding("10.0.1.1", &web, "veth00000002", ""), Finding::Differs);
    assert_eq!(finding("10.0.1.1", &web, "", "n2"), Finding::Differs);
    assert_eq!(finding("10.9.9.9", "", "", ""), Finding::Unknown);
    assert_eq!(finding("", &uid(3), "", ""), Finding::Agrees);
    assert_eq!(finding("", "", "veth00000003", "n2"), Finding::Agrees);
    assert_eq!(finding("", "", "veth00000003", "n1"), Finding::Unknown);
    let told = claim("10.0.1.1", &db, "", "");
    assert_eq!(told.rows.len(), 2);
    assert!(told.message.contains("shop/web on n1, shop/db on n1"), "{}", told.message);
}

#[test]
fn digests_count_pods_not_attachments() {
    let mut second = endpoint("shop", "web", 1, "10.1.0.1");
    second.interface = Some("net1".into());
    let other = EndpointRow {
        policies: vec![],
        mode: None,
        state: MapState::Held,
        ..endpoint("a", "b", 7, "10.0.0.7")
    };
    let map = node(
        "n1",
        vec![endpoint("shop", "web", 1, "10.0.0.1"), second, endpoint("shop", "db", 2, "10.0.0.2"), other],
    );
    let (matched, standing) = Digest::sum([&map.digest, &map.digest].into_iter());
    assert_eq!(matched.len(), 1);
    assert_eq!((matched[0].pods, &*matched[0].example), (4, "shop/web"));
    assert_eq!(standing.into_iter().collect::<Vec<_>>(), [(("", "held"), 2), (("enforce", "bound"), 6)]);
}

#[test]
fn an_object_of_the_api_is_read_and_nonsense_in_it_is_left_out() {
    let object = serde_json::json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "EndpointMap", "metadata": {"name": "n1", "managedFields": []},
        "spec": {"node": "n1"},
        "status": {"endpoints": [{"name": "a/b", "namespace": "a", "pod": "b", "addresses": ["10.0.0.1", "nonsense"],
            "macs": ["02:00:00:00:00:01", "x"], "state": "bound"}],
            "offenders": [{"namespace": "a", "pod": "b", "uid": "u", "endpoint": "a/b", "attempts": 10, "threshold": 10,
                "window": "60s", "policy": "strict", "time": "2026-11-21T10:00:00Z"}]}
    });
    let map: NodeMap = serde_json::from_value(object).unwrap();
    assert_eq!((map.rows[0].addresses.len(), map.rows[0].macs.len()), (1, 1));
    let offenders: Vec<&Offender> = map.offenders.iter().collect();
    assert_eq!(offenders[0].pod, "b");
    let empty: NodeMap =
        serde_json::from_str(r#"{"metadata": {"name": "n2"}, "spec": {"node": "n2"}}"#).unwrap();
    assert!(!empty.told && map.told);
    assert!(map.rows[0].is_called("a/b") && !map.rows[0].is_called("b"));
}
