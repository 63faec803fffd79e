use portcullis_inventory::Address;
use portcullis_policy::container::HostInterface;

use super::*;
use crate::resolve::HostSide;

const NETNS: &str = "/run/netns/pod";

struct Case {
    hosts: HostSpaces,
    told: Vec<Told>,
    kept: Vec<Attachment>,
    fresh: bool,
}

impl Case {
    fn new(told: Vec<Told>) -> Self {
        let hosts = HostSpaces::new(None).expect("our own namespace");
        Self { hosts, told, kept: Vec::new(), fresh: false }
    }

    fn run(&self, links: &[InsideLink]) -> Found {
        let search = Search {
            told: &self.told,
            kept: &self.kept,
            fresh: self.fresh,
            netns: Path::new(NETNS),
            hosts: &self.hosts,
            network: &|inside| (inside == "eth0").then(|| "pods".to_owned()),
        };
        search.run(links)
    }

    /// A veth whose host side is on the host, with an address inside.
    fn veth(&self, name: &str, host: u32, ip: &str) -> InsideLink {
        let netns = self.hosts.runtime().id.0;
        let interface = HostInterface { netns, netns_path: None, index: host, name: format!("veth{host}") };
        InsideLink {
            host: Some(HostSide { interface, master: None }),
            ..link(name, LinkKind::Veth, true, ip)
        }
    }
}

fn link(name: &str, kind: LinkKind, outside: bool, ip: &str) -> InsideLink {
    let address = |ip: &str| Address {
        ifindex: 2,
        ip: ip.parse().expect("an address"),
        prefix_len: 24,
        scope: Scope::Global,
        tentative: false,
        dad_failed: false,
        protocol: 0,
    };
    InsideLink {
        name: name.into(),
        index: 2,
        mac: Some("02:00:00:00:00:07".parse().expect("a MAC")),
        kind,
        up: true,
        addresses: if ip.is_empty() { Vec::new() } else { vec![address(ip)] },
        host: None,
        outside,
    }
}

fn told(name: &str, ip: &str) -> Told {
    Told { name: name.into(), addresses: vec![ip.parse().expect("an address")], mac: None }
}

/// Inside, host side, addresses.
fn shown(found: &Found) -> Vec<(String, Option<u32>, String)> {
    let one = |attachment: &Attachment| {
        let host = match &attachment.place {
            AttachmentPlace::Pair { host } => Some(host.index),
            _ => None,
        };
        let addresses: Vec<String> = attachment.addresses.iter().map(ToString::to_string).collect();
        (attachment.inside.clone().unwrap_or_default(), host, addresses.join(" "))
    };
    found.0.iter().map(one).collect()
}

#[test]
fn what_the_runtime_tells_is_taken_from_it() {
    let case = Case::new(vec![told("eth0", "10.0.0.2"), told("net1", "10.1.0.2")]);
    // The workload has given itself other addresses meanwhile.
    let found = case.run(&[case.veth("net1", 12, "10.1.0.66"), case.veth("eth0", 11, "10.0.0.66")]);
    assert_eq!(
        shown(&found),
        [("eth0".into(), Some(11), "10.0.0.2".into()), ("net1".into(), Some(12), "10.1.0.2".into())]
    );
    assert_eq!(found.0[0].network.as_deref(), Some("pods"));
    assert_eq!(found.1, None);
}

#[test]
fn a_name_inside_cannot_take_the_binding_along() {
    let mut case = Case::new(vec![told("eth0", "10.0.0.2")]);
    let dummy = link("eth0", LinkKind::Dummy, false, "10.0.0.2");
    let renamed = [dummy, case.veth("hidden", 11, "10.0.0.2")];
    let expected = [("eth0".to_owned(), Some(11), "10.0.0.2".to_owned())];
    assert_eq!(shown(&case.run(&renamed)), expected);
    // The same where it was found under its first name before, and another comes in its place.
    case.kept = case.run(&[case.veth("eth0", 11, "10.0.0.2")]).0;
    let swapped = [case.veth("eth0", 99, "10.0.0.2"), case.veth("hidden", 11, "10.0.0.2")];
    let found = case.run(&swapped);
    assert_eq!(shown(&found), expected);
    assert!(found.1.is_some_and(|trouble| trouble.contains("interface eth0")));
}

#[test]
fn addresses_that_nobody_tells_are_read_at_the_creation_only() {
    let mut case = Case::new(vec![told("eth0", "10.0.0.2")]);
    let links = [case.veth("eth0", 11, "10.0.0.2"), case.veth("net1", 12, "10.1.0.2")];
    let (found, trouble) = case.run(&links);
    assert_eq!(found.len(), 1);
    assert!(trouble.is_some_and(|trouble| trouble.contains("net1")));
    case.fresh = true;
    let (found, trouble) = case.run(&links);
    assert_eq!((found.len(), trouble), (2, None));
    // Later they hold, whatever the workload does.
    (case.fresh, case.kept) = (false, found);
    let later = case.run(&[case.veth("eth0", 11, "10.0.0.3"), case.veth("net9", 12, "10.0.0.9")]);
    let expected =
        [("eth0".into(), Some(11), "10.0.0.2".into()), ("net1".into(), Some(12), "10.1.0.2".into())];
    assert_eq!((shown(&later), later.1), (expected.to_vec(), None));
}

#[test]
fn what_the_workload_made_itself_does_not_count() {
    let mut case = Case::new(vec![told("eth0", "10.0.0.2")]);
    case.fresh = true;
    let mut nested = case.veth("veth-nested", 2, "172.17.0.1");
    if let Some(host) = &mut nested.host {
        host.interface.netns = 7;
    }
    let links = [
        case.veth("eth0", 11, "10.0.0.2"),
        nested,
        link("docker0", LinkKind::Bridge, false, "172.17.0.1"),
        link("own", LinkKind::Macvlan, false, "10.0.0.9"),
        link("wg0", LinkKind::Wireguard, false, "10.9.0.2"),
        link("v0", LinkKind::Veth, false, "10.9.0.3"),
    ];
    let found = case.run(&links);
    assert_eq!((found.0.len(), found.1.clone()), (1, None), "{found:?}");
}

#[test]
fn a_macvlan_is_bound_from_inside() {
    let case = Case::new(vec![told("eth0", "10.0.0.2")]);
    let (found, trouble) = case.run(&[link("eth0", LinkKind::Macvlan, true, "10.0.0.2")]);
    let place =
        AttachmentPlace::Inside { kind: "macvlan".into(), netns: NETNS.into(), interface: "eth0".into() };
    assert_eq!((found[0].place.clone(), trouble), (place, None));
}

#[test]
fn an_interface_that_is_missing_is_said() {
    let case = Case::new(vec![told("eth0", "10.0.0.2")]);
    let (found, trouble) = case.run(&[link("eth0", LinkKind::Veth, true, "10.0.0.2")]);
    assert_eq!(found, []);
    assert!(trouble.is_some_and(|trouble| trouble.contains("eth0")));
}

#[test]
fn a_mac_that_was_changed_by_a_later_plugin_is_learned() {
    let mac = "02:00:00:00:00:99".parse().expect("a MAC");
    let mut case = Case::new(vec![Told { mac: Some(mac), ..told("eth0", "10.0.0.2") }]);
    assert_eq!(case.run(&[case.veth("eth0", 11, "")]).0[0].macs, [mac]);
    case.fresh = true;
    assert_eq!(case.run(&[case.veth("eth0", 11, "")]).0[0].macs, []);
}
