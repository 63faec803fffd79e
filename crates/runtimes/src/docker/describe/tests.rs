use std::net::IpAddr;

use portcullis_inventory::{Address, LinkKind, Scope};

use super::*;
use crate::resolve::HostSide;

fn bridge(index: u32) -> HostInterface {
    HostInterface { netns: 1, netns_path: None, index, name: format!("br{index}") }
}

fn claim(network: &str, on: Option<u32>, mac: &str, address: &str) -> Claim {
    Claim::new(network, on.map(bridge), mac, [address, ""]).unwrap()
}

fn link(name: &str, kind: LinkKind, master: Option<u32>, mac: &str, address: &str) -> InsideLink {
    let pair = kind.is_pair();
    let ip: IpAddr = address.parse().unwrap();
    let interface = HostInterface { netns: 1, netns_path: None, index: 9, name: format!("veth-{name}") };
    InsideLink {
        name: name.into(),
        index: 2,
        mac: mac.parse().ok(),
        kind,
        up: true,
        addresses: vec![Address {
            ifindex: 2,
            ip,
            prefix_len: 24,
            scope: Scope::Global,
            tentative: false,
            dad_failed: false,
            protocol: 0,
        }],
        host: pair.then_some(HostSide { interface, master }),
        outside: pair,
    }
}

fn placed(claims: Vec<Claim>, links: Vec<InsideLink>) -> (Vec<(String, String)>, Option<String>) {
    let (found, trouble) = place(claims, links, Path::new("/run/netns/x"));
    (found.into_iter().map(|a| (a.network.unwrap(), a.inside.unwrap())).collect(), trouble)
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(network, inside)| ((*network).to_owned(), (*inside).to_owned())).collect()
}

const M1: &str = "02:00:00:00:00:01";
const M2: &str = "02:00:00:00:00:02";

#[test]
fn the_bridge_decides_before_what_the_workload_could_have_set() {
    // Inside, each interface pretends to be the other.
    let links = || {
        vec![
            link("eth0", LinkKind::Veth, Some(11), M2, "10.0.2.2"),
            link("eth1", LinkKind::Veth, Some(12), M1, "10.0.1.2"),
        ]
    };
    let claims = vec![claim("one", Some(11), M1, "10.0.1.2"), claim("two", Some(12), M2, "10.0.2.2")];
    assert_eq!(placed(claims, links()), (pairs(&[("one", "eth0"), ("two", "eth1")]), None));
    // A network whose bridge is not known never gets the port of one that is.
    let claims = vec![claim("one", Some(11), M1, "10.0.1.2"), claim("else", None, M2, "10.0.2.2")];
    let (found, trouble) = placed(claims, links());
    assert_eq!(found, pairs(&[("one", "eth0")]));
    assert!(trouble.unwrap().contains("\"else\""));
}

#[test]
fn mac_then_address_decide_where_no_bridge_does() {
    let links = vec![
        link("eth0", LinkKind::Macvlan, None, M1, "10.0.9.9"),
        link("eth1", LinkKind::Ipvlan, None, "02:00:00:00:00:77", "10.0.2.2"),
        link("eth2", LinkKind::Physical, None, "02:00:00:00:00:78", "10.0.3.2"),
    ];
    let claims = vec![claim("mac", None, M1, "10.0.1.2"), claim("ip", None, "", "10.0.2.2")];
    assert_eq!(placed(claims, links), (pairs(&[("mac", "eth0"), ("ip", "eth1")]), None));
}

#[test]
fn two_interfaces_on_one_bridge_are_told_apart_or_left() {
    let links = || {
        vec![
            link("eth0", LinkKind::Veth, Some(11), M1, "10.0.1.2"),
            link("eth1", LinkKind::Veth, Some(11), M2, "10.0.1.3"),
        ]
    };
    assert_eq!(placed(vec![claim("n", Some(11), "", "10.0.1.3")], links()).0, pairs(&[("n", "eth1")]));
    let (found, trouble) = placed(vec![claim("n", Some(11), "", "10.0.1.4")], links());
    assert!(found.is_empty() && trouble.is_some());
}

#[test]
fn a_pair_without_its_other_end_is_trouble() {
    let mut lost = link("eth0", LinkKind::Veth, Some(11), M1, "10.0.1.2");
    lost.host = None;
    let (found, trouble) = placed(vec![claim("n", None, M1, "10.0.1.2")], vec![lost]);
    assert!(found.is_empty());
    assert!(trouble.unwrap().contains("eth0"));
}

#[test]
fn claims_are_read_strictly() {
    let claim = |mac: &str, addresses| Claim::new("n", None, mac, addresses);
    let good = claim(M1, ["172.17.0.2/16", "fd00::2/64"]).unwrap();
    assert_eq!(good.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["172.17.0.2", "fd00::2"]);
    assert!(claim("", ["", ""]).unwrap().is_empty());
    assert!(claim(M1, ["fe80::1", ""]).unwrap().addresses.is_empty(), "those are learned");
    for (mac, address) in
        [("x", ""), ("ff:ff:ff:ff:ff:ff", ""), (M1, "0.0.0.0"), (M1, "224.0.0.1"), (M1, "10.0.0")]
    {
        let error = claim(mac, [address, ""]).unwrap_err();
        assert!(!error.contains('\n') && error.contains("\"n\""), "{error}");
    }
}

#[test]
fn modes() {
    for (text, expected) in [
        ("", Mode::Own),
        ("default", Mode::Own),
        ("bridge", Mode::Own),
        ("host", Mode::Host),
        ("none", Mode::None),
        ("container:web", Mode::Of("web")),
        ("ns:/run/netns/x", Mode::Own),
    ] {
        assert_eq!(mode(text), expected, "{text}");
    }
}

#[test]
fn labels_are_bounded() {
    let mut container = bare(Kind::Docker, "id", "/web\u{1b}[31m");
    assert_eq!(container.name, "web?[31m");
    let labels: BTreeMap<String, String> =
        (0..1000).map(|n| (format!("k{n:04}"), "v".repeat(1000))).collect();
    dress(&mut container, "image", &labels);
    let size: usize = container.workload.labels.iter().map(|(k, v)| k.len() + v.len()).sum();
    assert!(size <= LABELS_CHARS && container.workload.labels.len() > 50, "{size}");
}
