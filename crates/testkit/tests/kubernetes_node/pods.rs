//! This node's pods.

use std::path::PathBuf;
use std::sync::mpsc::Sender;

use portcullis_kubernetes::pods::{self, PodsConfig};
use portcullis_policy::container::{AttachmentPlace, Container, Networking};
use portcullis_runtimes::source::Report;
use portcullis_testkit::kube::ControlPlane;
use portcullis_testkit::{Lab, Process};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::running::Running;
use crate::{agent, plane, plane_in};

async fn follow(client: kube::Client, words: Sender<Report>) {
    let (sender, mut reports) = mpsc::channel(16);
    let (_requests, asked) = mpsc::channel(1);
    let hearing = async {
        while let Some(report) = reports.recv().await {
            if words.send(report).is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = pods::run(PodsConfig::new(client, "node-1"), sender, asked) => {}
        () = hearing => {}
    }
}

/// A pod as a scheduler and a kubelet leave it. Gives its UID.
fn pod(plane: &ControlPlane, name: &str, node: &str, addresses: &[&str]) -> String {
    let spec = json!({"nodeName": node, "containers": [{"name": "a", "image": "x"}],
        "automountServiceAccountToken": false, "enableServiceLinks": false});
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
    let path = "/api/v1/namespaces/shop/pods";
    let made = plane.send("POST", path, Some(&object)).unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    let status = json!({"status": {"phase": "Running", "podIP": addresses[0], "podIPs": ips}});
    plane.send("PATCH", &format!("{path}/{name}/status"), Some(&status)).unwrap();
    made["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn delete(plane: &ControlPlane, name: &str) {
    let now = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
    plane.send("DELETE", &format!("/api/v1/namespaces/shop/pods/{name}"), Some(&now)).unwrap();
}

fn ready(plane: &ControlPlane) {
    plane.ensure_namespace("shop").unwrap();
    // Nobody makes it without controllers, and pods are refused without it.
    plane.token("shop", "default", &[]).unwrap();
}

fn changed(report: Report, name: &str) -> Option<Container> {
    match report {
        Report::Changed(container) if container.name == name => Some(*container),
        _ => None,
    }
}

fn snapshot(report: Report) -> Option<Vec<String>> {
    match report {
        Report::Snapshot { containers, .. } => {
            let mut names: Vec<String> = containers.into_iter().map(|one| one.name).collect();
            names.sort();
            Some(names)
        }
        _ => None,
    }
}

#[test]
fn a_node_hears_of_its_own_pods_through_whatever_happens_to_the_api_server() {
    let mut plane = plane();
    ready(&plane);
    pod(&plane, "old", "node-1", &["10.0.0.2"]);
    pod(&plane, "elsewhere", "node-2", &["10.0.1.2"]);
    let running = Running::start(&plane, &agent(&plane), follow);
    assert_eq!(running.until("the first list", snapshot), ["shop/old"]);
    let uid = pod(&plane, "new", "node-1", &["10.0.0.3", "fd00::3"]);
    let container = running.until("the new one", |report| changed(report, "shop/new"));
    assert_eq!((container.id.as_str(), container.networking.clone()), (uid.as_str(), Networking::Own));
    assert_eq!(container.workload.labels["app"], "new");
    let saved = plane.save("before").unwrap();
    plane.kubectl(&["--namespace", "shop", "label", "pod", "new", "tier=front"]).unwrap();
    running.until("the label", |report| {
        changed(report, "shop/new").filter(|one| one.workload.labels.contains_key("tier"))
    });
    // Completed: its address may be the next one's.
    let over = json!({"status": {"phase": "Succeeded"}});
    plane.send("PATCH", "/api/v1/namespaces/shop/pods/new/status", Some(&over)).unwrap();
    let gone = running.until("its end", |report| match report {
        Report::Gone { id, .. } => Some(id),
        _ => None,
    });
    assert_eq!(gone, uid);
    pod(&plane, "later", "node-1", &["10.0.0.4"]);
    running.until("another", |report| changed(report, "shop/later"));
    // The API server is killed, and comes back: nothing was missed, and nobody else's pods are told.
    plane.kill().unwrap();
    let why = running.until("the outage", |report| match report {
        Report::Failing(why) => Some(why),
        Report::Gone { .. } => panic!("nobody said so"),
        _ => None,
    });
    assert!(why.contains("the API server") && !why.contains('\n'), "{why}");
    plane.start().unwrap();
    assert_eq!(running.until("the return", snapshot), ["shop/later", "shop/old"].map(String::from).to_vec());
    delete(&plane, "old");
    running.until("the deletion", |report| matches!(report, Report::Gone { .. }).then_some(()));
    // A backup of an earlier hour is restored: what it says is how it is.
    plane.restore(&saved).unwrap();
    plane.start().unwrap();
    running.until("the earlier state", |report| {
        let names = snapshot(report)?;
        (names == ["shop/new", "shop/old"]).then_some(())
    });
    pod(&plane, "after", "node-1", &["10.0.0.9"]);
    running.until("what came after", |report| changed(report, "shop/after"));
}

/// A process in a pod's cgroup and a network namespace, as a runtime would have made it.
struct Sandbox {
    _process: Process,
    cgroups: Vec<PathBuf>,
    _program: tempfile::TempDir,
}

impl Sandbox {
    fn start(lab: &Lab, index: usize, uid: &str, id: &str) -> Self {
        let root = PathBuf::from(format!("/sys/fs/cgroup/pids/pc-{}-kubepods", std::process::id()));
        let of_pod = root.join(format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_")));
        let of_sandbox = of_pod.join(format!("cri-containerd-{id}.scope"));
        std::fs::create_dir_all(&of_sandbox).unwrap();
        let program = tempfile::tempdir().unwrap();
        let pause = program.path().join("pause");
        std::fs::copy("/bin/sleep", &pause).unwrap();
        let process = Process::spawn(lab.container(index).namespace().command(&pause).arg("1000")).unwrap();
        let pid = process.pid().unwrap();
        std::fs::write(of_sandbox.join("cgroup.procs"), pid.to_string()).unwrap();
        Self { _process: process, cgroups: vec![of_sandbox, of_pod, root], _program: program }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let cgroups = std::mem::take(&mut self.cgroups);
        // Once the process is gone; others of this test may still use the root.
        std::thread::spawn(move || {
            for _ in 0..200 {
                if cgroups.iter().take(2).all(|path| std::fs::remove_dir(path).is_ok() || !path.exists()) {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            _ = std::fs::remove_dir(&cgroups[2]);
        });
    }
}

#[test]
fn a_pods_interface_is_found_without_a_runtime() {
    let lab = Lab::new(2).unwrap();
    let plane = plane_in(lab.host());
    ready(&plane);
    let (first, second) = ("a".repeat(64), "b".repeat(64));
    let running = Running::start(&plane, &agent(&plane), follow);
    running.until("the first list", snapshot);
    let uid = pod(&plane, "one", "node-1", &["10.77.0.11", "fd77::b"]);
    let container = running.until("the pod", |report| changed(report, "shop/one"));
    assert!(container.attachments.is_empty() && container.trouble.is_none(), "not there yet: {container:?}");
    let sandbox = Sandbox::start(&lab, 1, &uid, &first);
    let container = running.until("its interface", |report| {
        changed(report, "shop/one").filter(|one| !one.attachments.is_empty())
    });
    assert_eq!(container.id, first, "the sandbox is known by what is in its cgroup");
    let attachment = &container.attachments[0];
    let AttachmentPlace::Pair { host } = &attachment.place else { panic!("{attachment:?}") };
    assert_eq!((host.name.as_str(), host.index), ("veth-c1", lab.host().index_of("veth-c1").unwrap()));
    assert_eq!(attachment.inside.as_deref(), Some("eth0"));
    let addresses: Vec<String> = attachment.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.77.0.11", "fd77::b"]);
    // Another pod, whose processes were there first.
    let other = pod(&plane, "two", "node-1", &["10.77.0.12"]);
    let _sandbox = Sandbox::start(&lab, 2, &other, &second);
    let container = running.until("its interface", |report| {
        changed(report, "shop/two").filter(|one| !one.attachments.is_empty())
    });
    let AttachmentPlace::Pair { host } = &container.attachments[0].place else { panic!("{container:?}") };
    assert_eq!(host.name, "veth-c2");
    delete(&plane, "one");
    running.until("its end", |report| {
        (report == Report::Gone { id: first.clone(), removed: true }).then_some(())
    });
    drop(sandbox);
    assert!(!running.so_far().iter().any(|report| matches!(report, Report::Failing(_))));
}
