//! The daemon: keeps the desired state, makes the kernel's tables agree with it, watches that
//! nothing undoes them, and tells what happens.
//!
//! Data flows one way: the [`control`] interface and the network's own changes alter the desired
//! state or the world; [`core`] makes tables and attachments follow; kernel events flow out
//! through [`mod@observe`] to the [`bus`], and from there to history and subscribers.
#![forbid(unsafe_code)]

pub mod answer;
pub mod api;
pub mod attribution;
pub mod bus;
pub mod config;
pub mod confirm;
pub mod control;
pub mod core;
pub mod decode;
pub mod doctor;
mod fleet;
pub mod kubernetes;
pub mod observe;
mod run;
pub mod shield;
mod sources;
pub mod store;

pub use run::{Ended, RunError, run, teardown};
