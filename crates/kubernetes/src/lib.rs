//! The cluster's API: custom resources, this node's pods, what a node publishes, and mutual TLS between agents and
//! the hub.
//!
//! Knows the desired state's types and what runtimes say; must not know the agent, the hub, or BPF.
#![forbid(unsafe_code)]

pub mod client;
pub mod collection;
pub mod crd;
mod dice;
pub mod events;
mod follow;
pub mod peer;
pub mod pods;
pub mod policies;
pub mod publish;
mod rest;
#[cfg(test)]
mod script;
pub mod translate;
