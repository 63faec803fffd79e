//! Changes are heard: of interfaces, of addresses in other namespaces, of names of namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::Lab;
use portcullis_inventory::{Change, Error, Monitor, NetnsChange, NetnsWatch, link_by_name, links};

/// The agent's runtime has one thread; so has the tests'.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Not a measure of speed: only the end of a wait for something that never comes.
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(60), work).await })
        .expect("never heard of it")
}

/// Gathers changes until `enough` is content with all of them.
async fn gather(monitor: &mut Monitor, mut enough: impl FnMut(&[Change]) -> bool) -> Vec<Change> {
    let mut all = Vec::new();
    while !enough(&all) {
        all.extend(monitor.next().await);
    }
    all
}

fn names(changes: &[Change], gone: bool) -> BTreeSet<String> {
    let name = |change: &Change| match change {
        Change::LinkChanged { name, .. } if !gone => Some(name.clone()),
        Change::LinkGone { name, .. } if gone => Some(name.clone()),
        _ => None,
    };
    changes.iter().filter_map(name).filter(|n| n.starts_with("h")).collect()
}

#[test]
fn two_hundred_interfaces_come_and_go() {
    let (host, web) = (Lab::new("host"), Lab::new("web"));
    block_on(async {
        let mut monitor = Monitor::new(&host.open()).unwrap();
        let web_name = &web.name;
        let lines: String =
            (0..200).map(|i| format!("link add h{i} type veth peer name w{i} netns {web_name}\n")).collect();
        host.ip_batch(&lines);
        let all = gather(&mut monitor, |all| names(all, false).len() == 200).await;
        assert!(!all.contains(&Change::Overrun));
        let lines: String = (0..200).map(|i| format!("link del h{i}\n")).collect();
        host.ip_batch(&lines);
        let all = gather(&mut monitor, |all| names(all, true).len() == 200).await;
        assert!(!all.contains(&Change::Overrun));
    });
    assert_eq!(links(&host.open()).unwrap().len(), 1, "only lo is left");
}

#[test]
fn an_overrun_is_told_and_hearing_goes_on() {
    let host = Lab::new("host");
    block_on(async {
        let mut monitor = Monitor::with_queue(&host.open(), 8 * 1024).unwrap();
        let lines: String = (0..100).map(|i| format!("link add h{i} type veth peer name w{i}\n")).collect();
        host.ip_batch(&lines);
        let all = gather(&mut monitor, |all| all.contains(&Change::Overrun)).await;
        assert!(names(&all, false).len() < 100, "nothing was lost, the test shows nothing");
        host.run("ip link add hlast type veth peer name wlast");
        gather(&mut monitor, |all| names(all, false).contains("hlast")).await;
        assert_eq!(links(&host.open()).unwrap().len(), 203, "the listing after an overrun is whole");
    });
}

#[test]
fn leaving_a_bridge_is_not_going_away() {
    let host = Lab::new("host");
    host.run("ip link add br0 type bridge");
    host.run("ip link add h0 type veth peer name w0");
    block_on(async {
        let mut monitor = Monitor::new(&host.open()).unwrap();
        host.run("ip link set h0 master br0");
        host.run("ip link set h0 nomaster");
        host.run("ip link set h0 name h1");
        let all = gather(&mut monitor, |all| names(all, false).contains("h1")).await;
        assert!(names(&all, true).is_empty(), "{all:?}");
        host.run("ip link del h1");
        gather(&mut monitor, |all| names(all, true).contains("h1")).await;
    });
}

#[test]
fn addresses_inside_a_workload_are_heard_of() {
    let (host, web) = (Lab::new("host"), Lab::new("web"));
    host.run(&format!("ip link add up0 type veth peer name eth0 netns {}", web.name));
    web.run("sysctl -qw net.ipv6.conf.eth0.addr_gen_mode=3");
    let netns = host.open();
    let peer = link_by_name(&netns, "up0").unwrap().unwrap().peer.unwrap();
    block_on(async {
        let mut monitor = Monitor::new(&netns).unwrap();
        assert!(monitor.hears_peers());
        web.run("ip link set eth0 up");
        let netns_hint = peer.netnsid.unwrap();
        let went_up = Change::PeerLinkChanged { ifindex: peer.ifindex, netns_hint };
        gather(&mut monitor, |all| all.contains(&went_up)).await;
        host.run("ip link set up0 up");
        let address = Change::AddressChanged { ifindex: peer.ifindex, netns_hint: Some(netns_hint) };
        gather(&mut monitor, |all| all.contains(&address)).await;
        web.run("ip address add 10.1.1.1/24 dev eth0");
        gather(&mut monitor, |all| all.contains(&address)).await;
        // The own namespace's addresses have no number.
        host.run("ip address add 10.1.1.2/24 dev up0");
        let own = |c: &Change| matches!(c, Change::AddressChanged { netns_hint: None, .. });
        gather(&mut monitor, |all| all.iter().any(own)).await;
    });
}

#[test]
fn a_monitor_outside_a_runtime_is_an_error() {
    let host = Lab::new("host");
    assert!(matches!(Monitor::new(&host.open()), Err(Error::NoRuntime)));
    assert!(matches!(NetnsWatch::new(), Err(Error::NoRuntime)));
}

#[test]
fn names_of_namespaces_are_heard_of() {
    block_on(async {
        let mut watch = NetnsWatch::new().unwrap();
        let lab = Lab::new("born");
        let (id, path) = (lab.open().id, lab.path());
        let mut seen = Vec::new();
        while !seen.contains(&NetnsChange::Appeared(id, path.clone())) {
            seen.extend(watch.next().await.unwrap());
        }
        drop(lab);
        while !seen.contains(&NetnsChange::Vanished(id, path.clone())) {
            seen.extend(watch.next().await.unwrap());
        }
    });
}
