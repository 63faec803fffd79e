//! The CRI source beside a real containerd with real CNI plugins.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "runtimes_cri/source.rs"]
mod source;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use portcullis_policy::container::{AttachmentPlace, Container, HostInterface, Networking};
use portcullis_policy::guard::Termination;
use portcullis_runtimes::cri::client::Pod;
use portcullis_runtimes::source::{Report, Request};
use portcullis_testkit::{Conflist, Containerd, Lab, Namespace};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use source::Source;
use tokio::sync::oneshot;

fn lab() -> Lab {
    Lab::builder().without_outside().build().unwrap()
}

fn dual_stack() -> Conflist {
    Conflist::bridge("pods", "cni0", &["10.178.0.0/24", "fd78::/64"])
}

/// Inside, addresses.
fn shown(container: &Container) -> Vec<(&str, Vec<String>)> {
    let one = |attachment: &portcullis_policy::container::Attachment| {
        attachment.addresses.iter().map(ToString::to_string).collect()
    };
    container.attachments.iter().map(|each| (each.inside.as_deref().unwrap_or(""), one(each))).collect()
}

fn host_of(container: &Container, inside: &str) -> HostInterface {
    let found = container.attachments.iter().find(|each| each.inside.as_deref() == Some(inside));
    match &found.unwrap_or_else(|| panic!("{inside} of {container:?}")).place {
        AttachmentPlace::Pair { host } => host.clone(),
        other => panic!("{other:?}"),
    }
}

/// The host side of an interface, as the namespaces themselves tell it.
fn peer(pod: &Namespace, host: &Namespace, interface: &str) -> (u32, String) {
    let inside = pod.run(&format!("ip -o link show dev {interface}")).unwrap();
    let (_, index) = inside.split_once(&format!("{interface}@if")).expect("one end of a pair");
    let index: u32 = index.split(':').next().unwrap().parse().unwrap();
    let links = host.run("ip -o link").unwrap();
    let line = links.lines().find(|line| line.starts_with(&format!("{index}: "))).expect("the host side");
    let name = line.split(": ").nth(1).unwrap();
    (index, name.split('@').next().unwrap().to_owned())
}

#[test]
fn pods_come_and_go() {
    let lab = lab();
    let containerd = Containerd::start(lab.host(), &dual_stack()).unwrap();
    let before = containerd.run_pod("before", &[("tier", "front")]).unwrap();
    let mut source = Source::outside(&containerd.socket());
    let (containers, networks) = source.snapshot();
    assert_eq!(containers.len(), 1);
    assert_eq!((networks[0].name.as_str(), networks[0].driver.as_str()), ("pods", "bridge"));
    assert_eq!(networks[0].bridge.as_ref().unwrap().name, "cni0");
    check(&containerd, &lab, &containers[0], &before.id, "before");
    assert_eq!(containers[0].workload.labels.get("tier").map(String::as_str), Some("front"));

    let mut times = Vec::new();
    for number in 0..5 {
        let name = format!("web-{number}");
        let pod = containerd.run_pod(&name, &[]).unwrap();
        let returned = Instant::now();
        let container = source.changed(&pod.id);
        times.push(returned.elapsed());
        check(&containerd, &lab, &container, &pod.id, &name);
        containerd.stop_pod(&pod.id).unwrap();
        source.gone(&pod.id);
    }
    times.sort_unstable();
    println!("RunPodSandbox's return to the report: {times:?}");

    // The pod lives on in another sandbox, as a restart makes it.
    containerd.stop_pod(&before.id).unwrap();
    source.gone(&before.id);
    let again = containerd.run_pod_as(Pod { attempt: 1, ..Pod::new("default", "before") }).unwrap();
    check(&containerd, &lab, &source.changed(&again.id), &again.id, "before");

    let host = containerd.run_pod_as(Pod { host_network: true, ..Pod::new("kube-system", "proxy") }).unwrap();
    let container = source.changed(&host.id);
    assert_eq!((container.name.as_str(), &container.networking), ("kube-system/proxy", &Networking::Host));
    assert_eq!((container.attachments.len(), container.trouble), (0, None));
}

fn check(containerd: &Containerd, lab: &Lab, container: &Container, id: &str, name: &str) {
    assert_eq!(container.id, id);
    assert_eq!(container.name, format!("default/{name}"));
    assert_eq!((&container.networking, container.trouble.as_deref()), (&Networking::Own, None));
    let workload = &container.workload;
    assert_eq!(
        (workload.runtime.as_deref(), workload.pod.as_deref(), workload.namespace.as_deref()),
        (Some("containerd"), Some(name), Some("default"))
    );
    assert_eq!(shown(container), [("eth0", containerd.addresses(id).unwrap())]);
    assert_eq!(container.attachments[0].addresses.len(), 2);
    assert_eq!(container.attachments[0].network.as_deref(), Some("pods"));
    let pod = containerd.namespace(id).unwrap();
    let host = host_of(container, "eth0");
    assert_eq!((host.index, host.name), peer(&pod, lab.host(), "eth0"));
    assert_eq!(u64::from(host.netns), lab.host().inode().unwrap());
    let [mac] = container.attachments[0].macs.as_slice() else { panic!("{container:?}") };
    assert!(pod.run("ip link show dev eth0").unwrap().contains(&mac.to_string()));
    assert!(container.since.is_some() && container.netns.is_some());
}

#[test]
fn other_plugins_are_understood() {
    let lab = lab();
    let containerd =
        Containerd::start(lab.host(), &Conflist::ptp("routed", &["10.179.0.0/24", "fd79::/64"])).unwrap();
    // In the host's own namespace, as the agent usually is.
    let mut source = Source::within(lab.host(), &containerd.socket());
    assert!(source.snapshot().0.is_empty());
    let routed = containerd.run_pod("routed", &[]).unwrap();
    let container = source.changed(&routed.id);
    assert_eq!(shown(&container), [("eth0", containerd.addresses(&routed.id).unwrap())]);
    let host = host_of(&container, "eth0");
    assert_eq!(host.netns_path, None);
    assert_eq!((host.index, host.name), peer(&containerd.namespace(&routed.id).unwrap(), lab.host(), "eth0"));

    containerd.set_network(&Conflist::bridge("six", "six0", &["fd6::/64"])).unwrap();
    let six = containerd.run_pod("six", &[]).unwrap();
    let container = source.changed(&six.id);
    assert_eq!(
        (shown(&container), container.trouble.as_deref()),
        (vec![("eth0", vec!["fd6::2".to_owned()])], None)
    );

    lab.host().ip("link add lower type veth peer name lower-end\nlink set lower up").unwrap();
    let plugin = json!({"type": "macvlan", "master": "lower", "ipam":
        {"type": "host-local", "dataDir": containerd.directory().join("books"), "ranges": [[{"subnet": "10.180.0.0/24"}]]}});
    let network = json!({"cniVersion": "1.0.0", "name": "flat", "plugins": [plugin]});
    fs::write(containerd.cni_directory().join("00-flat.conflist"), network.to_string()).unwrap();
    containerd.wait_network("flat").unwrap();
    let flat = containerd.run_pod("flat", &[]).unwrap();
    let container = source.changed(&flat.id);
    assert_eq!(shown(&container), [("eth0", containerd.addresses(&flat.id).unwrap())]);
    let AttachmentPlace::Inside { kind, netns, interface } = &container.attachments[0].place else {
        panic!("{container:?}");
    };
    assert_eq!((kind.as_str(), interface.as_str()), ("macvlan", "eth0"));
    assert_eq!(Some(netns), container.netns.as_ref());
}

/// Gives each pod a second interface that the runtime does not hear of, as Multus does.
const SECOND: &str = r#"#!/usr/bin/env python3
import json, os, subprocess, sys
config = json.load(sys.stdin)
if os.environ["CNI_COMMAND"] == "VERSION":
    print(json.dumps({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}))
    sys.exit()
ipam = {"type": "host-local", "dataDir": config["books"], "ranges": [[{"subnet": "10.181.0.0/24"}]]}
second = {"cniVersion": "1.0.0", "name": "second", "type": "bridge", "bridge": "second0", "ipam": ipam}
subprocess.run([os.environ["CNI_PATH"].split(":")[0] + "/bridge"], input=json.dumps(second), text=True, check=True,
               stdout=subprocess.DEVNULL, env=dict(os.environ, CNI_IFNAME="net1"))
if os.environ["CNI_COMMAND"] == "ADD":
    print(json.dumps(config["prevResult"]))
"#;

#[test]
fn a_second_interface_that_nobody_tells_of_is_vouched_for_by_its_moment() {
    let lab = lab();
    let books = json!("/nonexistent");
    let network = dual_stack().chained(json!({"type": "second", "books": books}));
    let containerd = Containerd::start(lab.host(), &network).unwrap();
    let script = SECOND.replace("config[\"books\"]", &json!(containerd.directory().join("more")).to_string());
    let path = containerd.plugin_directory().join("second");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();

    let mut source = Source::outside(&containerd.socket());
    source.snapshot();
    let pod = containerd.run_pod("two", &[]).unwrap();
    let container = source.changed(&pod.id);
    let inside = containerd.namespace(&pod.id).unwrap();
    let expected =
        vec![("eth0", containerd.addresses(&pod.id).unwrap()), ("net1", vec!["10.181.0.2".to_owned()])];
    assert_eq!((shown(&container), container.trouble.as_deref()), (expected, None));
    for interface in ["eth0", "net1"] {
        let host = host_of(&container, interface);
        assert_eq!((host.index, host.name), peer(&inside, lab.host(), interface));
    }

    // With CAP_NET_ADMIN a workload may call them what it likes, and give itself any address.
    inside
        .ip("link set eth0 down\nlink set eth0 name hidden\nlink set hidden up\nlink add eth0 type bridge\n\
             address add 10.178.0.99/24 dev eth0\naddress add 10.181.0.99/24 dev net1")
        .unwrap();
    source.ask(Request::LookAt(pod.id.clone()));
    source.ask(Request::Resync);
    let (containers, _) = source.snapshot();
    assert_eq!(containers[0].attachments, container.attachments);

    // An agent that comes later takes the runtime's word, and says what it cannot know.
    std::thread::sleep(Duration::from_millis(1100));
    let (later, _) = Source::outside(&containerd.socket()).snapshot();
    assert_eq!(later[0].attachments, container.attachments[..1]);
    let trouble = later[0].trouble.as_deref().unwrap();
    assert!(trouble.contains("net1") && trouble.contains("bind"), "{trouble}");
}

#[test]
fn the_daemon_dies_and_returns() {
    let lab = lab();
    let mut containerd = Containerd::start(lab.host(), &dual_stack()).unwrap();
    let stays = containerd.run_pod("stays", &[]).unwrap();
    let dies = containerd.run_pod("dies", &[]).unwrap();
    let mut source = Source::outside(&containerd.socket());
    assert_eq!(source.snapshot().0.len(), 2);
    let pause = containerd.namespace(&dies.id).unwrap();
    containerd.kill_daemon().unwrap();
    source.failing();
    // While nobody looks, a pod ends.
    let pid = pause.name().trim_start_matches("process ").parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    containerd.start_daemon().unwrap();
    let (containers, _) = source.snapshot();
    let running: Vec<&str> = containers.iter().map(|container| container.id.as_str()).collect();
    if running != [stays.id.as_str()] {
        // containerd notices a little later than it answers.
        source.gone(&dies.id);
    }
    containerd.stop_daemon().unwrap();
    source.until(|report| matches!(report, Report::Absent).then_some(()));
    containerd.start_daemon().unwrap();
    let (containers, _) = source.snapshot();
    assert_eq!(containers.len(), 1);
    check(&containerd, &lab, &containers[0], &stays.id, "stays");
}

#[test]
fn a_sandbox_is_stopped_on_request() {
    let lab = lab();
    let containerd = Containerd::start(lab.host(), &dual_stack()).unwrap();
    let pod = containerd.run_pod("web", &[]).unwrap();
    containerd.run_container(&pod, "sleeper", &["sleep", "1000"]).unwrap();
    let mut source = Source::outside(&containerd.socket());
    source.snapshot();
    let (answer, done) = oneshot::channel();
    let asked = Instant::now();
    source.ask(Request::Terminate { id: pod.id.clone(), how: Termination::Kill, answer });
    assert_eq!(done.blocking_recv().unwrap(), Ok(()));
    println!("terminated after {:?}", asked.elapsed());
    source.gone(&pod.id);
    assert!(!containerd.is_ready(&pod.id).unwrap());
    // Once more does no harm.
    let (answer, done) = oneshot::channel();
    source.ask(Request::Terminate { id: pod.id.clone(), how: Termination::Restart, answer });
    assert_eq!(done.blocking_recv().unwrap(), Ok(()));
}

#[test]
fn many_pods_are_told_at_once() {
    const PODS: usize = 20;
    let lab = lab();
    let containerd = Containerd::start(lab.host(), &dual_stack()).unwrap();
    let pods: Vec<_> = (0..PODS).map(|n| containerd.run_pod(&format!("web-{n}"), &[]).unwrap()).collect();
    let began = Instant::now();
    let mut source = Source::outside(&containerd.socket());
    let (containers, _) = source.snapshot();
    println!("snapshot of {PODS} pods after {:?}", began.elapsed());
    assert_eq!(containers.len(), PODS);
    assert!(containers.iter().all(|each| each.trouble.is_none() && each.attachments.len() == 1));
    let mut hosts: Vec<u32> = containers.iter().map(|each| host_of(each, "eth0").index).collect();
    hosts.sort_unstable();
    hosts.dedup();
    assert_eq!(hosts.len(), PODS);
    for pod in &pods[..PODS / 2] {
        containerd.remove_pod(&pod.id).unwrap();
    }
    for pod in &pods[..PODS / 2] {
        source.gone(&pod.id);
    }
}
