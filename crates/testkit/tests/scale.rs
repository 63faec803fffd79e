//! Ten thousand endpoints bound, a thousand of them on real interfaces.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use portcullis_abi::{Ipv4, Mac};
use portcullis_policy::api::EndpointState;
use portcullis_testkit::{Agent, AgentOptions, Flood, Lab, Pace, forge_udp4, wait_until};
use serde_json::{Value, json};

const ALL: usize = 10_000;
const REAL: usize = 1_000;

fn address(k: usize) -> Ipv4 {
    Ipv4([10, 128 + u8::try_from(k / 65_536).unwrap(), (k / 256 % 256) as u8, (k % 256) as u8])
}

/// Endpoint K, on interface `bK`, which exists for the first thousand.
fn spec(k: usize) -> Value {
    json!({"name": format!("e{k}"), "interface": {"name": format!("b{k}")}, "addresses": [address(k + 1).to_string()]})
}

fn mac(k: usize) -> Mac {
    let [high, low] = u16::try_from(k).unwrap().to_be_bytes();
    Mac([0x02, 0x78, 0, 0, high, low])
}

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Binds them, in pieces of a thousand: a body has a largest size.
fn bind(agent: &Agent, range: std::ops::Range<usize>) {
    let all: Vec<Value> = range.map(spec).collect();
    for piece in all.chunks(1000) {
        let path = "/api/v1/endpoints?allow_missing=true";
        let (status, answer) = agent.api("POST", path, Some(&Value::Array(piece.to_vec()))).unwrap();
        assert_eq!(status, 200, "{answer}");
    }
}

/// One own and one foreign address from interface K: exactly that is counted.
fn verified(agent: &Agent, lab: &Lab, k: usize) {
    let name = format!("e{k}");
    let before = agent.endpoint(&name).unwrap().counters;
    let far = lab.namespace("bulk").unwrap();
    let frame = |source| forge_udp4((mac(k), source), (Mac::BROADCAST, address(0)), b"scale");
    let frames = vec![frame(address(k + 1)), frame(address(k + 2))];
    Flood::start(far, &format!("p{k}"), frames, Pace { frames: 20, ..Pace::default() })
        .unwrap()
        .finish()
        .unwrap();
    wait_until("the counters", || {
        let now = agent.endpoint(&name).unwrap().counters;
        now.dropped.packets == before.dropped.packets + 10
            && now.allowed.packets >= before.allowed.packets + 10
    })
    .unwrap_or_else(|error| panic!("{name}: {error}: {:#?}", agent.endpoint(&name)));
}

#[test]
fn ten_thousand_endpoints_are_bound_and_survive_a_restart() {
    let mut lab = Lab::builder().without_outside().build().unwrap();
    lab.add_pairs("bulk", 0, REAL).unwrap();
    let config = format!("[limits]\nendpoints = {}\n", ALL + 100);
    let options = AgentOptions { config: Some(config), ..AgentOptions::default() };
    let mut agent = Agent::start_with(&lab, &options).unwrap();
    bind(&agent, 0..ALL);
    let settled = |agent: &Agent| {
        let totals = agent.status().unwrap().endpoints;
        (totals.total as usize, totals.active as usize, totals.waiting as usize) == (ALL, REAL, ALL - REAL)
    };
    wait_until("all to be bound", || settled(&agent)).unwrap();
    for k in [0, 1, 499, 999] {
        verified(&agent, &lab, k);
    }
    let before = agent.endpoint("e999").unwrap();

    agent.kill9().unwrap();
    agent.restart().unwrap();
    wait_until("all to be bound again", || settled(&agent)).unwrap();
    let after = agent.endpoint("e999").unwrap();
    assert_eq!((&after.id, after.counters.dropped), (&before.id, before.counters.dropped));
    for k in [0, 500, 999] {
        verified(&agent, &lab, k);
    }

    // An interface that one of the waiting ones waits for.
    lab.add_pairs("bulk", ALL - 1, 1).unwrap();
    let last = format!("e{}", ALL - 1);
    wait_until("the last", || agent.endpoint(&last).unwrap().state == EndpointState::Active).unwrap();
    verified(&agent, &lab, ALL - 1);
}

#[test]
fn a_full_table_refuses_and_evicts_nothing() {
    let mut lab = Lab::builder().without_outside().build().unwrap();
    lab.add_pairs("bulk", 0, 20).unwrap();
    let options =
        AgentOptions { config: Some("[limits]\nendpoints = 16\n".into()), ..AgentOptions::default() };
    let agent = Agent::start_with(&lab, &options).unwrap();
    let capacity = agent.status().unwrap().endpoints.capacity as usize;
    assert!((1..20).contains(&capacity), "{capacity}");
    for k in 0..20 {
        let (interface, address) = (format!("b{k}"), address(k + 1).to_string());
        let name = format!("e{k}");
        let arguments = ["endpoint", "bind", &name, "--interface", &interface, "--address", &address];
        let output = agent.cli(&arguments).unwrap();
        assert_eq!(output.status.success(), k < capacity, "{k}: {}", String::from_utf8_lossy(&output.stderr));
        if k >= capacity {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(said.trim_end().lines().count(), 1, "{said}");
            assert!(said.contains(&capacity.to_string()), "{said}");
        }
    }
    assert_eq!(agent.status().unwrap().endpoints.active as usize, capacity);
    for k in 0..capacity {
        verified(&agent, &lab, k);
    }
}

#[test]
fn two_hundred_and_fifty_endpoints_take_less_than_20_mb() {
    let mut lab = Lab::builder().without_outside().build().unwrap();
    lab.add_pairs("bulk", 0, 250).unwrap();
    let agent = Agent::start(&lab).unwrap();
    bind(&agent, 0..250);
    wait_until("all to be bound", || agent.status().unwrap().endpoints.active == 250).unwrap();
    let resident = resident_kb(agent.pid().unwrap());
    // The promise is the release binary's; a debug build's code alone is several times as large.
    let limit = if agent.is_release() { 20_000 } else { 60_000 };
    assert!(resident < limit, "{resident} kB");
}
