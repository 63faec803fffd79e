use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::cri::wire::{PodIp, PodSandboxNetworkStatus};

fn read(ips: &[&str], info: &str) -> Facts {
    let network = ips.split_first().map(|(first, more)| PodSandboxNetworkStatus {
        ip: (*first).to_owned(),
        additional_ips: more.iter().map(|ip| PodIp { ip: (*ip).to_owned() }).collect(),
    });
    let status = PodSandboxStatus { id: "a1".into(), network, ..PodSandboxStatus::default() };
    let info = HashMap::from([("info".to_owned(), info.to_owned())]);
    let answer = PodSandboxStatusResponse { status: None, info };
    Facts::read(&answer, &status)
}

fn shown(told: &Told) -> (String, Vec<String>, Option<String>) {
    let addresses = told.addresses.iter().map(ToString::to_string).collect();
    (told.name.clone(), addresses, told.mac.map(|mac| mac.to_string()))
}

/// As containerd 1.6 tells it.
fn containerd() -> Value {
    json!({
        "pid": 4711,
        "netNamespaceClosed": false,
        "runtimeSpec": {"linux": {"namespaces": [
            {"type": "pid"}, {"type": "network", "path": "/var/run/netns/cni-0bc5"}]}},
        "cniResult": {"Interfaces": {
            "eth0": {"IPConfigs": [{"IP": "10.88.0.2", "Gateway": "10.88.0.1"}, {"IP": "fd00:88::2"}],
                     "Mac": "3a:31:77:c1:4b:22", "Sandbox": "/var/run/netns/cni-0bc5"},
            "cni0": {"IPConfigs": null, "Mac": "e2:f1:9d:3e:b7:0b", "Sandbox": ""},
            "lo": {"IPConfigs": [{"IP": "127.0.0.1"}], "Mac": "00:00:00:00:00:00", "Sandbox": "/x"},
            "net1": {"IPConfigs": [{"IP": "192.0.2.7"}], "Mac": "", "Sandbox": "/var/run/netns/cni-0bc5"},
            "veth4f9c97e5": {"IPConfigs": null, "Mac": "66:a2:30:a7:75:55", "Sandbox": ""}}}
    })
}

#[test]
fn containerd_tells_every_interface() {
    let facts = read(&["10.88.0.2", "fd00:88::2"], &containerd().to_string());
    assert_eq!(facts.netns, [PathBuf::from("/var/run/netns/cni-0bc5"), "/proc/4711/ns/net".into()]);
    let interfaces: Vec<_> = facts.interfaces.iter().map(shown).collect();
    let eth0 =
        ("eth0".into(), vec!["10.88.0.2".into(), "fd00:88::2".into()], Some("3a:31:77:c1:4b:22".into()));
    let net1 = ("net1".into(), vec!["192.0.2.7".into()], None);
    assert_eq!(interfaces, [eth0, net1]);
}

#[test]
fn crio_tells_in_an_annotation() {
    let result = json!({"cniVersion": "1.0.0",
        "interfaces": [{"name": "bridge", "mac": "ce:64:08:76:88:6a"}, {"name": "veth71b0e931"},
            {"name": "eth0", "mac": "fe:06:00:f8:2f:4d", "sandbox": "/var/run/netns/dec735d1"}],
        "ips": [{"interface": 2, "address": "10.244.0.3/16", "gateway": "10.244.0.1"}]});
    let info = json!({"image": "pause", "pid": 12, "runtimeSpec": {
        "annotations": {"io.kubernetes.cri-o.CNIResult": result.to_string()},
        "linux": {"namespaces": [{"type": "network", "path": "/var/run/netns/dec735d1"}]}}});
    let facts = read(&["10.244.0.3", "fd00::3"], &info.to_string());
    assert_eq!(facts.netns[0], PathBuf::from("/var/run/netns/dec735d1"));
    let interfaces: Vec<_> = facts.interfaces.iter().map(shown).collect();
    let addresses = vec!["10.244.0.3".into(), "fd00::3".into()];
    assert_eq!(interfaces, [("eth0".into(), addresses, Some("fe:06:00:f8:2f:4d".into()))]);
    // Without the status, the annotation's own addresses.
    let told = read(&[], &info.to_string()).interfaces;
    assert_eq!(shown(&told[0]).1, ["10.244.0.3"]);
}

#[test]
fn the_interface_alone_suffices() {
    for ips in [&["fd00::7"][..], &["10.0.0.7", "fd00::7"]] {
        let facts = read(ips, "");
        assert_eq!(facts.interfaces.len(), 1);
        assert_eq!(
            (facts.interfaces[0].name.as_str(), shown(&facts.interfaces[0]).1),
            ("eth0", ips.iter().map(|ip| (*ip).to_owned()).collect())
        );
        assert!(facts.netns.is_empty());
    }
    assert_eq!(read(&[], "{}").interfaces, []);
    assert_eq!(read(&[""], "{}").interfaces, []);
}

#[test]
fn what_no_binding_can_hold_is_left_out() {
    let texts = [
        "10.0.0.7",
        "10.0.0.7",
        "0.0.0.0",
        "127.0.0.1",
        "fe80::1",
        "ff02::1",
        "not an address",
        "10.0.0.8/16",
    ];
    let bindings: Vec<String> = bindings(texts.into_iter()).iter().map(ToString::to_string).collect();
    assert_eq!(bindings, ["10.0.0.7", "10.0.0.8"]);
}

#[test]
fn an_odd_process_or_path_is_none() {
    for info in [
        "{\"pid\":0}",
        "{\"pid\":1}",
        "{\"pid\":-3}",
        "{\"pid\":\"x\"}",
        "[]",
        "7",
        "{\"runtimeSpec\":{\"linux\":{\"namespaces\":[{\"type\":\"network\",\"path\":\"x\"}]}}}",
    ] {
        assert_eq!(read(&[], info).netns, Vec::<PathBuf>::new(), "{info}");
    }
}

#[test]
fn labels_are_bounded() {
    let labels = (0..1000).map(|number| (format!("key{number}"), "value".to_owned()));
    let odd = [("escape\u{1b}".to_owned(), "x".to_owned()), ("long".to_owned(), "x".repeat(400))];
    let status = PodSandboxStatus { labels: labels.chain(odd).collect(), ..PodSandboxStatus::default() };
    let facts = Facts::read(&PodSandboxStatusResponse::default(), &status);
    assert_eq!(facts.labels.len(), MOST_LABELS);
    let again = status.labels.clone().into_iter().collect();
    let again = PodSandboxStatus { labels: again, ..PodSandboxStatus::default() };
    assert_eq!(Facts::read(&PodSandboxStatusResponse::default(), &again).labels, facts.labels);
    assert!(!facts.labels.contains_key("long") && !facts.labels.contains_key("escape\u{1b}"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        "(10\\.0\\.0\\.[0-9]|fd00::[0-9]|/proc|network|eth0|lo|)".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let keys =
            "(pid|runtimeSpec|linux|namespaces|type|path|cniResult|Interfaces|eth0|IPConfigs|IP|Sandbox|Mac)";
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(keys, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_that_a_runtime_tells_is_too_odd(info in any_json(), ips in proptest::collection::vec(".{0,20}", 0..5)) {
        let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
        let facts = read(&ips, &info.to_string());
        prop_assert!(facts.interfaces.len() <= MOST_INTERFACES);
        prop_assert!(facts.netns.iter().all(|path| path.is_absolute()));
        prop_assert!(facts.interfaces.iter().all(|told| told.name != "lo"));
    }
}
