//! Many who write at once, under traffic.

use std::thread;

use portcullis_testkit::{Agent, Lab, PingStream};
use serde_json::json;

use super::{further, ok, passes};

const WRITERS: usize = 4;
const CHANGES: usize = 25;

#[test]
fn writers_do_not_lose_each_others_changes_and_every_packet_meets_whole_rules() {
    let lab = Lab::new(0).unwrap();
    let outside = lab.outside().unwrap();
    further(outside, &["192.0.2.7"]);
    let agent = Agent::start(&lab).unwrap();
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    // Whatever else changes: this one stays dropped, and the others pass.
    ok(
        &agent,
        "PUT",
        "/api/v1/rules/fixed",
        Some(&json!({"name": "fixed", "source": "192.0.2.7", "action": "drop"})),
    );
    let honest = PingStream::start_from(outside, "192.0.2.2", "192.0.2.1").unwrap();
    let blocked = PingStream::start_from(outside, "192.0.2.7", "192.0.2.1").unwrap();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let agent = &agent;
            scope.spawn(move || {
                for change in 0..CHANGES {
                    let name = format!("w{writer}-{change}");
                    let rule =
                        json!({"name": name, "protocol": "udp", "port": 1000 + change, "action": "drop"});
                    ok(agent, "PUT", &format!("/api/v1/rules/{name}"), Some(&rule));
                    let entry = json!({"add": [{"prefix": format!("198.51.{writer}.{change}")}]});
                    ok(agent, "POST", "/api/v1/blocklist", Some(&entry));
                    if change % 2 == 1 {
                        ok(agent, "DELETE", &format!("/api/v1/rules/{name}"), None);
                    }
                }
            });
        }
    });
    let (honest, blocked) = (honest.stop().unwrap(), blocked.stop().unwrap());
    assert!(honest.none_lost() && honest.received > 20, "{honest:?}");
    assert_eq!(blocked.received, 0, "{blocked:?}");
    let rules = ok(&agent, "GET", "/api/v1/rules", None);
    assert_eq!(rules.as_array().unwrap().len(), 1 + WRITERS * CHANGES.div_ceil(2));
    let page = ok(&agent, "GET", "/api/v1/blocklist", None);
    assert_eq!(page["total"].as_u64(), Some((WRITERS * CHANGES) as u64));
    assert!(!passes(outside, "192.0.2.7", "192.0.2.1"));
}
