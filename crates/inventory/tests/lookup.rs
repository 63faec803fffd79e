//! Namespaces, interfaces, other ends and addresses, asked of the real kernel.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod common;

use std::net::IpAddr;

use common::{Lab, Process, run};
use portcullis_abi::Mac;
use portcullis_inventory::{
    Direction, Learner, LinkKind, Netns, NetnsId, Scope, addresses, all_addresses, discover, learn,
    link_by_index, link_by_name, links, peer_of,
};

/// A host namespace with `up0`, and a workload's with `eth0` at its other end.
fn pair() -> (Lab, Lab) {
    let (host, web) = (Lab::new("host"), Lab::new("web"));
    host.run(&format!("ip link add up0 type veth peer name eth0 netns {}", web.name));
    (host, web)
}

fn up(host: &Lab, web: &Lab) {
    web.run("ip link set eth0 up");
    host.run("ip link set up0 up");
}

#[test]
fn entering_never_moves_the_caller() {
    let lab = Lab::new("enter");
    let netns = lab.open();
    let before = Netns::current().unwrap();
    let inside = netns.enter(|| Netns::current().unwrap().id).unwrap();
    assert_eq!(inside, netns.id);
    assert_ne!(inside, before.id);
    assert_eq!(Netns::current().unwrap().id, before.id);
    let panicked = std::panic::catch_unwind(|| netns.enter(|| panic!("inside")));
    assert!(panicked.is_err());
    assert_eq!(Netns::current().unwrap().id, before.id);
}

#[test]
fn discovery_finds_named_and_nameless_namespaces_once() {
    let lab = Lab::new("named");
    let nameless = Process::in_nameless_netns();
    let inside = Process(
        std::process::Command::new("nsenter")
            .args([&format!("--net={}", lab.path().display()), "sleep", "600"])
            .spawn()
            .unwrap(),
    );
    let all = discover().unwrap();
    assert_eq!(all[0].id, Netns::current().unwrap().id, "the own namespace comes first");
    let paths =
        |id: NetnsId| all.iter().filter(|n| n.id == id).map(|n| n.path.clone().unwrap()).collect::<Vec<_>>();
    assert_eq!(paths(lab.open().id), [lab.path()]);
    let id = Netns::open(nameless.netns_path()).unwrap().id;
    assert_eq!(paths(id), [nameless.netns_path()]);
    drop(inside);
}

#[test]
fn interfaces_are_described() {
    let lab = Lab::new("kinds");
    lab.run("ip link add br0 type bridge");
    lab.run("ip link add v0 address 02:00:00:00:00:01 mtu 1400 type veth peer name v1");
    lab.run("ip link set v0 master br0");
    lab.run("ip link set v0 up");
    lab.run("ip tuntap add tun0 mode tun");
    lab.run("ip tuntap add tap0 mode tap");
    let all = links(&lab.open()).unwrap();
    let get = |name: &str| all.iter().find(|l| l.name == name).unwrap();
    let (lo, br0, v0, v1) = (get("lo"), get("br0"), get("v0"), get("v1"));
    assert!(lo.loopback && lo.has_ethernet && lo.kind == LinkKind::Loopback && lo.mac == Some(Mac::ZERO));
    assert_eq!((&br0.kind, &v0.kind), (&LinkKind::Bridge, &LinkKind::Veth));
    assert_eq!((v0.master, &v0.master_kind), (Some(br0.index), &Some(LinkKind::Bridge)));
    assert_eq!((v0.mac, v0.mtu, v0.up), (Some(Mac([2, 0, 0, 0, 0, 1])), 1400, true));
    assert_eq!(v0.peer.unwrap().ifindex, v1.index);
    assert_eq!(v0.peer.unwrap().netnsid, None, "both ends in one namespace");
    assert!(!v1.up && v1.master.is_none() && v1.xdp_prog.is_none());
    assert_eq!((&get("tun0").kind, get("tun0").has_ethernet, get("tun0").mac), (&LinkKind::Tun, false, None));
    assert_eq!((&get("tap0").kind, get("tap0").has_ethernet), (&LinkKind::Tun, true));
    assert_eq!(link_by_name(&lab.open(), "v0").unwrap().as_ref(), Some(v0));
    assert_eq!(link_by_index(&lab.open(), v1.index).unwrap().as_ref(), Some(v1));
    assert_eq!(link_by_name(&lab.open(), "absent").unwrap(), None);
    assert_eq!(link_by_index(&lab.open(), 9999).unwrap(), None);
    let error = link_by_name(&lab.open(), "a-name-far-too-long").unwrap_err();
    assert!(error.to_string().contains("a-name-far-too-long"), "{error}");
}

#[test]
fn the_other_end_is_found_by_iflink() {
    let (host, web) = pair();
    let decoys: Vec<Lab> = (0..3).map(|_| Lab::new("decoy")).collect();
    let mut candidates: Vec<Netns> = decoys.iter().map(Lab::open).collect();
    let up0 = link_by_name(&host.open(), "up0").unwrap().unwrap();
    assert!(peer_of(&host.open(), &up0, &candidates).unwrap().is_none(), "not among the candidates");
    candidates.push(web.open());
    let (netns, eth0) = peer_of(&host.open(), &up0, &candidates).unwrap().unwrap();
    assert_eq!((netns.id, netns.path), (web.open().id, Some(web.path())));
    assert_eq!(Some(eth0), link_by_name(&web.open(), "eth0").unwrap());
}

#[test]
fn the_other_end_in_the_same_namespace() {
    let lab = Lab::new("both");
    lab.run("ip link add end0 type veth peer name end1");
    let a = link_by_name(&lab.open(), "end0").unwrap().unwrap();
    let (netns, b) = peer_of(&lab.open(), &a, &[]).unwrap().unwrap();
    assert_eq!((netns.id, b.name.as_str()), (lab.open().id, "end1"));
}

#[test]
fn the_other_end_in_a_namespace_without_a_name() {
    let host = Lab::new("host");
    let process = Process::in_nameless_netns();
    host.run(&format!("ip link add up0 type veth peer name eth0 netns {}", process.0.id()));
    let up0 = link_by_name(&host.open(), "up0").unwrap().unwrap();
    let learned = learn(&host.open(), &up0, Direction::Ingress).unwrap();
    let id = Netns::open(process.netns_path()).unwrap().id;
    assert_eq!(learned.workload_netns, Some((id, process.netns_path())));
    let (netns, eth0) = peer_of(&host.open(), &up0, &discover().unwrap()).unwrap().unwrap();
    assert_eq!((netns.id, eth0.name.as_str()), (id, "eth0"));
}

#[test]
fn mac_and_link_local_are_learned() {
    let (host, web) = pair();
    web.run("ip link set eth0 address 02:42:0a:00:00:02");
    let up0 = link_by_name(&host.open(), "up0").unwrap().unwrap();
    let mac = Mac([2, 0x42, 0x0a, 0, 0, 2]);
    let derived = "fe80::42:aff:fe00:2".parse().unwrap();
    let mut learner = Learner::new(&host.open(), &[web.open()]).unwrap();
    // Still down: nothing assigned, so what the MAC gives.
    let before = learner.learn(&up0, Direction::Ingress).unwrap();
    assert_eq!((&before.macs[..], &before.link_local[..]), (&[mac][..], &[derived][..]));
    up(&host, &web);
    let after = learner.learn(&up0, Direction::Ingress).unwrap();
    assert_eq!((&after.macs[..], &after.link_local[..]), (&[mac][..], &[derived][..]));
    assert_eq!(after.workload_netns, Some((web.open().id, web.path())));
    let eth0 = link_by_name(&web.open(), "eth0").unwrap().unwrap();
    assert_eq!(after.workload_ifindex, Some(eth0.index));
    assert!(after.local.is_empty());
    // From inside the workload's namespace it is the interface's own.
    let own = learn(&web.open(), &eth0, Direction::Egress).unwrap();
    assert_eq!((own.macs, own.link_local), (after.macs, after.link_local));
}

#[test]
fn a_stable_privacy_address_is_learned_instead_of_the_derived_one() {
    let (host, web) = pair();
    web.run("sysctl -qw net.ipv6.conf.eth0.addr_gen_mode=3");
    web.run("ip link set eth0 address 02:42:0a:00:00:03");
    up(&host, &web);
    let eth0 = link_by_name(&web.open(), "eth0").unwrap().unwrap();
    let assigned: Vec<_> =
        addresses(&web.open(), eth0.index).unwrap().iter().filter_map(|a| a.link_local()).collect();
    assert_eq!(assigned.len(), 1);
    assert_ne!(assigned[0], "fe80::42:aff:fe00:3".parse::<std::net::Ipv6Addr>().unwrap());
    let up0 = link_by_name(&host.open(), "up0").unwrap().unwrap();
    let learned = learn(&host.open(), &up0, Direction::Ingress).unwrap();
    assert_eq!(learned.link_local, assigned);
}

#[test]
fn without_ipv6_the_derived_address_stands_in() {
    let (host, web) = pair();
    web.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
    up(&host, &web);
    let up0 = link_by_name(&host.open(), "up0").unwrap().unwrap();
    let learned = learn(&host.open(), &up0, Direction::Ingress).unwrap();
    assert_eq!(learned.link_local, [std::net::Ipv6Addr::from(learned.macs[0].eui64_link_local())]);
}

#[test]
fn loopback_learns_every_address_of_its_namespace() {
    let (host, web) = pair();
    up(&host, &web);
    web.run("ip link set lo up");
    web.run("ip address add 10.9.0.2/24 dev eth0");
    web.run("ip address add 2001:db8::2/64 dev eth0 nodad");
    let lo = link_by_name(&web.open(), "lo").unwrap().unwrap();
    let learned = learn(&web.open(), &lo, Direction::Egress).unwrap();
    for ip in ["127.0.0.1", "::1", "10.9.0.2", "2001:db8::2"] {
        assert!(learned.local.contains(&ip.parse::<IpAddr>().unwrap()), "{ip}: {:?}", learned.local);
    }
    assert_eq!((&learned.macs[..], learned.link_local.len()), (&[Mac::ZERO][..], 0));
}

#[test]
fn addresses_say_how_far_they_reach() {
    let lab = Lab::new("addr");
    lab.run("ip link set lo up");
    lab.run("ip link add end0 type veth peer name end1");
    lab.run("ip address add 10.1.2.3/24 dev end0");
    lab.run("ip address add 10.0.0.1 peer 10.0.0.2/32 dev end0");
    lab.run("ip -6 address add 2001:db8::1/64 dev end0");
    lab.run("ip link set end0 up");
    let netns = lab.open();
    let a = link_by_name(&netns, "end0").unwrap().unwrap();
    let of_a = addresses(&netns, a.index).unwrap();
    let get = |ip: &str| of_a.iter().find(|x| x.ip == ip.parse::<IpAddr>().unwrap()).cloned();
    assert_eq!(get("10.1.2.3").map(|x| (x.prefix_len, x.scope)), Some((24, Scope::Global)));
    assert!(get("10.0.0.1").is_some() && get("10.0.0.2").is_none(), "ours, not the far end's");
    let v6 = get("2001:db8::1").unwrap();
    assert_eq!((v6.prefix_len, v6.tentative), (64, true), "no carrier: detection cannot end");
    assert!(of_a.iter().all(|x| x.ifindex == a.index));
    let all = all_addresses(&netns).unwrap();
    assert!(all.iter().any(|x| x.ip == IpAddr::from([127, 0, 0, 1]) && x.scope == Scope::Host));
}

#[test]
fn a_thousand_interfaces_are_listed() {
    let lab = Lab::new("many");
    let lines: String = (0..500).map(|i| format!("link add m{i} type veth peer name n{i}\n")).collect();
    lab.ip_batch(&lines);
    let netns = lab.open();
    let started = std::time::Instant::now();
    let all = links(&netns).unwrap();
    println!("{} interfaces in {:?}", all.len(), started.elapsed());
    assert_eq!(all.iter().filter(|l| l.kind == LinkKind::Veth).count(), 1000);
    assert!(all.iter().all(|l| !l.name.is_empty()));
}

#[test]
fn a_vanished_namespace_is_an_error_that_says_so() {
    let lab = Lab::new("gone");
    let path = lab.path();
    drop(lab);
    let error = Netns::open(&path).unwrap_err();
    assert!(error.is_gone() && error.to_string().contains(path.to_str().unwrap()), "{error}");
    // A plain file where a namespace was.
    let stale = Lab::new("stale");
    run("umount", &[stale.path().to_str().unwrap()]);
    let error = Netns::open(stale.path()).unwrap_err();
    assert!(error.to_string().contains("not a network namespace"), "{error}");
}
