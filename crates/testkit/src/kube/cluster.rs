//! Control plane and nodes, joined by a bridge.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};

use super::access::condition;
use super::control::{ControlPlane, Own, next_tag};
use super::images;
use super::node::{Node, Wiring};
use super::setup::{Plan, SERVICE_ADDRESS};
use crate::namespace::Namespace;
use crate::runtime::{Conflist, image};

/// Nodes that a cluster may have; all know the routes to all.
const MOST: usize = 32;
/// The bridge between the nodes, in the control plane's namespace.
const BRIDGE: &str = "fabric";

/// How the pods of a node get their network.
type Network = fn(usize) -> Conflist;

/// What a cluster is to have.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    nodes: usize,
    kubelets: bool,
    portcullis: bool,
    node_lifecycle: bool,
    network: Network,
    arguments: Vec<String>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            kubelets: true,
            portcullis: false,
            node_lifecycle: true,
            network: Cluster::bridge,
            arguments: Vec::new(),
        }
    }
}

impl ClusterOptions {
    /// So many nodes.
    #[must_use]
    pub const fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Another network for pods than [`Cluster::bridge`]: [`Cluster::ptp`], or any other, by the node's number.
    #[must_use]
    pub const fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Nodes have the image [`super::PORTCULLIS_IMAGE`] too.
    #[must_use]
    pub const fn portcullis(mut self) -> Self {
        self.portcullis = true;
        self
    }

    /// Nobody minds when a node no longer reports itself.
    #[must_use]
    pub const fn without_node_lifecycle(mut self) -> Self {
        self.node_lifecycle = false;
        self
    }

    /// A further argument of the API server.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it, and waits until its nodes are ready.
    pub fn start(self) -> Result<Cluster> {
        Cluster::start_with(self)
    }
}

/// A cluster.
///
/// | where | what |
/// |---|---|
/// | control plane | bridge `fabric` 172.31.0.1/24, fd31::1/64; the Service `kubernetes`, 10.96.0.1:443 |
/// | node K, from 1 | `node-K`: `eth0` 172.31.0.(10+K)/24, fd31::(10+K)/64; its end on the bridge: `port-K` |
/// | pods of node K | 10.244.K.0/24, fd44:0:0:K::/64; routed between nodes |
#[derive(Debug)]
pub struct Cluster {
    // Before the control plane, whose namespace has the bridge.
    nodes: Vec<Node>,
    control: ControlPlane,
    options: ClusterOptions,
    tag: String,
    _own: Own,
}

impl Cluster {
    /// So many nodes with kubelets; their pods are behind bridges.
    pub fn full(nodes: usize) -> Result<Self> {
        ClusterOptions::default().nodes(nodes).start()
    }

    /// The `bridge` plugin, dual stack: `cni0` on every node.
    #[must_use]
    pub fn bridge(node: usize) -> Conflist {
        Conflist::bridge("pods", "cni0", &subnets(node).each_ref().map(String::as_str))
    }

    /// The `ptp` plugin, dual stack.
    #[must_use]
    pub fn ptp(node: usize) -> Conflist {
        Conflist::ptp("pods", &subnets(node).each_ref().map(String::as_str))
    }

    fn start_with(options: ClusterOptions) -> Result<Self> {
        let tag = next_tag();
        let (own, fabric) = Own::new(&format!("{tag}-plane"))?;
        fabric.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        fabric.ip(&format!(
            "link add {BRIDGE} type bridge mcast_snooping 0 stp_state 0\nlink set {BRIDGE} up\n\
             addr add 172.31.0.1/24 dev {BRIDGE}\naddr add fd31::1/64 dev {BRIDGE} nodad\n\
             addr add {SERVICE_ADDRESS}/32 dev lo\n{}",
            routes(0)
        ))?;
        let plan = Plan {
            address: "172.31.0.1".to_owned(),
            // So that its Service needs no proxy: the API server is at the Service's own address and port.
            port: 443,
            controllers: true,
            node_lifecycle: options.node_lifecycle,
            arguments: options.arguments.clone(),
        };
        let control = ControlPlane::start_with(&fabric, plan)?;
        let mut cluster = Self { nodes: Vec::new(), control, options, tag, _own: own };
        cluster.add_nodes(cluster.options.nodes)?;
        Ok(cluster)
    }

    /// Its control plane.
    #[must_use]
    pub const fn control(&self) -> &ControlPlane {
        &self.control
    }

    /// Its control plane, to be stopped and started.
    pub const fn control_mut(&mut self) -> &mut ControlPlane {
        &mut self.control
    }

    /// Its nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Node K, counted from 1.
    #[must_use]
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    /// Node K, to be stopped and started.
    pub fn node_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number - 1]
    }

    /// The node of this name.
    pub fn node_named(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name() == name).with_context(|| format!("no node {name}"))
    }

    /// The node that a pod is on.
    pub fn node_of(&self, namespace: &str, pod: &str) -> Result<&Node> {
        let pod = self.control.get(&format!("/api/v1/namespaces/{namespace}/pods/{pod}"))?;
        self.node_named(pod["spec"]["nodeName"].as_str().context("the pod is on no node")?)
    }

    /// The network namespace of a pod, wherever it runs.
    pub fn pod_namespace(&self, namespace: &str, pod: &str) -> Result<Namespace> {
        self.node_of(namespace, pod)?.pod_namespace(namespace, pod)
    }

    /// So many more nodes, all at once; waits until they are ready.
    pub fn add_nodes(&mut self, count: usize) -> Result<()> {
        let mut archives = vec![image::archive()?];
        if self.options.portcullis {
            archives.push(images::portcullis()?);
        }
        let numbers = self.nodes.len() + 1..self.nodes.len() + 1 + count;
        let made: Vec<Result<Node>> = thread::scope(|scope| {
            let make = |number| {
                let (cluster, archives) = (&*self, archives.clone());
                scope.spawn(move || cluster.make(number, archives))
            };
            let threads: Vec<_> = numbers.clone().map(make).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        });
        for node in made {
            self.nodes.push(node?);
        }
        for number in numbers.filter(|_| self.options.kubelets) {
            self.wait_node(number)?;
        }
        Ok(())
    }

    /// Waits until a node is ready.
    pub fn wait_node(&self, number: usize) -> Result<()> {
        let node = self.node(number);
        let path = format!("/api/v1/nodes/{}", node.name());
        let ready =
            self.control.wait_object(&path, "ready", |node| condition(node, "Ready") && !is_tainted(node));
        ready.map(drop).with_context(|| tail(&node.log("kubelet")))
    }

    fn make(&self, number: usize, images: Vec<PathBuf>) -> Result<Node> {
        let (name, host) = (format!("node-{number}"), 10 + number);
        let wiring = Wiring {
            fabric: self.control.namespace().name().to_owned(),
            bridge: BRIDGE.to_owned(),
            port: format!("port-{number}"),
            lines: format!(
                "addr add 172.31.0.{host}/24 dev eth0\naddr add fd31::{host}/64 dev eth0 nodad\n\
                 route add default via 172.31.0.1\nroute add default via fd31::1\n{}",
                routes(number)
            ),
        };
        let network = (self.options.network)(number);
        let tag = format!("{}-{name}", self.tag);
        let mut node = Node::new(&tag, &name, &format!("172.31.0.{host}"), wiring, &network, images)?;
        if self.options.kubelets {
            let kubeconfig = self.control.kubeconfig(&format!("system:node:{name}"), "system:nodes")?;
            node.start_kubelet_with(&kubeconfig)?;
        }
        Ok(node)
    }
}

/// Subnets of the pods of a node.
fn subnets(node: usize) -> [String; 2] {
    [format!("10.244.{node}.0/24"), format!("fd44:0:0:{node}::/64")]
}

/// Routes to the pods of all nodes but this.
fn routes(own: usize) -> String {
    let others = (1..=MOST).filter(|node| *node != own);
    others
        .map(|node| {
            let [v4, v6] = subnets(node);
            let host = 10 + node;
            format!("route add {v4} via 172.31.0.{host}\nroute add {v6} via fd31::{host}\n")
        })
        .collect()
}

/// Whether nothing is scheduled there yet.
fn is_tainted(node: &serde_json::Value) -> bool {
    node["spec"]["taints"].as_array().is_some_and(|taints| !taints.is_empty())
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
