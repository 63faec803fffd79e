//! The shield through the command line and the API, on real interfaces.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod flood;
mod imports;
mod life;
mod matching;
mod monitor;
mod safety;
mod verdicts;
mod writers;

use portcullis_testkit::{Agent, Namespace, ping};
use serde_json::Value;

/// Whether one ping from an address gets its answer.
fn passes(from: &Namespace, source: &str, to: &str) -> bool {
    let line = format!("ping -q -c 1 -W 1 -I {source} {to}");
    from.run(&line).is_ok()
}

/// Whether a ping gets its answer.
fn answers(from: &Namespace, to: &str) -> bool {
    ping(from, to, 1).is_ok_and(|pings| pings.none_lost())
}

/// The outside peer gets further addresses.
fn further(outside: &Namespace, addresses: &[&str]) {
    for address in addresses {
        let len = if address.contains(':') { "64 dev eth0 nodad" } else { "24 dev eth0" };
        outside.ip(&format!("addr add {address}/{len}\n")).unwrap();
    }
}

/// What was dropped for a reason.
fn dropped(agent: &Agent, reason: &str) -> u64 {
    let view = agent.api("GET", "/api/v1/shield", None).unwrap().1;
    view["counters"]["reasons"][reason].as_u64().unwrap_or(0)
}

/// Packets that met a rule.
fn met(agent: &Agent, rule: &str) -> u64 {
    agent.api("GET", &format!("/api/v1/rules/{rule}"), None).unwrap().1["packets"].as_u64().unwrap()
}

fn ok(agent: &Agent, method: &str, path: &str, body: Option<&Value>) -> Value {
    let (status, value) = agent.api(method, path, body).unwrap();
    assert!((200..300).contains(&status), "{method} {path}: {status} {value}");
    value
}
