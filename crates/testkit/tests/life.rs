//! The gate through the life of an agent: killed, stopped, restarted; interfaces coming and going.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use common::total;
use portcullis_policy::api::{Endpoint, EndpointState};
use portcullis_testkit::{
    Agent, Container, Flood, Lab, Pace, PingStream, forge_udp4, forge_udp6, tagged_payload, wait_until,
};

const TAG: &[u8] = b"life-forged";

/// Frames in web's name from mallory: IPv4, IPv6, and with web's MAC too.
fn forgeries(mallory: &Container, web: &Container, far: &Container) -> Vec<Vec<u8>> {
    vec![
        forge_udp4((mallory.mac(), web.ipv4()), (far.mac(), far.ipv4()), TAG),
        forge_udp6((mallory.mac(), web.ipv6()), (far.mac(), far.ipv6()), TAG),
        forge_udp4((web.mac(), web.ipv4()), (far.mac(), far.ipv4()), TAG),
    ]
}

fn endless(per_second: u32) -> Pace {
    Pace { per_second, time: Duration::from_secs(600), ..Pace::default() }
}

fn active(agent: &Agent, name: &str) -> Option<Endpoint> {
    agent.endpoint(name).ok().filter(|endpoint| endpoint.state == EndpointState::Active)
}

#[test]
fn nothing_leaks_and_nothing_is_lost_while_agents_die_and_come_back() {
    let lab = Lab::new(3).unwrap();
    let (mallory, web, far) = (lab.container(1), lab.container(2), lab.container(3));
    let mut agent = Agent::start(&lab).unwrap();
    for (name, container) in [("mallory", mallory), ("web", web), ("far", far)] {
        agent.bind(name, container, &[]).unwrap();
    }
    let id = agent.endpoint("mallory").unwrap().id;
    let leaks = far.listen(tagged_payload(TAG)).unwrap();
    let pings: Vec<PingStream> = [mallory, web].iter().map(|c| c.ping_stream("192.0.2.2").unwrap()).collect();
    let flood =
        Flood::start(mallory.namespace(), "eth0", forgeries(mallory, web, far), endless(4000)).unwrap();

    for round in 0..4u64 {
        flood.wait_for(flood.sent() + 1000).unwrap();
        let before = agent.endpoint("mallory").unwrap().counters;
        if round % 2 == 0 {
            agent.kill9().unwrap();
        } else {
            assert!(agent.stop().unwrap().success(), "{}", agent.log());
        }
        // Nobody is there, and the frames go on.
        flood.wait_for(flood.sent() + 2000).unwrap();
        agent.restart().unwrap();
        let endpoint = agent.endpoint("mallory").unwrap();
        assert_eq!(endpoint.id, id);
        let grown = endpoint.counters.dropped.packets - before.dropped.packets;
        assert!(grown >= 2000, "round {round}: counters went on by {grown} only");
        assert!(endpoint.counters.allowed.packets >= before.allowed.packets);
        assert_eq!(endpoint.state, EndpointState::Active);
    }

    let sent = flood.stop().unwrap();
    for stream in pings {
        let pings = stream.stop().unwrap();
        assert!(pings.none_lost(), "{pings:?}");
    }
    let count = || total(&agent.reasons("mallory").unwrap());
    wait_until("every forged frame to be counted", || count() >= sent).unwrap();
    assert_eq!(count(), sent, "counters never lose a packet, and count none twice");
    assert_eq!(leaks.stop().unwrap(), 0, "forged frames arrived");
    for innocent in ["web", "far"] {
        assert_eq!(agent.endpoint(innocent).unwrap().counters.dropped.packets, 0);
    }
}

#[test]
fn an_interface_that_vanishes_and_returns_is_bound_again() {
    let mut lab = Lab::new(3).unwrap();
    let mut agent = Agent::start(&lab).unwrap();
    for (name, number) in [("mallory", 1), ("web", 2), ("far", 3)] {
        agent.bind(name, lab.container(number), &[]).unwrap();
    }
    let mut dropped = 0;
    for round in 0..4 {
        let old = active(&agent, "mallory").unwrap().interface.index;
        if round == 3 {
            // This time while nobody looks.
            agent.kill9().unwrap();
        }
        lab.replug(1).unwrap();
        if round == 3 {
            agent.restart().unwrap();
        }
        wait_until("the binding", || active(&agent, "mallory").is_some_and(|e| e.interface.index != old))
            .unwrap();

        let (mallory, web, far) = (lab.container(1), lab.container(2), lab.container(3));
        let frames = forgeries(mallory, web, far);
        let leaks = far.listen(tagged_payload(TAG)).unwrap();
        let pace = Pace { frames: 300, ..Pace::default() };
        Flood::start(mallory.namespace(), "eth0", frames, pace).unwrap().finish().unwrap();
        dropped += 300;
        let count = || agent.endpoint("mallory").unwrap().counters.dropped.packets;
        wait_until("the drops", || count() >= dropped).unwrap();
        assert_eq!(count(), dropped, "counters go on over interfaces");
        assert_eq!(leaks.stop().unwrap(), 0);
        assert!(mallory.ping("10.77.0.13", 3).unwrap().none_lost());
    }
    // Gone for good: it waits, and says so.
    lab.remove_container(1).unwrap();
    wait_until("waiting", || agent.endpoint("mallory").unwrap().state == EndpointState::Waiting).unwrap();
    assert_eq!(agent.status().unwrap().endpoints.waiting, 1);
}

#[test]
fn hundreds_of_interfaces_come_and_go_while_mallory_forges() {
    let mut lab = Lab::new(3).unwrap();
    let agent = Agent::start(&lab).unwrap();
    for (name, number) in [("mallory", 1), ("web", 2), ("far", 3)] {
        agent.bind(name, lab.container(number), &[]).unwrap();
    }
    // Some of those to come are bound ahead.
    let ahead: Vec<serde_json::Value> = (0..60)
        .map(|k| {
            serde_json::json!({"name": format!("b{k}"), "interface": {"name": format!("b{k}")},
                "addresses": [format!("10.99.{}.{}", k / 250, 1 + k % 250)]})
        })
        .collect();
    let path = "/api/v1/endpoints?allow_missing=true";
    let (status, answer) = agent.api("POST", path, Some(&ahead.into())).unwrap();
    assert_eq!(status, 200, "{answer}");

    let (mallory, web, far) = (lab.container(1), lab.container(2), lab.container(3));
    let leaks = far.listen(tagged_payload(TAG)).unwrap();
    let frames = forgeries(mallory, web, far);
    let flood = Flood::start(mallory.namespace(), "eth0", frames, endless(2000)).unwrap();
    let stream = web.ping_stream("10.77.0.13").unwrap();
    for round in 0..4 {
        lab.add_pairs("bulk", 0, 200).unwrap();
        if round != 2 {
            wait_until("60 further bindings", || agent.status().unwrap().endpoints.active == 63).unwrap();
        }
        lab.remove_pairs(0, 200).unwrap();
    }
    wait_until("60 to wait", || agent.status().unwrap().endpoints.waiting == 60).unwrap();
    // One of them again: what is bound to it is what was asked for.
    lab.add_pairs("bulk", 7, 1).unwrap();
    wait_until("its binding", || active(&agent, "b7").is_some()).unwrap();
    let bulk = lab.namespace("bulk").unwrap();
    let mac = portcullis_abi::Mac([0x02, 0x78, 0, 0, 0, 7]);
    let (own, other) = (portcullis_abi::Ipv4([10, 99, 0, 8]), portcullis_abi::Ipv4([10, 99, 0, 9]));
    let before = agent.endpoint("b7").unwrap().counters;
    for (address, count) in [(own, 10), (other, 20)] {
        let frame = forge_udp4((mac, address), (portcullis_abi::Mac::BROADCAST, own), b"life-b7");
        let pace = Pace { frames: count, ..Pace::default() };
        Flood::start(bulk, "p7", vec![frame], pace).unwrap().finish().unwrap();
    }
    wait_until("its drops", || {
        let now = agent.endpoint("b7").unwrap().counters;
        now.dropped.packets == before.dropped.packets + 20
            && now.allowed.packets >= before.allowed.packets + 10
    })
    .unwrap();

    let sent = flood.stop().unwrap();
    assert!(stream.stop().unwrap().none_lost());
    let count = || total(&agent.reasons("mallory").unwrap());
    wait_until("every forged frame to be counted", || count() >= sent).unwrap();
    assert_eq!(count(), sent);
    assert_eq!(leaks.stop().unwrap(), 0);
}

#[test]
fn an_address_moves_to_another_interface_at_once() {
    let lab = Lab::new(3).unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.bind("old", lab.container(1), &[]).unwrap();
    agent.bind("far", lab.container(3), &[]).unwrap();
    // Reuse: the old binding goes, the new one comes with the same addresses.
    agent.cli_ok(&["endpoint", "unbind", "old"]).unwrap();
    let (one, two, far) = (lab.container(1), lab.container(2), lab.container(3));
    let interface = two.host_interface();
    let addresses = one.addresses();
    agent.cli_ok(&["endpoint", "bind", "new", "--interface", &interface, "--address", &addresses]).unwrap();
    let listener = far.listen(tagged_payload(b"life-moved")).unwrap();
    let moved = forge_udp4((two.mac(), one.ipv4()), (far.mac(), far.ipv4()), b"life-moved");
    two.send_raw(&moved).unwrap();
    listener.wait_for(1).unwrap();
    let stale = forge_udp4((two.mac(), two.ipv4()), (far.mac(), far.ipv4()), b"life-moved");
    two.send_raw(&stale).unwrap();
    wait_until("a drop", || agent.endpoint("new").unwrap().counters.dropped.packets == 1).unwrap();
    assert_eq!(listener.stop().unwrap(), 1);
}
