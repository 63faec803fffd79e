//! What the tests have in common: pods, and how they send.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis_abi::{Ipv4, Mac};
use portcullis_probe::frame::{Ipv4Packet, Tcp, ethernet, ethertype, protocol};
use portcullis_testkit::kube::{Cluster, ClusterOptions, Node};
use portcullis_testkit::{IMAGE, Listener, Namespace, wait_for, wait_until};
use serde_json::{Value, json};

pub const PORT: u16 = 8080;
/// An address that no pod has: of another node's pods.
pub const CLAIMED: Ipv4 = Ipv4([10, 244, 77, 7]);

pub fn installed(nodes: usize, set: &[&str]) -> Cluster {
    let cluster = ClusterOptions::default().nodes(nodes).portcullis().start().unwrap();
    cluster.install(set).unwrap_or_else(|error| panic!("{error:#}"));
    cluster
}

pub fn pod(name: &str, node: usize, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"nodeName": format!("node-{node}"), "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/forger", "pause"]}]}})
}

pub fn deployment(name: &str, replicas: usize, labels: Value) -> Value {
    let mut labels = labels;
    labels["deployment"] = json!(name);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"deployment": name}},
            "template": {"metadata": {"labels": labels}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/forger", "pause"]}]}}}})
}

pub fn create(cluster: &Cluster, object: &Value) {
    cluster.control().apply(&object.to_string()).unwrap();
}

/// Addresses of a pod, once it is ready.
pub fn ready(cluster: &Cluster, name: &str) -> Vec<IpAddr> {
    let pod = cluster.control().wait_pod("default", name).unwrap_or_else(|error| {
        let told = cluster.control().kubectl(&["describe", "pod", name]).unwrap_or_default();
        panic!("{error:#}\n{told}\n{}", cluster.news())
    });
    let all = pod["status"]["podIPs"].as_array().unwrap();
    all.iter().map(|ip| ip["ip"].as_str().unwrap().parse().unwrap()).collect()
}

/// Names of the pods of a deployment that are not being deleted.
pub fn pods_of(cluster: &Cluster, deployment: &str) -> Vec<(String, String)> {
    let path = format!("/api/v1/namespaces/default/pods?labelSelector=deployment%3D{deployment}");
    let list = cluster.control().get(&path).unwrap();
    let pods = list["items"].as_array().unwrap().iter();
    pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"])))
        .collect()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub fn uid(cluster: &Cluster, name: &str) -> Option<String> {
    let pod = cluster.control().get(&format!("/api/v1/namespaces/default/pods/{name}")).ok()?;
    Some(text(&pod["metadata"]["uid"]))
}

/// Until the pod is bound, by its own node's agent.
pub fn wait_bound<'a>(cluster: &'a Cluster, name: &str) -> &'a Node {
    let node = wait_for("the pod's node", || cluster.node_of("default", name).ok()).unwrap();
    let endpoint = format!("default/{name}");
    wait_until(&format!("{name} is bound"), || {
        node.endpoint(&endpoint)
            .is_ok_and(|endpoint| endpoint.interface.index.is_some() && !endpoint.addresses.is_empty())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", node.map(), cluster.news()));
    node
}

/// A server in a pod that answers every connection with a line.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(namespace: &Namespace) -> Self {
        let socket = namespace.within(|| TcpListener::bind(("::", PORT))).unwrap().unwrap();
        socket.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let serve = move || {
            while !ended.load(Ordering::Acquire) {
                match socket.accept() {
                    Ok((mut stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        let _gone = stream.write_all(b"hello");
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        };
        Self { stop, thread: Some(std::thread::spawn(serve)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// Connects so often, honestly; how often it was answered.
pub fn connect(from: &Namespace, to: IpAddr, times: u64) -> u64 {
    let once = || {
        let mut stream =
            TcpStream::connect_timeout(&SocketAddr::new(to, PORT), Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).ok()?;
        (&answer == b"hello").then_some(())
    };
    from.within(|| (0..times).filter(|_| once().is_some()).count() as u64).unwrap()
}

/// Begins so many connections from an address that is not the pod's: SYN segments to the server, by way of the gateway.
pub fn forge(from: &Namespace, to: IpAddr, times: u64) {
    let IpAddr::V4(to) = to else { panic!("IPv4 is forged here") };
    let own = mac(&from.run("ip -o link show eth0").unwrap(), "link/ether");
    let near = from.run("ip neigh show dev eth0").unwrap();
    let gateway = near.lines().find(|line| line.contains("lladdr")).map(|line| mac(line, "lladdr"));
    let gateway = gateway.unwrap_or(Mac::BROADCAST);
    let socket = from.socket("eth0").unwrap();
    for number in 0..times {
        let packet = Ipv4Packet::new(CLAIMED, Ipv4(to.octets()), protocol::TCP, []);
        let port = 20_000 + u16::try_from(number % 20_000).unwrap();
        let syn = Tcp::new(port, PORT, Tcp::SYN, []).to_bytes(packet.pseudo());
        let packet = Ipv4Packet { payload: syn, ..packet };
        socket.send(&ethernet(gateway, own, ethertype::IPV4, &packet.to_bytes())).unwrap();
    }
}

fn mac(text: &str, before: &str) -> Mac {
    let mut words = text.split_whitespace().skip_while(|word| *word != before);
    let text = words.nth(1).unwrap();
    let mut bytes = [0; 6];
    for (byte, part) in bytes.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16).unwrap();
    }
    Mac(bytes)
}

/// Counts what arrives in a pod from the claimed address.
pub fn listen(namespace: &Namespace) -> Listener {
    let claimed = |frame: &[u8]| frame.get(26..30) == Some(&CLAIMED.0[..]);
    Listener::start(namespace, "eth0", claimed).unwrap()
}
