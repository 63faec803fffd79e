use proptest::prelude::*;

use super::*;
use crate::generate::{any_spec, spec};
use crate::model::Direction;

const BRIDGE: NetworkScope = NetworkScope { netns: 1, master: Some(10), private: None };

fn with_mac(mut spec: EndpointSpec, mac: &str) -> EndpointSpec {
    spec.macs = vec![mac.parse().unwrap()];
    spec
}

fn on(spec: &EndpointSpec, scope: NetworkScope, ifindex: u32) -> Resolved<'_> {
    Resolved::found(spec, &Learned::default(), scope, ifindex)
}

/// The same answer from both ways to find it.
fn conflict(new: &Resolved<'_>, other: &Resolved<'_>) -> Option<String> {
    let found = find_conflict(new, [other.clone()]);
    let mut claims = Claims::default();
    claims.claim(other).unwrap();
    assert_eq!(claims.claim(new).err().map(|c| *c), found);
    found.map(|c| c.to_string())
}

#[test]
fn messages_name_the_claim_the_owner_and_the_way_out() {
    let web = with_mac(spec("web-1", "veth1", &["10.0.0.2", "fd00::/64"]), "02:00:00:00:00:01");
    for (new, want) in [
        (
            spec("db", "veth2", &["10.0.0.2"]),
            "10.0.0.2 is already bound to endpoint \"web-1\" (interface veth1) in the same network; \
             unbind it there first: portcullis endpoint unbind web-1",
        ),
        (
            spec("db", "veth2", &["10.0.0.0/24"]),
            "10.0.0.0/24 overlaps 10.0.0.2, which is already bound to endpoint \"web-1\" (interface veth1) in the \
             same network; unbind it there first: portcullis endpoint unbind web-1",
        ),
        (
            spec("db", "veth2", &["fd00::7"]),
            "fd00::7 overlaps fd00::/64, which is already bound to endpoint \"web-1\" (interface veth1) in the same \
             network; unbind it there first: portcullis endpoint unbind web-1",
        ),
        (
            with_mac(spec("db", "veth2", &["10.0.0.3"]), "02:00:00:00:00:01"),
            "MAC 02:00:00:00:00:01 is already bound to endpoint \"web-1\" (interface veth1) in the same network; \
             unbind it there first: portcullis endpoint unbind web-1",
        ),
    ] {
        assert_eq!(conflict(&on(&new, BRIDGE, 2), &on(&web, BRIDGE, 1)).as_deref(), Some(want));
    }
    let same = spec("db", "veth1", &["10.0.0.3"]);
    assert_eq!(
        conflict(&on(&same, BRIDGE, 1), &on(&web, BRIDGE, 1)).as_deref(),
        Some(
            "interface veth1 already has endpoint \"web-1\" (ingress); unbind it there first: \
             portcullis endpoint unbind web-1"
        )
    );
}

#[test]
fn what_is_apart_does_not_conflict() {
    let web = with_mac(spec("web", "veth1", &["10.0.0.2", "fd00::/64"]), "02:00:00:00:00:01");
    let copy = with_mac(spec("copy", "veth2", &["10.0.0.2", "fd00::/64"]), "02:00:00:00:00:01");
    for (scope, why) in [
        (NetworkScope { master: Some(11), ..BRIDGE }, "another bridge"),
        (NetworkScope { master: None, ..BRIDGE }, "routed"),
        (NetworkScope { netns: 2, ..BRIDGE }, "another namespace"),
        (NetworkScope { private: Some(2), ..BRIDGE }, "alone on its side"),
    ] {
        assert_eq!(conflict(&on(&copy, scope, 2), &on(&web, BRIDGE, 1)), None, "{why}");
    }
    let neighbour = with_mac(spec("db", "veth2", &["10.0.0.3", "fd01::/64"]), "02:00:00:00:00:02");
    assert_eq!(conflict(&on(&neighbour, BRIDGE, 2), &on(&web, BRIDGE, 1)), None);
    let renewed = spec("web", "veth1", &["10.0.0.2", "10.0.0.3"]);
    assert_eq!(conflict(&on(&renewed, BRIDGE, 1), &on(&web, BRIDGE, 1)), None, "it replaces itself");
    let (one, two) = (spec("lo-1", "lo", &["127.0.0.1"]), spec("lo-2", "lo", &["127.0.0.1"]));
    let two = EndpointSpec {
        interface: InterfaceRef { name: "lo".into(), netns: Some("/run/netns/b".into()) },
        ..two
    };
    let scope = |netns| NetworkScope { netns, master: None, private: Some(1) };
    assert_eq!(
        conflict(&on(&two, scope(2), 1), &on(&one, scope(1), 1)),
        None,
        "each namespace has its own lo"
    );
}

#[test]
fn routed_interfaces_of_one_namespace_share_its_addresses() {
    let routed = NetworkScope { netns: 1, master: None, private: None };
    let (a, b) = (spec("a", "cali1", &["10.0.0.2"]), spec("b", "cali2", &["10.0.0.2"]));
    assert!(conflict(&on(&b, routed, 2), &on(&a, routed, 1)).is_some());
}

#[test]
fn loopback_macs_do_not_conflict() {
    let (a, b) =
        (with_mac(spec("a", "x", &["10.0.0.1"]), "00:00:00:00:00:00"), spec("b", "y", &["10.0.0.2"]));
    let b = with_mac(b, "00:00:00:00:00:00");
    assert_eq!(conflict(&on(&b, BRIDGE, 2), &on(&a, BRIDGE, 1)), None);
}

#[test]
fn one_interface_is_one_anchor_by_every_name_and_on_both_sides() {
    let at = |name: &str, interface: &str, netns: Option<&str>, address: &str| EndpointSpec {
        interface: InterfaceRef { name: interface.into(), netns: netns.map(Into::into) },
        ..spec(name, interface, &[address])
    };
    let by_name = at("a", "eth0", Some("/run/netns/web"), "10.0.0.1");
    let by_pid = at("b", "eth0", Some("/proc/77/ns/net"), "10.0.0.2");
    let scope = NetworkScope { netns: 9, master: None, private: Some(2) };
    assert!(conflict(&on(&by_pid, scope, 2), &on(&by_name, scope, 2)).is_some());
    // The same words, while the interface does not exist.
    let again = at("b", "eth0", Some("/run/netns/web"), "10.0.0.2");
    assert!(conflict(&Resolved::waiting(&again), &Resolved::waiting(&by_name)).is_some());
    // The kernel has one entry for an interface, whatever the side.
    let egress = EndpointSpec { direction: Direction::Egress, ..again };
    assert!(conflict(&on(&egress, scope, 2), &on(&by_name, scope, 2)).is_some());
    // Neither exists: the addresses cannot be compared yet.
    let elsewhere = at("c", "eth1", None, "10.0.0.1");
    assert_eq!(conflict(&Resolved::waiting(&elsewhere), &Resolved::waiting(&by_name)), None);
}

#[test]
fn a_refused_claim_leaves_the_old_one() {
    let mut claims = Claims::default();
    let (a, b) = (spec("a", "veth1", &["10.0.0.1"]), spec("b", "veth2", &["10.0.0.2"]));
    claims.claim(&on(&a, BRIDGE, 1)).unwrap();
    claims.claim(&on(&b, BRIDGE, 2)).unwrap();
    let greedy = spec("b", "veth2", &["10.0.0.0/24"]);
    assert!(claims.claim(&on(&greedy, BRIDGE, 2)).is_err());
    let third = spec("c", "veth3", &["10.0.0.2"]);
    assert_eq!(claims.claim(&on(&third, BRIDGE, 3)).unwrap_err().other, "b");
    assert!(claims.release("b") && !claims.release("b"));
    claims.claim(&on(&third, BRIDGE, 3)).unwrap();
    assert_eq!(claims.len(), 2);
}

#[test]
fn ten_thousand_endpoints_are_claimed() {
    let mut claims = Claims::default();
    for i in 0..10_000u32 {
        let address = IpAddr::from((0x0a00_0000 + i).to_be_bytes());
        let mut spec = spec(&format!("e{i}"), &format!("veth{i}"), &[]);
        spec.addresses = vec![AddressBinding::try_from(ipnet::IpNet::from(address)).unwrap()];
        claims.claim(&on(&spec, BRIDGE, i + 1)).unwrap();
    }
    let late = spec("late", "late", &["10.0.16.0/20"]);
    assert!(claims.claim(&on(&late, BRIDGE, 20_000)).is_err());
}

#[test]
fn a_neighbours_identity_cannot_be_learned() {
    let web = with_mac(spec("web", "veth1", &["10.0.0.2"]), "02:42:0a:00:00:02");
    let other = on(&web, BRIDGE, 1);
    let theirs = Learned::default();
    let learn = |scope: NetworkScope| {
        let mut mine = Learned {
            macs: vec!["02:42:0a:00:00:02".parse().unwrap(), "02:42:0a:00:00:03".parse().unwrap()],
            link_local: vec!["fe80::42:aff:fe00:2".parse().unwrap(), "fe80::7".parse().unwrap()],
            local: vec![],
        };
        let withheld = withhold("db", &scope, &mut mine, [(&other, &theirs)]);
        (mine.macs.len(), mine.link_local.len(), withheld)
    };
    let (macs, addresses, withheld) = learn(BRIDGE);
    assert_eq!((macs, addresses), (1, 1));
    let web = || "web".to_string();
    assert_eq!(
        withheld,
        [("02:42:0a:00:00:02".to_string(), web()), ("fe80::42:aff:fe00:2".to_string(), web())]
    );
    assert_eq!(learn(NetworkScope { netns: 2, ..BRIDGE }), (2, 2, vec![]));
}

fn any_scope() -> impl Strategy<Value = NetworkScope> {
    (1..3u32, prop::option::of(Just(10u32)), prop::option::weighted(0.1, Just(5u32)))
        .prop_map(|(netns, master, private)| NetworkScope { netns, master, private })
}

/// Any spec, with a name, an interface and an index of its own.
fn apart(i: usize, mut spec: EndpointSpec) -> EndpointSpec {
    spec.name = format!("e{i}");
    spec.interface.name = format!("veth{}", i % 12);
    spec.addresses.truncate(3);
    spec
}

proptest! {
    #[test]
    fn conflicts_are_symmetric(a in any_spec(), b in any_spec(), sa in any_scope(), sb in any_scope()) {
        let (a, b) = (apart(1, a), apart(2, b));
        let (a, b) = (on(&a, sa, 1), on(&b, sb, 2));
        prop_assert_eq!(find_conflict(&a, [b.clone()]).is_some(), find_conflict(&b, [a]).is_some());
    }

    #[test]
    fn the_index_finds_what_the_comparison_finds(
        specs in prop::collection::vec((any_spec(), any_scope(), 0..16usize, any::<bool>()), 1..24),
    ) {
        let specs: Vec<_> = specs.into_iter().map(|(s, scope, i, gone)| (apart(i, s), scope, i, gone)).collect();
        let mut accepted: Vec<Resolved<'_>> = Vec::new();
        let mut claims = Claims::default();
        for (spec, scope, i, gone) in &specs {
            if *gone {
                let held = accepted.iter().any(|r| r.spec.name == spec.name);
                prop_assert_eq!(claims.release(&spec.name), held);
                accepted.retain(|r| r.spec.name != spec.name);
                continue;
            }
            let new = on(spec, *scope, *i as u32);
            let slow = find_conflict(&new, accepted.iter().cloned());
            let quick = claims.claim(&new);
            prop_assert_eq!(quick.is_err(), slow.is_some(), "{:?} {:?}", quick, slow);
            match quick {
                Ok(()) => {
                    accepted.retain(|r| r.spec.name != spec.name);
                    accepted.push(new);
                }
                Err(conflict) => {
                    // It names a true one.
                    let named: Vec<_> = accepted.iter().filter(|r| r.spec.name == conflict.other).cloned().collect();
                    prop_assert!(find_conflict(&new, named).is_some());
                }
            }
            prop_assert_eq!(claims.len(), accepted.len());
        }
    }
}
