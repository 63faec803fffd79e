//! What people see: events with the sender, sampled; captures; coverage told honestly.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod common;

use std::process::{Command, Stdio};

use common::total;
use portcullis_policy::api::{Coverage, DropRecord, Event};
use portcullis_testkit::{
    Agent, AgentOptions, Flood, Lab, Pace, Process, checked_output, forge_udp4, wait_for, wait_until,
};

fn forged(lab: &Lab, payload: &[u8]) -> Vec<u8> {
    let (mallory, web, far) = (lab.container(1), lab.container(2), lab.container(3));
    forge_udp4((mallory.mac(), web.ipv4()), (far.mac(), far.ipv4()), payload)
}

fn drop_record(event: &Event) -> Option<&DropRecord> {
    match event {
        Event::Drop(record) => Some(record),
        Event::Notice(_) | Event::Action(_) => None,
    }
}

/// Forges with plain sockets of a program that lives on, as a real attacker's does.
const FORGER: &str = "import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
frame = bytes.fromhex(sys.argv[1])
while True:
    s.send(frame)
    time.sleep(0.05)
";

#[test]
fn an_event_names_reason_claims_binding_and_sender() {
    let mut lab = Lab::new(3).unwrap();
    let agent = Agent::start(&lab).unwrap();
    for (name, number) in [("mallory", 1), ("web", 2)] {
        agent.bind(name, lab.container(number), &[]).unwrap();
    }
    let events = agent.events().unwrap();
    let frame = forged(&lab, b"observe-sender");
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    lab.add_cgroup("mallory").unwrap();
    let mut command = lab.cgroup("mallory").unwrap().command(lab.container(1).namespace(), "python3");
    let forger = Process::spawn(command.args(["-c", FORGER, &hex]).stdin(Stdio::null())).unwrap();

    let event = events
        .wait_for("an event with its sender", |event| {
            drop_record(event).is_some_and(|record| record.sender.pid.is_some())
        })
        .unwrap_or_else(|error| panic!("{error}: {:#?}", agent.api("GET", "/api/v1/drops?limit=3", None)));
    let record = drop_record(&event).unwrap();
    assert_eq!((record.reason.as_str(), record.verdict.as_str()), ("spoofed-ipv4", "dropped"));
    assert_eq!((record.endpoint.as_deref(), record.interface.as_deref()), (Some("mallory"), Some("veth-c1")));
    assert_eq!(record.claimed.address.as_deref(), Some("10.77.0.12"));
    assert_eq!(record.claimed.mac.as_deref(), Some("02:77:00:00:00:0b"));
    for bound in ["10.77.0.11", "fd77::b", "02:77:00:00:00:0b"] {
        assert!(record.bound.iter().any(|b| b == bound), "{bound} in {:?}", record.bound);
    }
    assert_eq!(record.length as usize, frame.len());
    assert!(hex.starts_with(&record.frame), "{}", record.frame);
    assert_eq!(record.sender.pid, forger.pid(), "{:?}", record.sender);
    assert!(record.sender.cgroup.as_deref().unwrap().contains(&format!("{}-mallory", lab.tag())));
    assert!(record.sender.command.as_deref().unwrap().contains("python3"), "{:?}", record.sender);
    assert!(record.time.starts_with("20") && record.time.contains('T'), "{}", record.time);
}

#[test]
fn events_are_sampled_and_what_was_not_told_is_counted() {
    let lab = Lab::new(3).unwrap();
    let config = "[events]\nper_second = 5\nburst = 10\n";
    let options = AgentOptions { config: Some(config.into()), ..AgentOptions::default() };
    let agent = Agent::start_with(&lab, &options).unwrap();
    agent.bind("mallory", lab.container(1), &[]).unwrap();
    let events = agent.events().unwrap();
    let pace = Pace { per_second: 10_000, frames: 5000, ..Pace::default() };
    let frames = vec![forged(&lab, b"observe-flood")];
    Flood::start(lab.container(1).namespace(), "eth0", frames, pace).unwrap().finish().unwrap();
    wait_until("all to be counted", || total(&agent.reasons("mallory").unwrap()) >= 5000).unwrap();
    let mut told = 0;
    wait_until("every frame to be told of or counted", || {
        told += events.so_far().iter().filter(|event| drop_record(event).is_some()).count() as u64;
        agent.endpoint("mallory").unwrap().counters.unreported + told + agent.status().unwrap().events_lost
            >= 5000
    })
    .unwrap();
    let counters = agent.endpoint("mallory").unwrap().counters;
    assert_eq!(total(&counters.reasons), 5000);
    assert!((1..2500).contains(&told), "{told} events of 5000 frames");
    assert_eq!(counters.unreported + told + agent.status().unwrap().events_lost, 5000, "{counters:?}");
}

#[test]
fn a_capture_is_read_by_a_program_none_of_us_wrote() {
    let lab = Lab::new(3).unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.bind("mallory", lab.container(1), &[]).unwrap();
    let frame = forged(&lab, b"observe-pcap");
    for _ in 0..5 {
        lab.container(1).send_raw(&frame).unwrap();
    }
    wait_until("five events", || {
        agent
            .api("GET", "/api/v1/drops?endpoint=mallory", None)
            .unwrap()
            .1
            .as_array()
            .is_some_and(|all| all.len() == 5)
    })
    .unwrap();
    let file = lab.directory().join("drops.pcapng");
    agent.cli_ok(&["drops", "--pcap", file.to_str().unwrap()]).unwrap();
    let text = checked_output(Command::new("tcpdump").args(["-n", "-e", "-r"]).arg(&file)).unwrap();
    let lines = text.lines().filter(|line| line.contains("10.77.0.12.40077 > 10.77.0.13.40078")).count();
    assert_eq!(lines, 5, "{text}");
    let content = std::fs::read(&file).unwrap();
    for word in [&b"spoofed-ipv4"[..], b"mallory"] {
        assert!(content.windows(word.len()).any(|window| window == word), "no comment with {word:?}");
    }
    let shown = agent.cli_ok(&["drops"]).unwrap();
    assert_eq!(
        shown.lines().filter(|line| line.contains("spoofed-ipv4") && line.contains("mallory")).count(),
        5,
        "{shown}"
    );
}

#[test]
fn followers_see_drops_as_they_happen_and_stats_count_them() {
    let lab = Lab::new(3).unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.bind("mallory", lab.container(1), &[]).unwrap();
    let mut follow = agent.cli_command(&["drops", "--follow", "--count", "3"]);
    let follow = Process::spawn(follow.stdin(Stdio::null()).stdout(Stdio::piped())).unwrap();
    // Sent on and on: nobody knows when the follower is connected.
    let pace = Pace { per_second: 20, ..Pace::default() };
    let flood =
        Flood::start(lab.container(1).namespace(), "eth0", vec![forged(&lab, b"observe-follow")], pace)
            .unwrap();
    let output = follow.output().unwrap();
    assert!(output.status.success());
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(shown.lines().filter(|line| line.contains("spoofed-ipv4")).count(), 3, "{shown}");
    let sent = flood.stop().unwrap();
    wait_until("the counters", || agent.endpoint("mallory").unwrap().counters.dropped.packets == sent)
        .unwrap();
    let stats = agent.cli_ok(&["stats"]).unwrap();
    assert!(stats.contains("mallory") && stats.contains(&sent.to_string()), "{stats}");
    let watched = agent.cli_ok(&["stats", "--watch", "--interval", "100ms", "--count", "2"]).unwrap();
    assert!(watched.matches("mallory").count() >= 2, "{watched}");
}

#[test]
fn coverage_is_told_honestly() {
    let mut lab = Lab::new(3).unwrap();
    lab.add_namespace("mac").unwrap();
    let far = lab.namespace("mac").unwrap().name().to_owned();
    lab.host().ip(&format!("link add mv0 link uplink netns {far} type macvlan mode bridge\n")).unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.bind("protected", lab.container(1), &[]).unwrap();
    agent.bind("audited", lab.container(2), &["--mode", "audit"]).unwrap();
    let row = |interface: &str| {
        let status = agent.status().unwrap();
        status.coverage.into_iter().find(|row| row.interface == interface)
    };
    for (interface, coverage, endpoint) in [
        ("veth-c1", Coverage::Protected, Some("protected")),
        ("veth-c2", Coverage::Audited, Some("audited")),
        ("veth-c3", Coverage::Unbound, None),
        ("mv0", Coverage::NotProtectable, None),
    ] {
        let row = wait_for("a row", || row(interface)).unwrap();
        assert_eq!((row.coverage, row.endpoint.as_deref()), (coverage, endpoint), "{row:?}");
        assert!(!row.reason.is_empty(), "{row:?}");
    }
    let shown = agent.cli_ok(&["status"]).unwrap();
    for word in ["veth-c1", "protected", "audited", "unbound", "mv0", "macvlan"] {
        assert!(shown.contains(word), "no {word} in:\n{shown}");
    }
    let doctor = agent.cli(&["doctor"]).unwrap();
    assert!(!doctor.stdout.is_empty());
}
