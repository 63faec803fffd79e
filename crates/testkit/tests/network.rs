//! The network changes under bound endpoints.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use portcullis_policy::api::Event;
use portcullis_testkit::{Agent, Lab, wait_until};

#[test]
fn a_workload_that_flaps_its_addresses_hurts_nobody() {
    let lab = Lab::new(2).unwrap();
    let agent = Agent::start(&lab).unwrap();
    let (loud, quiet) = (lab.container(1), lab.container(2));
    agent.bind("loud", loud, &[]).unwrap();
    agent.bind("quiet", quiet, &[]).unwrap();
    let flaps: String = (1..=300)
        .map(|n| format!("addr add fe80::{n:x}/64 dev eth0 nodad\naddr del fe80::{n:x}/64 dev eth0\n"))
        .collect();
    loud.namespace().ip(&flaps).unwrap();
    assert!(quiet.ping("10.77.0.1", 3).unwrap().none_lost());
    assert!(loud.ping("10.77.0.1", 3).unwrap().none_lost());
    assert!(loud.ping("fd77::1", 3).unwrap().none_lost());
    let status = agent.status().unwrap();
    assert_eq!((status.endpoints.active, status.endpoints.failed), (2, 0));
    for endpoint in agent.endpoints().unwrap() {
        assert_eq!(endpoint.counters.reasons.values().sum::<u64>(), 0, "{endpoint:?}");
    }
}

#[test]
fn a_link_local_address_of_the_workloads_own_is_learned_and_a_neighbours_is_not() {
    let lab = Lab::new(2).unwrap();
    let agent = Agent::start(&lab).unwrap();
    let (one, two) = (lab.container(1), lab.container(2));
    agent.bind("one", one, &[]).unwrap();
    agent.bind("two", two, &[]).unwrap();
    let theirs = agent.endpoint("two").unwrap().learned[0].clone();
    one.namespace()
        .ip(&format!("addr add fe80::77/64 dev eth0 nodad\naddr add {theirs}/64 dev eth0 nodad"))
        .unwrap();
    wait_until("the new address", || agent.endpoint("one").unwrap().learned.contains(&"fe80::77".to_owned()))
        .unwrap();
    let learned = agent.endpoint("one").unwrap().learned;
    assert!(!learned.contains(&theirs), "{learned:?} has the neighbour's {theirs}");
}

#[test]
fn an_interface_that_joins_a_bridge_meets_its_conflicts_there() {
    let lab = Lab::new(2).unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.bind("web", lab.container(1), &[]).unwrap();
    lab.host().ip("link set veth-c2 nomaster").unwrap();
    // Another network: the address is free there.
    let bind = ["endpoint", "bind", "db", "--interface", "veth-c2", "--address", "10.77.0.11"];
    agent.cli_ok(&bind).unwrap();
    let events = agent.events().unwrap();
    lab.host().ip("link set veth-c2 master br0").unwrap();
    let conflict = |event: &Event| matches!(event, Event::Notice(notice) if notice.topic == "failed" && notice.message.contains("10.77.0.11"));
    events.wait_for("the conflict", conflict).unwrap();
    assert_eq!(agent.status().unwrap().endpoints.active, 2, "what was bound stays bound");
}
