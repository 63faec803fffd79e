//! For tests and the demo only: labs of network namespaces, real traffic, the real agent.
//!
//! A [`Lab`] is a small network of its own: a `host` namespace with a bridge, containers behind
//! veth pairs, a peer outside. Nothing in it touches the machine's own interfaces, and all of it
//! goes when the `Lab` is dropped, also in a panic; what a killed test left behind goes when the
//! next lab is made. [`Agent`] runs the real binary in the lab's host namespace.
//!
//! Nothing here waits for a fixed time where it can look: [`wait_for`] has generous ends, and no
//! result depends on how fast the machine is.

mod agent;
mod binary;
mod cgroup;
mod chain;
mod frames;
mod http;
pub mod kube;
mod lab;
mod namespace;
mod ping;
mod process;
mod runtime;
pub mod sabotage;
mod scapy;
mod sweep;
mod sys;
mod traffic;
mod wait;

pub use agent::{Agent, AgentOptions, EventStream, Reasons};
pub use binary::portcullis;
pub use cgroup::Cgroup;
pub use chain::{Chain, PluginAnswer, reference_plugins};
pub use frames::{forge_udp4, forge_udp6, tagged_payload};
pub use http::Response;
pub use lab::{BRIDGE_MAC, Builder, Container, Lab, OUTSIDE_V4, OUTSIDE_V6};
pub use namespace::Namespace;
pub use ping::{PingStream, Pings, ping};
pub use process::{Process, checked_output};
pub use runtime::{
    Conflist, Containerd, Docker, Engine, FORGED, Forgery, IMAGE, NetworkOptions, Podman, RunOptions, Sandbox,
};
pub use scapy::scapy;
pub use sweep::{pins as remove_pins, sweep};
pub use sys::{PacketSocket, Via};
pub use traffic::{Flood, Listener, Pace};
pub use wait::{PATIENCE, wait_for, wait_until};
