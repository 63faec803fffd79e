//! The monitor shows packets as they arrive.

use std::process::Stdio;

use portcullis_testkit::{Agent, Lab, PingStream};

#[test]
fn packets_are_shown_while_somebody_looks() {
    let lab = Lab::new(0).unwrap();
    let outside = lab.outside().unwrap();
    let agent = Agent::start(&lab).unwrap();
    let refused = agent.cli(&["monitor", "--count", "1"]).unwrap();
    assert_eq!(refused.status.code(), Some(4), "the shield stands nowhere");
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    let stream = PingStream::start(outside, "192.0.2.1").unwrap();
    let shown =
        agent.cli_ok(&["monitor", "--count", "3", "--protocol", "icmp", "--source", "192.0.2.2"]).unwrap();
    assert_eq!(shown.lines().count(), 3, "{shown}");
    for line in shown.lines() {
        assert!(
            line.contains("uplink") && line.contains("IPv4 192.0.2.2 > 192.0.2.1 ICMP echo request"),
            "{line}"
        );
    }
    let json = agent.cli_ok(&["monitor", "--count", "1", "--place", "uplink", "-o", "json"]).unwrap();
    let packet: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (packet["interface"].as_str(), packet["protocol"].as_str()),
        (Some("uplink"), Some("icmp")),
        "{packet}"
    );
    // What is dropped is shown as well, and a filter that nothing fits shows nothing.
    agent.cli_ok(&["blocklist", "add", "192.0.2.2"]).unwrap();
    agent.cli_ok(&["monitor", "--count", "2", "--source", "192.0.2.0/24"]).unwrap();
    let mut command = agent.cli_command(&["monitor", "--protocol", "sctp"]);
    let mut none = command.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    none.kill().unwrap();
    assert!(none.wait_with_output().unwrap().stdout.is_empty());
    let pings = stream.stop().unwrap();
    assert!(pings.received > 0);
}
