//! Reference R1: `lo` bound to 127.0.0.1, frames met on their way out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use portcullis_testkit::{Agent, Lab, Listener, ping, scapy, tagged_payload, wait_until};

const FORGED: &str = "
s = L3RawSocket(iface='lo')
for i in range(25):
    s.send(IP(src='157.0.0.10', dst='127.0.0.1')/UDP(sport=4444, dport=5555)/Raw(b'r1-forged'))
";

const HONEST: &str = "
s = L3RawSocket(iface='lo')
for i in range(25):
    s.send(IP(src='127.0.0.1', dst='127.0.0.1')/UDP(sport=4444, dport=5555)/Raw(b'r1-honest'))
";

#[test]
fn forged_udp_on_loopback_is_dropped_and_ping_passes() {
    let mut lab = Lab::builder().without_outside().build().unwrap();
    lab.add_namespace("web").unwrap();
    let web = lab.namespace("web").unwrap();
    let forged = Listener::start(web, "lo", tagged_payload(b"r1-forged")).unwrap();
    let honest = Listener::start(web, "lo", tagged_payload(b"r1-honest")).unwrap();

    // Without the gate the forgery works, or the rest would prove nothing.
    scapy(web, FORGED).unwrap();
    forged.wait_for(25).unwrap();
    let before = forged.count();

    let agent = Agent::start(&lab).unwrap();
    let path = web.path().to_str().unwrap();
    let arguments = ["endpoint", "bind", "lo", "--netns", path, "--interface", "lo"];
    agent.cli_ok(&[&arguments[..], &["--direction", "egress", "--address", "127.0.0.1"]].concat()).unwrap();

    scapy(web, FORGED).unwrap();
    scapy(web, HONEST).unwrap();
    honest.wait_for(25).unwrap();
    wait_until("25 drops", || agent.reasons("lo").unwrap().get("spoofed-ipv4") == Some(&25)).unwrap();
    assert_eq!(forged.stop().unwrap(), before, "forged datagrams arrived through the gate");

    let allowed = agent.endpoint("lo").unwrap().counters.allowed.packets;
    assert!(ping(web, "127.0.0.1", 5).unwrap().none_lost());
    let counters = agent.endpoint("lo").unwrap().counters;
    assert!(counters.allowed.packets >= allowed + 10, "five requests and their answers: {counters:?}");
    assert_eq!(counters.dropped.packets, 25);
    assert_eq!(counters.reasons.iter().filter(|(_, n)| **n > 0).count(), 1, "{counters:?}");
}
