//! The flood guard, with floods that are bounded in count.

use portcullis_testkit::{Agent, Lab, scapy, wait_until};

use super::{dropped, further, ok, passes};

const SEND: &str = "
s = conf.L2socket(iface='eth0')
E = Ether(src='02:77:00:00:01:02', dst='02:77:00:00:01:01')
";

#[test]
fn a_flooding_source_is_blocked_for_a_time_and_nobody_else() {
    let lab = Lab::new(0).unwrap();
    let outside = lab.outside().unwrap();
    further(outside, &["192.0.2.7"]);
    let mut agent = Agent::start(&lab).unwrap();
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    let guard = [
        "shield",
        "guard",
        "--source-rate",
        "100pps",
        "--source-burst",
        "200",
        "--strikes",
        "20",
        "--block",
        "4s",
    ];
    agent.cli_ok(&guard).unwrap();
    let flood = |source: &str| {
        let script = format!(
            "{SEND}\nf = bytes(E/IP(src='{source}', dst='192.0.2.1')/UDP(dport=9)/b'x')\nfor _ in range(1000): s.send(f)"
        );
        scapy(outside, &script).unwrap();
    };
    flood("192.0.2.7");
    assert!(!passes(outside, "192.0.2.7", "192.0.2.1"), "it is blocked");
    assert!(passes(outside, "192.0.2.2", "192.0.2.1"), "nobody else is");
    let view = ok(&agent, "GET", "/api/v1/shield/guard", None);
    assert_eq!(view["blocked"][0]["source"], "192.0.2.7", "{view}");
    // The time that is left survives a restart.
    agent.kill9().unwrap();
    agent.restart().unwrap();
    let view = ok(&agent, "GET", "/api/v1/shield/guard", None);
    assert_eq!(view["blocked"][0]["source"], "192.0.2.7", "{view}");
    wait_until("its time is over", || passes(outside, "192.0.2.7", "192.0.2.1")).unwrap();
    flood("192.0.2.7");
    let view = ok(&agent, "GET", "/api/v1/shield/guard", None);
    assert_eq!(view["blocked"][0]["offences"], 2, "twice as long: {view}");
    agent.cli_ok(&["shield", "unblock", "192.0.2.7"]).unwrap();
    wait_until("it was let go", || passes(outside, "192.0.2.7", "192.0.2.1")).unwrap();
}

#[test]
fn what_the_guard_protects_is_never_blocked() {
    let lab = Lab::new(0).unwrap();
    let outside = lab.outside().unwrap();
    lab.host().ip("route add default via 192.0.2.2\n").unwrap();
    further(outside, &["192.0.2.8"]);
    let agent = Agent::start(&lab).unwrap();
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    agent.cli_ok(&["blocklist", "add", "192.0.2.8", "--allow"]).unwrap();
    let guard = [
        "shield",
        "guard",
        "--source-rate",
        "100pps",
        "--source-burst",
        "100",
        "--strikes",
        "5",
        "--block",
        "60s",
    ];
    agent.cli_ok(&guard).unwrap();
    // The gateway, one on the allowlist, the host itself: all of them as a forger would name them.
    for source in ["192.0.2.2", "192.0.2.8", "192.0.2.1"] {
        let script = format!(
            "{SEND}\nf = bytes(E/IP(src='{source}', dst='192.0.2.1')/UDP(dport=9)/b'x')\nfor _ in range(500): s.send(f)"
        );
        scapy(outside, &script).unwrap();
    }
    let view = ok(&agent, "GET", "/api/v1/shield/guard", None);
    assert_eq!(view["blocked"].as_array().unwrap().len(), 0, "{view}");
    assert!(dropped(&agent, "rate-limited") > 500, "limited they are");
}

#[test]
fn forged_sources_cost_no_memory_and_honest_ones_still_get_in() {
    let lab = Lab::new(0).unwrap();
    let outside = lab.outside().unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    agent
        .cli_ok(&["shield", "guard", "--syn-rate", "50pps", "--syn-burst", "50", "--source-rate", "1kpps"])
        .unwrap();
    let server = lab.host().spawn("/usr/bin/python3 -m http.server --bind 192.0.2.1 8080").unwrap();
    let get = || {
        scapy(
            outside,
            "import urllib.request\nurllib.request.urlopen('http://192.0.2.1:8080/', timeout=3).read()",
        )
        .is_ok()
    };
    wait_until("the server answers", get).unwrap();
    // It has finished a handshake: a flood of others does not shut it out.
    let script = format!(
        "{SEND}\nimport random\nrandom.seed(1)\nfs = [bytes(E/IP(src='.'.join(str(random.randrange(1, 223)) for _ in range(4)), dst='192.0.2.1')/TCP(sport=random.randrange(1024, 65535), dport=8080, flags='S')) for _ in range(3000)]\nfor f in fs: s.send(f)"
    );
    scapy(outside, &script).unwrap();
    assert!(dropped(&agent, "syn-flood") > 1000, "{}", dropped(&agent, "syn-flood"));
    assert!(get(), "who has finished a handshake before gets in");
    let view = ok(&agent, "GET", "/api/v1/shield/guard", None);
    assert_eq!(view["blocked"].as_array().unwrap().len(), 0, "nobody is blocked for what forgers do: {view}");
    drop(server);
}
