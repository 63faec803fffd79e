//! The agent with a real containerd, over CRI and through the CNI plugin.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod containers;

use std::os::unix::fs::symlink;

use containers::{
    attempts, lab, leaks, rows, sorted, source, source_state, talk, until, wait_bound, wait_gone,
};
use portcullis_policy::api::{EndpointState, SourceState};
use portcullis_policy::model::Owner;
use portcullis_testkit::{Agent, Conflist, Containerd, Forgery, Lab, ping, portcullis};
use serde_json::json;

fn bridge() -> Conflist {
    Conflist::bridge("pods", "cni0", &["10.178.0.0/24", "fd78::/64"])
}

fn start(network: &Conflist) -> (Lab, Containerd, Agent) {
    let lab = lab();
    let containerd = Containerd::start(lab.host(), network).unwrap();
    let agent = containers::agent(&lab, &source("cri", &containerd.socket()));
    (lab, containerd, agent)
}

/// The same with our plugin last in the chain.
fn chain(network: Conflist, agent: &Agent, containerd: &Containerd) -> Conflist {
    let place = containerd.plugin_directory().join("portcullis");
    if !place.exists() {
        symlink(portcullis().unwrap(), place).unwrap();
    }
    network.chained(json!({"type": "portcullis", "socket": agent.socket()}))
}

#[test]
fn honest_pods_are_bound_and_boot_without_a_hostile_attempt() {
    let (_lab, containerd, agent) = start(&bridge());
    let routed = Conflist::ptp("routed", &["10.179.0.0/24", "fd79::/64"]);
    for network in [bridge(), routed] {
        containerd.set_network(&network).unwrap();
        let pods = ["web-1", "web-2"].map(|name| containerd.run_pod(name, &[("tier", "front")]).unwrap());
        for (pod, name) in pods.iter().zip(["default/web-1", "default/web-2"]) {
            let row = wait_bound(&agent, name, network.name());
            assert_eq!(sorted(&row.addresses), sorted(&containerd.addresses(&pod.id).unwrap()));
            assert_eq!(row.inside.as_deref(), Some("eth0"));
            assert_eq!(row.workload.namespace.as_deref(), Some("default"));
            assert_eq!(row.workload.container.as_deref(), Some(pod.id.as_str()));
            assert_eq!(row.workload.labels.get("tier").map(String::as_str), Some("front"));
            let endpoint = agent.endpoint(&row.endpoint.unwrap()).unwrap();
            assert_eq!(endpoint.state, EndpointState::Active);
        }
        let [near, far] = pods.each_ref().map(|pod| containerd.namespace(&pod.id).unwrap());
        for address in containerd.addresses(&pods[1].id).unwrap() {
            assert!(ping(&near, &address, 20).unwrap().none_lost(), "{address}");
            talk(&near, &far, &address);
        }
        for (pod, name) in pods.iter().zip(["default/web-1", "default/web-2"]) {
            assert_eq!(attempts(&agent, name), 0);
            containerd.remove_pod(&pod.id).unwrap();
            wait_gone(&agent, name);
        }
        until(&agent, "no binding", || agent.endpoints().unwrap().is_empty());
    }
}

#[test]
fn a_forger_in_a_pod_gets_nothing_through() {
    let (_lab, containerd, agent) = start(&bridge());
    let far = containerd.run_pod("far", &[]).unwrap();
    wait_bound(&agent, "default/far", "pods");
    let listener = leaks(&containerd.namespace(&far.id).unwrap(), "eth0");
    for _ in 0..3 {
        let pod = containerd.run_pod("mallory", &[]).unwrap();
        // Over CRI alone a pod is known as soon as its sandbox is; its containers come later.
        wait_bound(&agent, "default/mallory", "pods");
        containerd.run_forger(&pod, &Forgery::ALL, 0, 200).unwrap();
        until(&agent, "its attempts", || attempts(&agent, "default/mallory") > 300);
        containerd.remove_pod(&pod.id).unwrap();
        wait_gone(&agent, "default/mallory");
    }
    assert_eq!(listener.stop().unwrap(), 0);
}

#[test]
fn with_the_plugin_the_first_frame_is_checked() {
    let (_lab, containerd, agent) = start(&bridge());
    containerd.set_network(&chain(bridge(), &agent, &containerd)).unwrap();
    let far = containerd.run_pod("far", &[]).unwrap();
    let listener = leaks(&containerd.namespace(&far.id).unwrap(), "eth0");
    for _ in 0..3 {
        let pod = containerd.run_pod("mallory", &[("tier", "front")]).unwrap();
        containerd.run_forger(&pod, &Forgery::ALL, 0, 200).unwrap();
        // Two describe it: one binding, with what both know.
        let row = containers::wait_row(&agent, "default/mallory", "known to both", |row| {
            row.sources.contains(&Owner::Cni) && row.sources.contains(&Owner::Cri)
        });
        assert_eq!(row.workload.labels.get("tier").map(String::as_str), Some("front"));
        assert_eq!(rows(&agent, "default/mallory").len(), 1);
        let endpoint = agent.endpoint(row.endpoint.as_deref().unwrap()).unwrap();
        assert_eq!(endpoint.conflicts, Vec::<String>::new());
        until(&agent, "its attempts", || attempts(&agent, "default/mallory") > 300);
        containerd.remove_pod(&pod.id).unwrap();
        wait_gone(&agent, "default/mallory");
    }
    assert_eq!(listener.stop().unwrap(), 0);
    assert_eq!(agent.endpoints().unwrap().len(), 1);
}

#[test]
fn containerd_goes_and_comes_back() {
    let (_lab, mut containerd, agent) = start(&bridge());
    let far = containerd.run_pod("far", &[]).unwrap();
    let stays = containerd.run_pod("stays", &[]).unwrap();
    let mallory = containerd.run_pod("mallory", &[]).unwrap();
    for name in ["default/far", "default/stays", "default/mallory"] {
        wait_bound(&agent, name, "pods");
    }
    containerd.run_forger(&mallory, &Forgery::ALL, 0, 500).unwrap();
    let listener = leaks(&containerd.namespace(&far.id).unwrap(), "eth0");
    let (inside, addresses) =
        (containerd.namespace(&stays.id).unwrap(), containerd.addresses(&far.id).unwrap());
    for killed in [false, true] {
        if killed { containerd.kill_daemon() } else { containerd.stop_daemon() }.unwrap();
        until(&agent, "the agent to notice", || source_state(&agent, Owner::Cri) != SourceState::Connected);
        let before = attempts(&agent, "default/mallory");
        until(&agent, "forgeries", || attempts(&agent, "default/mallory") > before + 100);
        for address in &addresses {
            assert!(ping(&inside, address, 5).unwrap().none_lost(), "{address}");
        }
        containerd.start_daemon().unwrap();
        until(&agent, "the agent to be back", || source_state(&agent, Owner::Cri) == SourceState::Connected);
        let name = if killed { "after-kill" } else { "after-stop" };
        containerd.run_pod(name, &[]).unwrap();
        wait_bound(&agent, &format!("default/{name}"), "pods");
        wait_bound(&agent, "default/stays", "pods");
    }
    assert_eq!(listener.stop().unwrap(), 0);
}
