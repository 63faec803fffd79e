//! Reference R4's three paths, as its report shows them.

use portcullis_testkit::{Agent, Lab};
use serde_json::json;

use super::{further, ok, passes};

#[test]
fn the_three_paths_answer_as_the_reference_does() {
    let lab = Lab::new(0).unwrap();
    let outside = lab.outside().unwrap();
    further(outside, &["192.0.2.7"]);
    let agent = Agent::start(&lab).unwrap();
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    let rule = json!({"src": "192.168.3.101", "prefix_len": 24, "action": 0});
    assert_eq!(ok(&agent, "GET", "/rules/drop/list", None), json!({}));
    assert_eq!(ok(&agent, "POST", "/rules/drop/add", Some(&rule)), json!([rule]));
    assert_eq!(ok(&agent, "GET", "/rules/drop/list", None), json!([rule]));
    assert!(agent.log().contains("rule added: 192.168.3.101/24 -> 0"), "{}", agent.log());
    assert_eq!(ok(&agent, "DELETE", "/rules/drop/delete", Some(&rule)), json!({}));
    assert_eq!(ok(&agent, "GET", "/rules/drop/list", None), json!({}));
    let near = json!({"src": "192.0.2.7", "prefix_len": 32, "action": 1});
    ok(&agent, "POST", "/rules/drop/add", Some(&near));
    assert!(!passes(outside, "192.0.2.7", "192.0.2.1") && passes(outside, "192.0.2.2", "192.0.2.1"));
    let pass = json!({"src": "192.0.2.7", "prefix_len": 32, "action": 2});
    assert_eq!(ok(&agent, "POST", "/rules/drop/add", Some(&pass)), json!([pass]));
    assert!(passes(outside, "192.0.2.7", "192.0.2.1"));
    // The longest prefix decides, whatever was added first and however they are called.
    let around = json!({"src": "192.0.2.4", "prefix_len": 30, "action": 0});
    ok(&agent, "POST", "/rules/drop/add", Some(&around));
    assert!(passes(outside, "192.0.2.7", "192.0.2.1"));
    ok(&agent, "DELETE", "/rules/drop/delete", Some(&pass));
    assert!(!passes(outside, "192.0.2.7", "192.0.2.1"));
    ok(&agent, "DELETE", "/rules/drop/delete", Some(&around));
    ok(&agent, "POST", "/rules/drop/add", Some(&pass));
    let v6 = json!({"src": "2001:db8::7", "prefix_len": 128, "action": 1});
    assert_eq!(ok(&agent, "POST", "/rules/drop/add", Some(&v6)), json!([pass, v6]));
    for (bad, status) in [
        (json!({"src": "192.0.2.7", "prefix_len": 33, "action": 1}), 422),
        (json!({"src": "nobody", "prefix_len": 8, "action": 1}), 422),
        (json!({"src": "192.0.2.7", "prefix_len": 32, "action": 9}), 422),
        (json!({"src": "0.0.0.0", "prefix_len": 0, "action": 1}), 409),
    ] {
        assert_eq!(agent.api("POST", "/rules/drop/add", Some(&bad)).unwrap().0, status, "{bad}");
    }
    let missing = json!({"src": "192.0.2.99", "prefix_len": 32, "action": 1});
    assert_eq!(agent.api("DELETE", "/rules/drop/delete", Some(&missing)).unwrap().0, 404);
}
