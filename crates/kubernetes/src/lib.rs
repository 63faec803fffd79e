//! The cluster's API: custom resources, this node's pods, what a node publishes, and mutual TLS between agents and
//! the hub.
//!
//! Knows the desired state's types and what runtimes say; must not know the agent, the hub, or BPF.
#![forbid(unsafe_code)]

pub mod crd;
pub mod translate;
