//! An API server with what the hub needs, and hubs.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use portcullis_testkit::kube::ControlPlane;
use portcullis_testkit::{Process, checked_output};
use portcullis_testkit::{portcullis, wait_for, wait_until};
use serde_json::{Value, json};

pub const SYSTEM: &str = "portcullis-system";
pub const POLICIES: &str = "/apis/portcullis.dev/v1alpha1/gatepolicies";
pub const MAPS: &str = "/apis/portcullis.dev/v1alpha1/endpointmaps";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/portcullis-system/leases/portcullis-hub";

/// An API server with our definitions.
pub struct Cluster {
    pub plane: ControlPlane,
}

/// A hub that runs.
pub struct Hub {
    pub name: String,
    pub process: Process,
    port: u16,
}

impl Cluster {
    pub fn start() -> Self {
        let plane = ControlPlane::alone().unwrap();
        let mut crds = std::process::Command::new(portcullis().unwrap());
        plane.apply(&checked_output(crds.args(["kubernetes", "crds"])).unwrap()).unwrap();
        plane.wait_object(MAPS, "served", |_| true).unwrap();
        plane.wait_object(POLICIES, "served", |_| true).unwrap();
        plane.ensure_namespace(SYSTEM).unwrap();
        Self { plane }
    }

    /// Starts a hub; each has two ports of its own.
    pub fn hub(&self, number: u16, arguments: &[&str]) -> Hub {
        self.hub_as(&self.plane.admin().unwrap(), number, arguments)
    }

    pub fn hub_as(&self, kubeconfig: &std::path::Path, number: u16, arguments: &[&str]) -> Hub {
        let (name, port) = (format!("portcullis-hub-{number}"), 9000 + 2 * number);
        let log = File::create(self.plane.directory().join(format!("{name}.log"))).unwrap();
        let mut command = self.plane.namespace().command(portcullis().unwrap());
        command.arg("hub").args(["--namespace", SYSTEM, "--kubeconfig"]).arg(kubeconfig);
        command
            .arg(format!("--listen=127.0.0.1:{}", port + 1))
            .arg(format!("--metrics-listen=127.0.0.1:{port}"));
        command.args(arguments).env("POD_NAME", &name).env("RUST_LOG", "info,portcullis_hub=debug");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Hub { name, process: Process::spawn(&mut command).unwrap(), port }
    }

    /// Starts one and waits until it leads.
    pub fn leader(&self, number: u16, arguments: &[&str]) -> Hub {
        let hub = self.hub(number, arguments);
        wait_until("the hub to lead", || self.leads(&hub))
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.log(&hub)));
        hub
    }

    pub fn log(&self, hub: &Hub) -> String {
        std::fs::read_to_string(self.plane.directory().join(format!("{}.log", hub.name))).unwrap_or_default()
    }

    /// Status and body of a path of a hub's plain listener.
    pub fn plain(&self, hub: &Hub, path: &str) -> Option<(u16, String)> {
        let (port, request) =
            (hub.port, format!("GET {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"));
        let asked = self.plane.namespace().within(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            stream.write_all(request.as_bytes()).ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some((text.split(' ').nth(1)?.parse().ok()?, text))
        });
        asked.ok().flatten()
    }

    pub fn leads(&self, hub: &Hub) -> bool {
        std::thread::sleep(Duration::from_millis(50));
        self.plain(hub, "/metrics").is_some_and(|(_, text)| text.contains("\nportcullis_hub_leader 1\n"))
    }

    pub fn holder(&self) -> String {
        let lease = self.plane.get(LEASE).unwrap_or_default();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// `kubectl portcullis …` of a hub.
    pub fn plugin(&self, hub: &Hub, arguments: &[&str]) -> Output {
        let link: PathBuf = self.plane.directory().join("kubectl-portcullis");
        if !link.exists() {
            symlink(portcullis().unwrap(), &link).unwrap();
        }
        let mut command = self.plane.namespace().command(&link);
        command.args(arguments).arg(format!("--hub=127.0.0.1:{}", hub.port + 1));
        command.arg("--kubeconfig").arg(self.plane.admin().unwrap());
        command.output().unwrap()
    }

    /// A node, and its agent's map.
    pub fn node(&self, name: &str) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        self.plane.send("POST", "/api/v1/nodes", Some(&node)).unwrap();
        let map = json!({"apiVersion": "portcullis.dev/v1alpha1", "kind": "EndpointMap", "metadata": {"name": name},
            "spec": {"node": name}});
        self.plane.send("POST", MAPS, Some(&map)).unwrap();
    }

    /// What a node says.
    pub fn say(&self, node: &str, status: &Value) {
        self.plane.send("PATCH", &format!("{MAPS}/{node}/status"), Some(&json!({"status": status}))).unwrap();
    }

    pub fn offend(&self, node: &str, pods: &[&Value]) {
        let offenders: Vec<Value> = pods.iter().map(|pod| offender(pod)).collect();
        self.say(node, &json!({"offenders": offenders}));
    }

    pub fn policy(&self, name: &str, spec: Value) {
        let policy = json!({"apiVersion": "portcullis.dev/v1alpha1", "kind": "GatePolicy", "metadata": {"name": name},
            "spec": spec});
        self.plane.send("POST", POLICIES, Some(&policy)).unwrap();
    }

    pub fn pod(&self, namespace: &str, name: &str, node: &str, labels: &Value) -> Value {
        self.pod_with(namespace, json!({"name": name, "labels": labels}), node)
    }

    pub fn pod_with(&self, namespace: &str, metadata: Value, node: &str) -> Value {
        self.plane.ensure_namespace(namespace).unwrap();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node,
            "containers": [{"name": "main", "image": "none"}]}});
        let made =
            self.plane.send("POST", &format!("/api/v1/namespaces/{namespace}/pods"), Some(&pod)).unwrap();
        serde_json::from_str(&made).unwrap()
    }

    /// Events about an object of this name: reason and message.
    pub fn events(&self, namespace: &str, name: &str) -> Vec<(String, String)> {
        let list = self.plane.get(&format!("/api/v1/namespaces/{namespace}/events")).unwrap();
        let all = list["items"].as_array().cloned().unwrap_or_default();
        let of = all.into_iter().filter(|event| event["involvedObject"]["name"] == name);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        of.map(|event| (text(&event["reason"]), text(&event["message"]))).collect()
    }

    pub fn wait_event(&self, namespace: &str, name: &str, reason: &str) -> String {
        wait_for(&format!("an Event {reason} on {namespace}/{name}"), || {
            std::thread::sleep(Duration::from_millis(100));
            self.events(namespace, name)
                .into_iter()
                .find(|(known, _)| known == reason)
                .map(|(_, message)| message)
        })
        .unwrap()
    }

    pub fn exists(&self, pod: &Value) -> bool {
        let found = self.plane.get(&path(pod));
        found.is_ok_and(|found| {
            found["metadata"]["uid"] == pod["metadata"]["uid"]
                && found["metadata"]["deletionTimestamp"].is_null()
        })
    }
}

pub fn path(pod: &Value) -> String {
    let text = |key: &str| pod["metadata"][key].as_str().unwrap().to_owned();
    format!("/api/v1/namespaces/{}/pods/{}", text("namespace"), text("name"))
}

pub fn offender(pod: &Value) -> Value {
    let text = |key: &str| pod["metadata"][key].as_str().unwrap().to_owned();
    let (namespace, name) = (text("namespace"), text("name"));
    json!({"namespace": namespace, "pod": name, "uid": text("uid"), "endpoint": format!("{namespace}/{name}"),
        "attempts": 10, "threshold": 10, "window": "60s", "reasons": {"spoofed-ipv4": 10}, "policy": "strict",
        "time": "2026-11-21T10:00:00Z"})
}
