use std::collections::{HashMap, HashSet};

use portcullis_abi::{DropReason, Ipv6, Mac};

use super::{Expect, Identity, SendVia, suite};

#[test]
fn the_suite_is_large_and_its_names_are_stable() {
    let cases = suite(&Identity::default());
    assert!(cases.len() >= 90, "{}", cases.len());
    let mut ids = HashSet::new();
    for case in &cases {
        assert!(ids.insert(case.id), "{} twice", case.id);
        assert!(
            case.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "{}",
            case.id
        );
        assert!(!case.frames.is_empty() && !case.group.is_empty() && !case.title.is_empty(), "{}", case.id);
        assert_eq!(case.hostile, case.expect.reason().is_some_and(DropReason::is_hostile));
    }
}

#[test]
fn no_two_cases_share_a_frame() {
    let mut seen = HashMap::new();
    for case in suite(&Identity::default()) {
        for frame in &case.frames {
            if let Some(other) = seen.insert(frame.clone(), case.id) {
                panic!("{} and {other} send the same bytes", case.id);
            }
        }
    }
}

#[test]
fn every_reason_of_the_gate_is_provoked() {
    let cases = suite(&Identity::default());
    for reason in [
        DropReason::SpoofedIpv4,
        DropReason::SpoofedIpv6,
        DropReason::SpoofedMac,
        DropReason::SpoofedArp,
        DropReason::SpoofedNd,
        DropReason::RogueRa,
        DropReason::RogueDhcp,
        DropReason::Malformed,
        DropReason::Vlan,
        DropReason::Ethertype,
        DropReason::Tunnel,
        DropReason::SourceRoute,
    ] {
        assert!(cases.iter().any(|c| c.expect == Expect::Drop(reason)), "{reason}");
    }
    assert!(cases.iter().filter(|c| c.expect.is_pass()).count() >= 40);
    assert!(cases.iter().any(|c| c.via == SendVia::NonLinear && c.expect.is_pass()));
}

#[test]
fn honest_frames_carry_the_own_mac() {
    let me = Identity::default();
    for case in suite(&me).iter().filter(|c| c.expect != Expect::Drop(DropReason::SpoofedMac)) {
        for frame in &case.frames {
            assert_eq!(&frame[6..12], &me.mac.0, "{}", case.id);
        }
    }
}

#[test]
fn what_is_not_known_is_derived_and_what_is_not_bound_is_not_claimed_honestly() {
    let bare = Identity { link_local: Ipv6::UNSPECIFIED, ..Identity::new(Mac([2, 0, 0, 0, 0, 9])) };
    let cases = suite(&bare);
    let honest: Vec<_> = cases.iter().filter(|c| c.expect.is_pass()).map(|c| c.id).collect();
    assert!(honest.iter().all(|id| id.starts_with("igmp")), "{honest:?}");
    let v4 = Identity {
        ipv6: None,
        link_local: Ipv6::UNSPECIFIED,
        gateway4: None,
        neighbour4: None,
        ..Identity::default()
    };
    assert_ne!(v4.neighbour4(), v4.gateway4());
    assert_ne!(Some(v4.neighbour4()), v4.ipv4);
    assert_ne!(Some(v4.gateway4()), v4.ipv4);
    assert!(suite(&v4).len() > 90);
}
