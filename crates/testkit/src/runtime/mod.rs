//! Real container runtimes, each with everything of its own, in a lab's host namespace.
//!
//! Bridges, firewall rules and host sides of pairs live in that network namespace; state, sockets and
//! mounts below a temporary directory; containers in a cgroup that carries this process's id. Dropping
//! a runtime kills all of its processes and takes away the rest, whatever state it is in.

mod conflist;
mod containerd;
mod docker;
mod engine;
mod ground;
pub(crate) mod image;
mod options;
mod podman;
mod programs;

pub use conflist::Conflist;
pub use containerd::{Containerd, Sandbox};
pub use docker::Docker;
pub use engine::Engine;
pub(crate) use ground::Ground;
pub use image::IMAGE;
pub use options::{NetworkOptions, RunOptions};
pub use podman::Podman;
pub use portcullis_forger::{FORGED, Forgery};
pub(crate) use programs::{program, search_path};
