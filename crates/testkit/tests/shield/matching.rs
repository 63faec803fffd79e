//! Every kind of match, at XDP, with real frames.

use portcullis_testkit::{Agent, Lab, Listener, scapy, tagged_payload};
use serde_json::json;

use super::{met, ok};

const BASE: &str = "
E4 = Ether(src='02:77:00:00:01:02', dst='02:77:00:00:01:01')
def v4(**kw): return IP(**{'src': '192.0.2.2', 'dst': '192.0.2.1', **kw})
def v6(**kw): return IPv6(**{'src': '2001:db8::2', 'dst': '2001:db8::1', **kw})
P = lambda tag: Raw(tag + b'.' * 20)
def send(frames, tag):
    s = conf.L2socket(iface='eth0')
    for frame in frames:
        for _ in range(3):
            s.send(frame)
";

/// A rule's match, frames that meet it, frames that do not; `T` is the payload.
const CASES: [(&str, &str, &str); 17] = [
    (r#"{"source": "192.0.2.2"}"#, "[E4/v4()/UDP()/T]", "[E4/v4(src='192.0.2.3')/UDP()/T]"),
    (r#"{"source": "192.0.2.0/29"}"#, "[E4/v4(src='192.0.2.7')/UDP()/T]", "[E4/v4(src='192.0.2.8')/UDP()/T]"),
    (r#"{"destination": "198.51.100.0/24"}"#, "[E4/v4(dst='198.51.100.9')/UDP()/T]", "[E4/v4()/UDP()/T]"),
    (
        r#"{"source": "2001:db8::/127"}"#,
        "[E4/v6(src='2001:db8::1')/UDP()/T]",
        "[E4/v6()/UDP()/T, E4/v4()/UDP()/T]",
    ),
    (r#"{"protocol": "udp"}"#, "[E4/v4()/UDP()/T, E4/v6()/UDP()/T]", "[E4/v4()/TCP()/T]"),
    (r#"{"protocol": "sctp"}"#, "[E4/v4(proto=132)/T]", "[E4/v4()/UDP()/T]"),
    (
        r#"{"protocol": "tcp", "port": 23}"#,
        "[E4/v4()/TCP(dport=23)/T]",
        "[E4/v4()/TCP(dport=22)/T, E4/v4()/UDP(dport=23)/T]",
    ),
    (
        r#"{"port": "1000-1010"}"#,
        "[E4/v4()/TCP(dport=1010)/T, E4/v6()/UDP(dport=1000)/T]",
        "[E4/v4()/UDP(dport=1011)/T]",
    ),
    (
        r#"{"protocol": "tcp", "tcp_flags": "syn,!ack"}"#,
        "[E4/v4()/TCP(flags='S')/T]",
        "[E4/v4()/TCP(flags='SA')/T, E4/v4()/TCP(flags='A')/T]",
    ),
    (
        r#"{"protocol": "tcp", "tcp_flags": "fin,syn"}"#,
        "[E4/v4()/TCP(flags='FS')/T]",
        "[E4/v4()/TCP(flags='F')/T]",
    ),
    (r#"{"protocol": "icmp", "icmp_type": 8}"#, "[E4/v4()/ICMP(type=8)/T]", "[E4/v4()/ICMP(type=13)/T]"),
    (
        r#"{"protocol": "icmpv6", "icmp_type": 128}"#,
        "[E4/v6()/ICMPv6EchoRequest(data=T.load)]",
        "[E4/v6()/ICMPv6EchoReply(data=T.load)]",
    ),
    (
        r#"{"fragment": "any"}"#,
        "[E4/v4(flags='MF')/UDP()/T, E4/v4(frag=9)/T, E4/v6()/IPv6ExtHdrFragment(offset=9,nh=17)/T]",
        "[E4/v4()/UDP()/T]",
    ),
    (r#"{"fragment": "later"}"#, "[E4/v4(frag=9)/T]", "[E4/v4(flags='MF')/UDP()/T, E4/v4()/UDP()/T]"),
    // Nothing is a way round: tags, LLC/SNAP, extension headers.
    (
        r#"{"source": "192.0.2.2", "protocol": "udp"}"#,
        "[E4/Dot1Q(vlan=5)/v4()/UDP()/T, E4/Dot1AD(vlan=7)/Dot1Q(vlan=5)/v4()/UDP()/T]",
        "[E4/Dot1Q(vlan=5)/v4(src='192.0.2.3')/UDP()/T]",
    ),
    (
        r#"{"source": "192.0.2.2"}"#,
        "[Dot3(src='02:77:00:00:01:02', dst='02:77:00:00:01:01')/LLC(dsap=0xaa,ssap=0xaa,ctrl=3)/SNAP(OUI=0,code=0x800)/v4()/UDP()/T]",
        "[E4/v4(src='192.0.2.3')/UDP()/T]",
    ),
    (
        r#"{"protocol": "udp", "port": 53}"#,
        "[E4/v6()/IPv6ExtHdrDestOpt()/IPv6ExtHdrHopByHop()/UDP(dport=53)/T, E4/v6()/IPv6ExtHdrDestOpt()/UDP(dport=53)/T]",
        "[E4/v6()/IPv6ExtHdrDestOpt()/UDP(dport=54)/T]",
    ),
];

#[test]
fn every_kind_of_match_is_seen_in_real_frames() {
    let lab = Lab::new(0).unwrap();
    let outside = lab.outside().unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    let hits = Listener::start(lab.host(), "uplink", tagged_payload(b"shield-hit")).unwrap();
    let misses = Listener::start(lab.host(), "uplink", tagged_payload(b"shield-miss")).unwrap();
    let mut missed = 0;
    for (number, (matching, hit, miss)) in CASES.iter().enumerate() {
        let mut rule: serde_json::Value = serde_json::from_str(matching).unwrap();
        let more = json!({"name": format!("case-{number}"), "action": "drop"});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ok(&agent, "PUT", "/api/v1/rules?force=true", Some(&json!([rule])));
        let script = format!(
            "{BASE}\nT = P(b'shield-hit')\nframes = {hit}\nsend(frames, 0)\nT = P(b'shield-miss')\nothers = {miss}\nsend(others, 0)\nprint(len(frames), len(others))"
        );
        let sent = scapy(outside, &script).unwrap();
        let counts: Vec<u64> = sent.split_whitespace().map(|word| word.parse().unwrap()).collect();
        missed += counts[1] * 3;
        misses.wait_for(missed).unwrap_or_else(|error| panic!("case {number} {matching}: {error}"));
        assert_eq!(met(&agent, &format!("case-{number}")), counts[0] * 3, "case {number} {matching}");
        assert_eq!(hits.count(), 0, "case {number} {matching}: came through");
    }
    assert_eq!(misses.count(), missed);
}

#[test]
fn a_limit_passes_its_burst_and_its_rate_for_each_source() {
    let lab = Lab::new(0).unwrap();
    let outside = lab.outside().unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    let limit = ["--action", "limit", "--rate", "1pps", "--burst", "5", "--per", "source/32"];
    agent.cli_ok(&[&["rule", "add", "slow", "--protocol", "udp"][..], &limit].concat()).unwrap();
    let through = Listener::start(lab.host(), "uplink", tagged_payload(b"shield-limit")).unwrap();
    let script = format!(
        "{BASE}\nT = P(b'shield-limit')\nsend([E4/v4(src=f'192.0.2.{{n}}')/UDP()/T for n in range(10, 14)] * 10, 0)"
    );
    scapy(outside, &script).unwrap();
    // Four sources, thirty packets each in well under a minute.
    portcullis_testkit::wait_until("all were counted", || met(&agent, "slow") == 120).unwrap();
    let count = through.count();
    assert!((20..=60).contains(&count), "{count} of 120 passed");
    assert_eq!(super::dropped(&agent, "rate-limited") + count, 120);
}
