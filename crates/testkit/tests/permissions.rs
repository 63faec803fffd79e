//! Each permission opens what it names and nothing else; prefixes bind what is in them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;

use common::{reaches_the_gate, send};
use portcullis_abi::{Ipv4, Ipv6};
use portcullis_probe::{Identity, SendVia, suite};
use portcullis_testkit::{Agent, Lab, forge_udp4, forge_udp6, wait_until};

/// Cases whose verdict with these arguments is another than without.
fn changed(lab: &Lab, agent: &Agent, arguments: &[&str]) -> BTreeSet<&'static str> {
    agent.bind("attacker", lab.container(1), arguments).unwrap();
    let identity = Identity { far_mac: lab.container(3).mac(), ..lab.container(1).identity(lab.container(2)) };
    let mut changed = BTreeSet::new();
    for case in suite(&identity).iter().filter(|case| case.via == SendVia::Raw && reaches_the_gate(case)) {
        let dropped = || agent.endpoint("attacker").unwrap().counters.dropped.packets;
        let seen = || {
            let counters = agent.endpoint("attacker").unwrap().counters;
            counters.allowed.packets + counters.dropped.packets
        };
        let (before, total) = (dropped(), seen());
        send(lab.container(1).namespace(), case).unwrap();
        let frames = case.frames.len() as u64;
        wait_until("the frames to be counted", || seen() >= total + frames).unwrap();
        let expected = if case.expect.is_pass() { 0 } else { frames };
        if dropped() - before != expected {
            changed.insert(case.id);
        }
    }
    changed
}

#[test]
fn each_permission_opens_what_it_names() {
    let lab = Lab::new(3).unwrap();
    let agent = Agent::start(&lab).unwrap();
    for p in ["dhcp-client", "dhcp-server", "router", "any-vlan", "any-ethertype", "tunnel", "no-source-route"] {
        eprintln!("{p}: {:?}", changed(&lab, &agent, &["--allow", p]));
    }
    eprintln!("vlan 42: {:?}", changed(&lab, &agent, &["--vlan", "42"]));
    eprintln!("ethertype: {:?}", changed(&lab, &agent, &["--ethertype", "0x88cc"]));
    eprintln!("none: {:?}", changed(&lab, &agent, &[]));
}
