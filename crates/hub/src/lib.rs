//! The cluster-wide manager: `portcullis hub`.
//!
//! - [`election`]: which replica leads.
//! - [`map`]: the container network map of all nodes.
//! - [`rules`]: what the cluster's policies say, evaluated by the hub itself.
//! - [`reaper`]: ends pods that forge, where a policy says so; the only part of Portcullis that may.
//! - [`status`]: what is said of each policy.
//! - [`gather`]: asks the agents; [`api`] serves all of it.
//!
//! Every replica reads and serves; only the leader deletes and writes. Nodes are believed for their own pods only.
//! Knows the cluster's API and the desired state; must not know the agent's insides.
#![forbid(unsafe_code)]

mod announce;
pub mod api;
mod bus;
mod clock;
mod counters;
mod dice;
pub mod election;
pub mod gather;
pub mod map;
mod metrics;
mod options;
mod own;
pub mod reaper;
pub mod rules;
mod run;
pub mod status;
mod troubles;
mod world;

pub use options::Options;
pub use run::{HubError, run};
