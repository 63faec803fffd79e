//! The daemon: keeps the desired state, makes the kernel's tables agree with it, watches that
//! nothing undoes them, and tells what happens.
//!
//! Data flows one way: the [`control`] interface and the network's own changes alter the desired
//! state or the world; [`reconcile`](mod@core) makes tables and attachments follow; kernel events
//! flow out through [`events`] to history and subscribers.
#![forbid(unsafe_code)]

pub mod api;
pub mod attribution;
pub mod config;
pub mod control;
pub mod decode;
pub mod doctor;
pub mod store;
