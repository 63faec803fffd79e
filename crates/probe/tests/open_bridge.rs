//! The probe against plain networks in a lab of namespaces: open ones let forgeries through and
//! lose nothing honest, and a filter on the host's end of the pair is seen as one.

mod lab;

use std::collections::BTreeSet;
use std::net::IpAddr;

use lab::{Lab, assert_nothing_honest_lost, ids, probe, sh};
use portcullis_abi::DropReason;
use portcullis_probe::{Observed, Options, ProbeError, Progress, ScoreCard, run};

/// What a bridge of Linux stops by itself: source MACs that none learns, and, where it calls
/// netfilter (br_netfilter) or snoops multicast, packets that those cannot read.
fn assert_open(card: &ScoreCard) {
    assert_nothing_honest_lost(card);
    let stopped = ids(card, |o| o.observed == Observed::Dropped && o.reason != Some(DropReason::Malformed));
    let usual = [
        "mac-group-bit",
        "mac-broadcast",
        "mac-zero",
        "ipv4-forged-bad-checksum",
        "mld1-query-from-unspecified",
    ];
    let unusual: Vec<_> = stopped.into_iter().filter(|id| !usual.contains(id)).collect();
    assert!(unusual.is_empty(), "an open network stopped: {unusual:?}");
    let unsent = ids(card, |o| !o.was_sent());
    assert_eq!(unsent, BTreeSet::from(["runt-13", "runt-mac-only"]));
    assert_eq!(card.exit_status(), 1);
    assert!(card.summary.forged_total > 90 && card.summary.honest_total > 60, "{:?}", card.summary);
}

#[test]
fn an_open_bridge_passes_forgeries_and_loses_nothing() {
    let lab = Lab::bridged();
    let mut heard = String::new();
    let card = run(&lab.options("c1", "eth0"), &mut |progress| {
        if let Progress::FarSide(name) = progress {
            heard = name;
        }
    })
    .unwrap();
    assert!(heard.starts_with("bridge br0 behind vc1 in "), "{heard}");
    assert_open(&card);
    assert_eq!(card.mac, "02:42:0a:4d:00:02");
    assert_eq!(card.addresses[..2], ["10.77.0.2", "fd77::2"]);
}

#[test]
fn another_container_of_the_bridge_hears_the_forgeries() {
    let lab = Lab::bridged();
    let card = probe(&Options { to: Some(lab.path("c2")), ..lab.options("c1", "eth0") });
    assert_nothing_honest_lost(&card);
    assert!(card.far_side.starts_with("eth0 in "), "{}", card.far_side);
    let passed = ids(&card, |o| o.observed == Observed::Passed);
    for id in [
        "ipv4-source-of-neighbour",
        "arp-reply-for-gateway",
        "na-for-gateway",
        "ra",
        "gso-forged-ipv4",
        "non-linear-ra",
    ] {
        assert!(passed.contains(id), "{id}");
    }
}

#[test]
fn a_routed_pair_is_listened_to_behind_tc() {
    let lab = Lab::new(&["host", "c1"]);
    lab.container("c1", 2);
    lab.ip("host", "addr add 10.77.0.1/32 dev vc1");
    let card = probe(&lab.options("c1", "eth0"));
    assert!(card.far_side.contains("vc1") && card.far_side.ends_with("routed"), "{}", card.far_side);
    assert_nothing_honest_lost(&card);
    // The kernel itself refuses a tag without its end; nothing else stands in the way.
    assert_eq!(ids(&card, |o| o.observed == Observed::Dropped), BTreeSet::from(["runt-vlan"]));
}

#[test]
fn a_filter_at_the_hosts_end_is_in_front_of_the_listener() {
    for routed in [false, true] {
        let lab = if routed { Lab::new(&["host", "c1"]) } else { Lab::bridged() };
        if routed {
            lab.container("c1", 2);
        }
        let host = lab.ns("host");
        sh("tc", &["-n", &host, "qdisc", "add", "dev", "vc1", "clsact"]);
        // "Return TC_ACT_SHOT" in classic BPF: needs neither a compiler nor an action module.
        let shot = ["bpf", "da", "bytecode", "1,6 0 0 2,"];
        sh("tc", &[["-n", &host, "filter", "add", "dev", "vc1", "ingress"].as_slice(), &shot].concat());
        let options = Options { timeout: std::time::Duration::from_millis(200), ..lab.options("c1", "eth0") };
        let card = probe(&options);
        assert_eq!(card.summary.honest_passed, 0, "routed: {routed}");
        assert_eq!(card.summary.forged_stopped, card.summary.forged_total, "routed: {routed}");
        assert_eq!(card.exit_status(), 1, "a wall is not a gate");
    }
}

#[test]
fn loopback_is_listened_to_where_it_is() {
    let lab = Lab::new(&["host"]);
    let mut options = lab.options("host", "lo");
    options.overrides.addresses = Some(vec![IpAddr::from([127, 0, 0, 1])]);
    let card = probe(&options);
    assert_eq!(card.addresses, ["127.0.0.1"]);
    assert_nothing_honest_lost(&card);
    assert!(ids(&card, |o| o.observed == Observed::Passed).contains("ipv4-source-of-stranger"));
}

#[test]
fn what_cannot_be_probed_is_said_in_one_line() {
    let lab = Lab::new(&["host"]);
    let error = |options: &Options| run(options, &mut |_| {}).unwrap_err();
    let missing = error(&lab.options("host", "eth7"));
    assert!(matches!(missing, ProbeError::NoInterface { .. }));
    assert!(missing.to_string().contains("no interface eth7; it has: lo"), "{missing}");
    let nowhere = Options { netns: Some("/run/netns/pc-none".into()), ..Options::new("eth0") };
    assert!(matches!(error(&nowhere), ProbeError::Namespace { .. }));
    lab.ip("host", "link add br0 type bridge");
    assert!(matches!(error(&lab.options("host", "br0")), ProbeError::Unsuitable { .. }));
    lab.ip("host", "link set br0 up");
    let alone = error(&lab.options("host", "br0"));
    assert!(alone.to_string().contains("--to NETNS"), "{alone}");
    lab.ip("host", "link add v0 type veth peer name v1");
    lab.ip("host", "link set v0 up");
    lab.ip("host", "link set v1 up");
    assert!(matches!(error(&lab.options("host", "v0")), ProbeError::NoAddress { .. }));
}
