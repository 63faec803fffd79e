//! What is protectable, told from real namespaces and from made-up ones.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::process::Command;

use common::{Lab, Process};
use portcullis_inventory::hostnet::{HostNetworkProcess, host_network_processes};
use portcullis_inventory::{
    Candidate, Link, LinkKind, NamespaceView, Netns, NetnsId, PeerRef, Protectability, classify, survey,
};

/// What `survey` finds when asked from inside a namespace, less other tests' namespaces.
fn rows_seen_from(host: &Lab, others: &[&Lab]) -> Vec<Candidate> {
    let mut ours: Vec<NetnsId> = others.iter().map(|lab| lab.open().id).collect();
    ours.push(host.open().id);
    let views = host.open().enter(|| survey().unwrap()).unwrap();
    assert!(views[0].is_agent && views[0].id == host.open().id);
    classify(&views, &[]).into_iter().filter(|row| ours.contains(&row.netns)).collect()
}

fn name(row: &Candidate) -> &str {
    row.link.as_ref().map_or("", |link| link.name.as_str())
}

fn row<'a>(rows: &'a [Candidate], netns: &Lab, wanted: &str) -> Option<&'a Candidate> {
    let id = netns.open().id;
    rows.iter().find(|row| row.netns == id && name(row) == wanted)
}

fn reason(row: &Candidate) -> &str {
    match &row.protectability {
        Protectability::NotProtectable(reason) => reason,
        Protectability::HostSide => "",
    }
}

#[test]
fn a_host_with_containers_of_every_kind() {
    let (host, web, mac, outside) = (Lab::new("host"), Lab::new("web"), Lab::new("mac"), Lab::new("outside"));
    host.run("ip link add br0 type bridge");
    host.run(&format!("ip link add up0 type veth peer name eth0 netns {}", web.name));
    host.run("ip link set up0 master br0");
    host.run("ip link add wire0 type veth peer name wire1");
    host.run("ip tuntap add tun0 mode tun");
    host.run("ip tuntap add tap0 mode tap");
    host.run(&format!("ip link add mv0 link wire0 netns {} type macvlan mode bridge", mac.name));
    host.run("ip link add mt0 link wire0 type macvtap mode bridge");
    web.run("ip tuntap add tun9 mode tun");
    web.run("ip link add mvin link eth0 type macvlan mode bridge");
    let rows = rows_seen_from(&host, &[&web, &mac, &outside]);

    let up0 = row(&rows, &host, "up0").unwrap();
    assert_eq!(up0.protectability, Protectability::HostSide);
    assert_eq!(up0.peer, Some(format!("eth0 in {}", web.path().display())));
    for tun in ["tun0", "tap0"] {
        assert_eq!(row(&rows, &host, tun).unwrap().protectability, Protectability::HostSide, "{tun}");
    }
    assert!(!row(&rows, &host, "tun0").unwrap().link.as_ref().unwrap().has_ethernet);
    let mv0 = row(&rows, &mac, "mv0").unwrap();
    assert_eq!(
        reason(mv0),
        format!(
            "macvlan of wire0 in the agent's namespace: no host-side interface; \
             bind it from inside with --netns {} --direction egress",
            mac.path().display()
        )
    );
    assert!(reason(row(&rows, &host, "mt0").unwrap()).starts_with("macvtap"));
    let mut all: Vec<&str> = rows.iter().map(name).collect();
    all.sort_unstable();
    assert_eq!(all, ["mt0", "mv0", "tap0", "tun0", "up0"], "nothing else can be sent from");
}

#[test]
fn a_host_inside_a_namespace_keeps_its_own_side() {
    // The agent sits elsewhere; `host` has a bridge with two containers and an uplink of its own.
    let (agent, host, web, db, outside) =
        (Lab::new("agent"), Lab::new("host"), Lab::new("web"), Lab::new("db"), Lab::new("outside"));
    host.run("ip link add br0 type bridge");
    for (end, lab) in [("up0", &web), ("up1", &db), ("up2", &outside)] {
        host.run(&format!("ip link add {end} type veth peer name eth0 netns {}", lab.name));
    }
    host.run("ip link set up0 master br0");
    assert_eq!(
        rows_seen_from(&agent, &[&host, &web]).len(),
        0,
        "what it has no cable to is not its business"
    );
    agent.run(&format!("ip link add cable type veth peer name far netns {}", host.name));
    let mut rows = rows_seen_from(&agent, &[&host, &web, &db, &outside]);
    rows.retain(|row| !row.in_agent_netns);
    let mut found: Vec<_> = rows.iter().map(|row| (row.netns == host.open().id, name(row))).collect();
    found.sort_unstable();
    assert_eq!(found, [(true, "up0"), (true, "up1"), (true, "up2")], "{rows:?}");
    assert!(rows.iter().all(|row| row.netns_path == Some(host.path()) && !row.in_agent_netns));
}

#[test]
fn a_container_on_the_hosts_network_is_named() {
    let child =
        Command::new("unshare").args(["--mount", "--pid", "--fork", "--kill-child", "sleep", "600"]).spawn();
    let unshare = Process(child.unwrap());
    let pid = unshare.0.id();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let inside = loop {
        let text = std::fs::read_to_string(&children).unwrap();
        if let Some(child) = text.split_whitespace().next() {
            break child.parse::<u32>().unwrap();
        }
        std::thread::yield_now();
    };
    let found = loop {
        let found = host_network_processes().unwrap();
        // Between fork and exec it still has its parent's name.
        if found.iter().any(|p| p.pid == inside && p.command == "sleep") {
            break found;
        }
        assert!(found.iter().any(|p| p.pid == inside), "{inside} not in {found:?}");
    };
    assert!(!found.iter().any(|p| p.pid == std::process::id() || p.pid == 1));
    let view = view(1, true, vec![]);
    let rows = classify(&[view], &found);
    assert!(rows.iter().any(|row| reason(row).contains(&format!("(sleep, pid {inside})"))), "{rows:?}");
}

#[test]
fn many_containers_on_the_hosts_network_are_counted() {
    let crowd: Vec<_> = (1..=40).map(|pid| HostNetworkProcess { pid, command: "x".into() }).collect();
    let rows = classify(&[view(1, true, vec![])], &crowd);
    assert_eq!(rows.len(), 17);
    assert!(reason(&rows[16]).contains("24 more"), "{}", reason(&rows[16]));
}

fn view(id: u32, is_agent: bool, links: Vec<Link>) -> NamespaceView {
    let nsids = BTreeMap::from([(1, NetnsId(1)), (2, NetnsId(2))]);
    let path = Some(format!("/run/netns/ns{id}").into());
    NamespaceView { id: NetnsId(id), path, is_agent, links, nsids }
}

fn link(index: u32, name: &str, kind: LinkKind, peer: Option<(u32, Option<i32>)>) -> Link {
    // Read from the kernel, since it has more fields than a test cares for.
    let lo = portcullis_inventory::link_by_name(&Netns::current().unwrap(), "lo").unwrap().unwrap();
    let peer = peer.map(|(ifindex, netnsid)| PeerRef { ifindex, netnsid });
    Link { index, name: name.into(), kind, peer, loopback: false, ..lo }
}

/// Kinds that this kernel may lack.
#[test]
fn netkit_ipvlan_and_hardware() {
    let end = |index, name: &str, peer, primary| Link {
        netkit_primary: Some(primary),
        ..link(index, name, LinkKind::Netkit, Some(peer))
    };
    let agent = view(
        1,
        true,
        vec![
            link(2, "eno1", LinkKind::Physical, None),
            link(3, "br0", LinkKind::Bridge, None),
            end(5, "nk0", (4, Some(2)), true),
            end(6, "wrong-way", (9, Some(2)), false),
            link(7, "eno1.5", LinkKind::Vlan, Some((2, None))),
            link(8, "lost", LinkKind::Veth, Some((3, Some(77)))),
        ],
    );
    let pod = view(
        2,
        false,
        vec![
            end(4, "eth0", (5, Some(1)), false),
            link(11, "ipvl0", LinkKind::Ipvlan, Some((2, Some(1)))),
            link(12, "vlan0", LinkKind::Vlan, Some((2, Some(1)))),
            link(13, "enp1s0v3", LinkKind::Physical, None),
            link(14, "own", LinkKind::Vlan, Some((4, None))),
        ],
    );
    let rows = classify(&[agent, pod], &[]);
    let found: Vec<_> = rows.iter().map(|row| (name(row), row.peer.as_deref(), reason(row))).collect();
    let inside = "bind it from inside with --netns /run/netns/ns2 --direction egress";
    assert_eq!(
        found,
        [
            ("nk0", Some("eth0 in /run/netns/ns2"), ""),
            ("lost", Some("interface 3 in a namespace without a path (nsid 77)"), ""),
            (
                "ipvl0",
                None,
                &*format!("ipvlan of eno1 in the agent's namespace: no host-side interface; {inside}")
            ),
            (
                "vlan0",
                None,
                &*format!("vlan of eno1 in the agent's namespace: no host-side interface; {inside}")
            ),
            (
                "enp1s0v3",
                None,
                &*format!(
                    "physical device moved into the workload's namespace: no host-side interface; {inside}"
                )
            ),
        ]
    );
}
