//! Nobody cuts the host off by a slip of the hand.

use std::io::Write as _;

use portcullis_testkit::{Agent, Lab, wait_until};
use serde_json::json;

use super::{further, passes};

#[test]
fn what_keeps_the_host_reachable_is_blocked_by_force_only() {
    let lab = Lab::new(0).unwrap();
    lab.host().ip("route add default via 192.0.2.254\n").unwrap();
    let agent = Agent::start(&lab).unwrap();
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = agent.cli(arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
    };
    for prefix in ["127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0/0", "::/0"] {
        refused(&["blocklist", "add", prefix], &["loopback", "--force"]);
    }
    refused(&["blocklist", "add", "192.0.2.128/25"], &["192.0.2.254", "neighbour"]);
    refused(&["rule", "add", "x", "--protocol", "tcp", "--port", "22", "--action", "drop"], &["SSH"]);
    refused(&["rule", "add", "x", "--source", "192.0.2.254", "--action", "drop"], &["192.0.2.254"]);
    refused(&["rule", "add", "x", "--action", "drop"], &["loopback", "SSH"]);
    assert!(agent.cli_ok(&["rule", "list"]).unwrap().starts_with("no rules"));
    assert!(agent.cli_ok(&["blocklist", "list"]).unwrap().starts_with("no entries"));
    // Scanners may be kept away from SSH, and one who insists may do anything.
    agent
        .cli_ok(&[
            "rule",
            "add",
            "scanners",
            "--source",
            "198.51.100.0/24",
            "--port",
            "22",
            "--action",
            "drop",
        ])
        .unwrap();
    let output = agent.cli(&["blocklist", "add", "192.0.2.254", "--force"]).unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("192.0.2.254"), "said all the same");
    // What is cut off already is no reason to refuse something else.
    agent.cli_ok(&["blocklist", "add", "203.0.113.9"]).unwrap();
    // A dry run says what would be, and changes nothing.
    let dry = agent.cli_ok(&["blocklist", "add", "203.0.113.10", "--dry-run"]).unwrap();
    assert!(dry.contains("would be added 1"), "{dry}");
    let test = agent.cli_ok(&["blocklist", "test", "203.0.113.10"]).unwrap();
    assert!(test.starts_with("not listed"), "{test}");
}

#[test]
fn a_change_that_nobody_confirms_is_taken_back_even_by_the_next_agent() {
    let lab = Lab::new(0).unwrap();
    let outside = lab.outside().unwrap();
    further(outside, &["192.0.2.7"]);
    let mut agent = Agent::start(&lab).unwrap();
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    agent.cli_ok(&["rule", "add", "stays", "--protocol", "udp", "--port", "9", "--action", "drop"]).unwrap();
    let before = agent.cli_ok(&["export"]).unwrap();
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    write!(file, "{before}\n[[shield.rule]]\nname = \"all\"\naction = \"drop\"\nsource = \"192.0.2.7\"\n")
        .unwrap();
    let path = file.path().to_str().unwrap().to_owned();

    let dry = agent.cli_ok(&["apply", "-f", &path, "--dry-run"]).unwrap();
    assert!(dry.contains("create rule \"all\"") && dry.contains("1 created"), "{dry}");
    assert!(passes(outside, "192.0.2.7", "192.0.2.1"));

    agent.cli_ok(&["apply", "-f", &path, "--confirm-within", "2s"]).unwrap();
    assert!(!passes(outside, "192.0.2.7", "192.0.2.1"));
    let second = agent.cli(&["apply", "-f", &path, "--confirm-within", "2s"]).unwrap();
    assert_eq!(second.status.code(), Some(5), "one change at a time");
    wait_until("it was taken back", || passes(outside, "192.0.2.7", "192.0.2.1")).unwrap();
    assert_eq!(agent.cli_ok(&["export"]).unwrap(), before);
    assert_eq!(agent.cli(&["confirm"]).unwrap().status.code(), Some(4));

    agent.cli_ok(&["apply", "-f", &path, "--confirm-within", "2s"]).unwrap();
    agent.kill9().unwrap();
    agent.restart().unwrap();
    wait_until("the next agent takes it back", || passes(outside, "192.0.2.7", "192.0.2.1")).unwrap();

    agent.cli_ok(&["apply", "-f", &path, "--confirm-within", "2s"]).unwrap();
    agent.cli_ok(&["confirm"]).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(!passes(outside, "192.0.2.7", "192.0.2.1"), "it was confirmed");
}

#[test]
fn bad_input_is_refused_in_one_line_and_the_old_state_stands() {
    let lab = Lab::new(0).unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.cli_ok(&["blocklist", "add", "203.0.113.9"]).unwrap();
    let before = agent.cli_ok(&["export"]).unwrap();
    for (arguments, code, word) in [
        (&["blocklist", "add", "192.0.2.300"][..], 2, "192.0.2.300"),
        (&["blocklist", "add", "192.0.2.0/33"], 2, "33"),
        (&["blocklist", "add", "192.0.2.1/24", "--strict"], 2, "192.0.2.0/24"),
        (&["blocklist", "add", "192.0.2.1", "--protocol", "tpc"], 2, "tpc"),
        (&["blocklist", "add", "192.0.2.1", "--allow", "--protocol", "tcp"], 2, "--protocol"),
        (&["blocklist", "remove", "192.0.2.1"], 4, "192.0.2.1"),
        (&["blocklist", "remove", "203.0.113.9", "192.0.2.1"], 4, "192.0.2.1"),
        (&["blocklist", "clear", "nobody"], 4, "nobody"),
        (&["blocklist", "import", "/nonexistent"], 2, "/nonexistent"),
        (&["blocklist", "import", "/tmp"], 2, "directory"),
        (&["rule", "add", "a b", "--action", "drop"], 2, "a b"),
        (&["rule", "add", "a", "--action", "drop", "--port", "90-80"], 2, "90-80"),
        (&["rule", "add", "a", "--action", "limit"], 2, "rate"),
        (&["rule", "add", "a", "--action", "drop", "--rate", "1pps"], 2, "limit"),
        (&["rule", "add", "a", "--action", "drop", "--protocol", "icmp", "--port", "1"], 2, "no ports"),
        (
            &["rule", "add", "a", "--action", "drop", "--source", "::/0", "--destination", "0.0.0.0/0"],
            2,
            "both",
        ),
        (&["rule", "remove", "nobody"], 4, "nobody"),
        (&["shield", "detach", "nowhere"], 4, "nowhere"),
        (&["shield", "unblock", "192.0.2.1"], 4, "192.0.2.1"),
        (&["shield", "guard", "--source-rate", "1MB/s"], 2, "packets"),
    ] {
        let output = agent.cli(arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
    let expired = json!({"add": [{"prefix": "192.0.2.1", "expires": "2020-01-01T00:00:00Z"}]});
    let (status, problem) = agent.api("POST", "/api/v1/blocklist", Some(&expired)).unwrap();
    assert_eq!((status, problem["detail"].as_str().unwrap().contains("expired")), (422, true), "{problem}");
    assert_eq!(agent.cli_ok(&["export"]).unwrap(), before);
}
