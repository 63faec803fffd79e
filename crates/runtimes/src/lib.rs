//! What container runtimes say: which containers run, in which networks, at which interfaces.
//!
//! A source follows one runtime and tells what is there ([`source::Report`]); it decides nothing and
//! binds nothing. [`resolve`] finds the host side of a container's interfaces. Everything that a runtime
//! answers is read as untrusted text: bounded in length, and wrong only where it is wrong.
//!
//! Must not depend on aya, on BPF, or on anything that decides about frames.
#![forbid(unsafe_code)]

pub mod cri;
pub mod docker;
pub mod resolve;
pub mod source;
mod text;
