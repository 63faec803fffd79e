//! Whatever takes the gate away or displaces it: it is restored, and an event says so.
//!
//! The promise is a second; nothing here measures time, only that it happens by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::fs;

use portcullis_policy::api::{Coverage, EndpointState, Event};
use portcullis_testkit::sabotage::{Usurper, detach_link, pins, wipe_entry};
use portcullis_testkit::{Agent, AgentOptions, EventStream, Lab, forge_udp4, tagged_payload, wait_until};

struct Scene {
    lab: Lab,
    agent: Agent,
    events: EventStream,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new(3).unwrap();
        let agent = Agent::start(&lab).unwrap();
        for (name, number) in [("mallory", 1), ("web", 2), ("far", 3)] {
            agent.bind(name, lab.container(number), &[]).unwrap();
        }
        let events = agent.events().unwrap();
        Self { lab, agent, events }
    }

    /// Whether a forged frame is dropped now.
    fn holds(&self) -> bool {
        let (mallory, web, far) = (self.lab.container(1), self.lab.container(2), self.lab.container(3));
        let forged = forge_udp4((mallory.mac(), web.ipv4()), (far.mac(), far.ipv4()), b"sabotage");
        let honest = forge_udp4((mallory.mac(), mallory.ipv4()), (far.mac(), far.ipv4()), b"honest-mark");
        let listener = far.listen(tagged_payload(b"sabotage")).unwrap();
        let marks = far.listen(tagged_payload(b"honest-mark")).unwrap();
        mallory.send_raw(&forged).unwrap();
        mallory.send_raw(&honest).unwrap();
        // Once the honest frame has come, the forged one would have.
        marks.wait_for(1).unwrap();
        listener.stop().unwrap() == 0
    }

    fn index(&self) -> u32 {
        self.lab.host().index_of("veth-c1").unwrap()
    }

    /// Waits for the notice of a repair, and for the gate to hold again.
    fn is_restored(&self, what: &str) {
        let topics = ["repaired", "displaced"];
        let told = self.events.wait_for(what, |event| match event {
            Event::Notice(notice) => topics.contains(&notice.topic.as_str()),
            Event::Drop(_) | Event::Action(_) => false,
        });
        let Event::Notice(notice) = told.unwrap_or_else(|error| panic!("{error}\n{}", self.agent.log()))
        else {
            unreachable!("only notices were asked for");
        };
        assert!(!notice.message.is_empty());
        wait_until(what, || self.holds()).unwrap();
        assert!(self.agent.status().unwrap().repairs > 0);
        assert_eq!(self.agent.endpoint("mallory").unwrap().state, EndpointState::Active);
    }
}

#[test]
fn a_detached_link_comes_back() {
    let scene = Scene::new();
    assert!(scene.holds());
    let links = pins(&scene.agent, "links", &format!("-{}-", scene.index())).unwrap();
    assert!(!links.is_empty(), "no link is pinned");
    for link in links {
        detach_link(&link).unwrap();
    }
    scene.is_restored("a detached link to come back");
}

#[test]
fn a_removed_link_pin_comes_back() {
    let scene = Scene::new();
    let part = format!("-{}-", scene.index());
    let links = pins(&scene.agent, "links", &part).unwrap();
    for link in &links {
        fs::remove_file(link).unwrap();
    }
    scene.is_restored("a removed link pin to come back");
    assert_eq!(pins(&scene.agent, "links", &part).unwrap(), links);
}

#[test]
fn removed_map_pins_come_back_and_the_gate_survives_a_restart() {
    let mut scene = Scene::new();
    let maps = pins(&scene.agent, "maps", "").unwrap();
    assert!(!maps.is_empty(), "no map is pinned");
    for map in &maps {
        fs::remove_file(map).unwrap();
    }
    scene.is_restored("removed map pins to come back");
    wait_until("all map pins", || pins(&scene.agent, "maps", "").unwrap() == maps).unwrap();
    let before = scene.agent.endpoint("mallory").unwrap().counters.dropped.packets;
    scene.agent.kill9().unwrap();
    assert!(scene.holds());
    scene.agent.restart().unwrap();
    assert!(scene.agent.endpoint("mallory").unwrap().counters.dropped.packets > before);
}

#[test]
fn everything_below_the_pin_directory_comes_back() {
    let scene = Scene::new();
    let (maps, links) = (pins(&scene.agent, "maps", "").unwrap(), pins(&scene.agent, "links", "").unwrap());
    portcullis_testkit::remove_pins(scene.agent.bpffs());
    scene.is_restored("everything to come back");
    wait_until("all pins", || {
        pins(&scene.agent, "maps", "").is_ok_and(|now| now == maps)
            && pins(&scene.agent, "links", "").is_ok_and(|now| now == links)
    })
    .unwrap();
}

fn map(agent: &Agent, name: &str) -> std::path::PathBuf {
    let maps = pins(agent, "maps", name).unwrap();
    maps.into_iter().find(|path| path.ends_with(name)).unwrap_or_else(|| panic!("no table {name} is pinned"))
}

#[test]
fn a_wiped_table_entry_comes_back() {
    let scene = Scene::new();
    let index = scene.index();
    wipe_entry(&map(&scene.agent, "ANCHORS"), index).unwrap();
    scene.is_restored("a wiped anchor to come back");
    let endpoints = map(&scene.agent, "ENDPOINTS");
    for slot in 0..4 {
        wipe_entry(&endpoints, slot).unwrap();
    }
    scene.is_restored("wiped endpoints to come back");
}

#[test]
fn a_program_before_ours_is_overtaken_or_told_of() {
    let scene = Scene::new();
    let usurper = Usurper::attach(scene.lab.host(), "veth-c1").unwrap();
    // Either ours is first again, or the interface is called bypassed: never silently open.
    let coverage = || {
        let status = scene.agent.status().unwrap();
        status.coverage.iter().find(|row| row.interface == "veth-c1").map(|row| row.coverage)
    };
    wait_until("the agent to do or say something", || {
        scene.agent.endpoint("mallory").unwrap().state == EndpointState::Bypassed
            && coverage() == Some(Coverage::Bypassed)
            || scene.holds()
    })
    .unwrap();
    scene
        .events
        .wait_for("an event", |event| {
            matches!(event, Event::Notice(n) if ["displaced", "repaired", "bypassed"].contains(&n.topic.as_str()))
        })
        .unwrap();
    drop(usurper);
    wait_until("the gate", || scene.holds()).unwrap();
    wait_until("protected", || coverage() == Some(Coverage::Protected)).unwrap();
}

#[test]
fn programs_of_quarantine_and_of_unbound_interfaces_come_back_too() {
    let lab = Lab::new(2).unwrap();
    let options =
        AgentOptions { arguments: vec!["--unbound".into(), "drop".into()], ..AgentOptions::default() };
    let agent = Agent::start_with(&lab, &options).unwrap();
    agent.bind("mallory", lab.container(1), &[]).unwrap();
    agent.cli_ok(&["endpoint", "quarantine", "mallory"]).unwrap();
    let hook = |interface: &str, side: &str| {
        pins(&agent, "links", &format!("-{}-{side}", lab.host().index_of(interface).unwrap())).unwrap()
    };
    for (interface, side) in [("veth-c1", "egress"), ("veth-c2", "ingress")] {
        let repairs = agent.status().unwrap().repairs;
        let links = hook(interface, side);
        assert_eq!(links.len(), 1, "{interface} {side}");
        detach_link(&links[0]).unwrap();
        wait_until("the repair", || agent.status().unwrap().repairs > repairs).unwrap();
        assert_eq!(hook(interface, side), links);
        // What was put back is attached, and stays.
        detach_link(&links[0]).unwrap();
        wait_until("the second repair", || agent.status().unwrap().repairs > repairs + 1).unwrap();
    }
}
