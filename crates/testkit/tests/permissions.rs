//! Each permission opens what it names and nothing else; prefixes bind what is in them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;

use common::{reaches_the_gate, send};
use portcullis_abi::{Ipv4, Ipv6};
use portcullis_probe::{Identity, SendVia, suite};
use portcullis_testkit::{Agent, Lab, forge_udp4, forge_udp6, tagged_payload, wait_for};

/// Cases that are dropped without these arguments and pass with them, or the reverse.
fn changed(lab: &Lab, agent: &Agent, arguments: &[&str], honest: bool) -> BTreeSet<&'static str> {
    agent.bind("attacker", lab.container(1), arguments).unwrap();
    let identity =
        Identity { far_mac: lab.container(3).mac(), ..lab.container(1).identity(lab.container(2)) };
    let counters = || agent.endpoint("attacker").unwrap().counters;
    let mut changed = BTreeSet::new();
    let mut before = counters();
    for case in suite(&identity).iter().filter(|case| case.via == SendVia::Raw && reaches_the_gate(case)) {
        if case.expect.is_pass() != honest {
            continue;
        }
        send(lab.container(1).namespace(), case).unwrap();
        let frames = case.frames.len() as u64;
        let enough = before.allowed.packets + before.dropped.packets + frames;
        let after = wait_for("the frames to be counted", || {
            Some(counters()).filter(|now| now.allowed.packets + now.dropped.packets >= enough)
        })
        .unwrap();
        let expected = if honest { 0 } else { frames };
        if after.dropped.packets - before.dropped.packets != expected {
            changed.insert(case.id);
        }
        before = after;
    }
    changed
}

fn opens(arguments: &[&str], cases: &[&str]) {
    let lab = Lab::new(3).unwrap();
    let agent = Agent::start(&lab).unwrap();
    assert_eq!(changed(&lab, &agent, arguments, false), cases.iter().copied().collect(), "{arguments:?}");
}

#[test]
fn dhcp_client() {
    opens(&["--allow", "dhcp-client"], &["dhcp4-discover"]);
}

#[test]
fn dhcp_server() {
    let cases = [
        "dhcp4-ack-unicast",
        "dhcp4-offer",
        "dhcp4-offer-behind-options",
        "dhcp4-offer-first-fragment",
        "dhcp4-port-547",
        "dhcp6-advertise",
        "dhcp6-port-67",
        "dhcp6-reply-atomic-fragment",
        "dhcp6-reply-behind-ah",
        "dhcp6-reply-behind-destination",
        "dhcp6-reply-behind-hop-by-hop",
        "dhcp6-reply-first-fragment",
    ];
    opens(&["--allow", "dhcp-server"], &cases);
}

#[test]
fn router() {
    let cases = [
        "ra",
        "ra-behind-destination",
        "ra-behind-hop-by-hop",
        "ra-unicast",
        "ra-with-prefix",
        "redirect",
        "redirect-behind-destination",
    ];
    opens(&["--allow", "router"], &cases);
}

#[test]
fn vlans() {
    let honest = ["vlan-0-honest", "vlan-0-honest-arp", "vlan-4095", "vlan-42", "vlan-service-42"];
    opens(&["--allow", "any-vlan"], &honest);
    opens(&["--vlan", "42"], &["vlan-42", "vlan-service-42"]);
}

#[test]
fn ethertypes() {
    opens(&["--ethertype", "0x88cc"], &["ethertype-lldp"]);
}

#[test]
fn tunnels() {
    let cases = [
        "tunnel4-6in4",
        "tunnel4-geneve",
        "tunnel4-gre",
        "tunnel4-ipip",
        "tunnel4-vxlan",
        "tunnel4-vxlan-behind-options",
        "tunnel4-vxlan-linux",
        "tunnel4-wireguard",
        "tunnel6-4in6",
        "tunnel6-6in6",
        "tunnel6-gre",
        "tunnel6-vxlan",
        "tunnel6-wireguard-behind-destination",
    ];
    opens(&["--allow", "tunnel"], &cases);
}

#[test]
fn source_routes_can_be_refused() {
    let lab = Lab::new(3).unwrap();
    let agent = Agent::start(&lab).unwrap();
    let refused = changed(&lab, &agent, &["--allow", "no-source-route"], true);
    assert_eq!(refused, BTreeSet::from(["ipv4-option-longest", "ipv4-option-source-route"]));
}

#[test]
fn a_prefix_binds_what_is_in_it_and_nothing_beside_it() {
    let lab = Lab::new(3).unwrap();
    let agent = Agent::start(&lab).unwrap();
    let router = lab.container(1);
    agent.bind("router", router, &["--address", "10.99.16.0/20,2001:db8:77::/64"]).unwrap();
    let far = lab.container(3);
    let v4 = |a: [u8; 4]| forge_udp4((router.mac(), Ipv4(a)), (far.mac(), far.ipv4()), b"prefix-mark");
    let v6 = |subnet: u8, last: u8| {
        let address = Ipv6([0x20, 1, 0x0d, 0xb8, 0, 0x77, 0, subnet, 0, 0, 0, 0, 0, 0, 1, last]);
        forge_udp6((router.mac(), address), (far.mac(), far.ipv6()), b"prefix-mark")
    };
    let inside = [v4([10, 99, 16, 0]), v4([10, 99, 31, 254]), v4([10, 77, 0, 11]), v6(0, 0), v6(0, 255)];
    // The last one is its broadcast address, which nobody sends from.
    let beside_v4 = [[10, 99, 15, 255], [10, 99, 32, 0], [10, 77, 0, 12], [10, 99, 31, 255]].map(v4);
    let beside_v6 = [v6(1, 0), v6(0xff, 1)];
    let arrived = far.listen(tagged_payload(b"prefix-mark")).unwrap();
    for frame in beside_v4.iter().chain(&beside_v6).chain(&inside) {
        router.send_raw(frame).unwrap();
    }
    arrived.wait_for(5).unwrap();
    let reasons = agent.reasons("router").unwrap();
    assert_eq!(reasons.get("spoofed-ipv4"), Some(&4), "{reasons:?}");
    assert_eq!(reasons.get("spoofed-ipv6"), Some(&2), "{reasons:?}");
    assert_eq!(arrived.stop().unwrap(), 5);
}
