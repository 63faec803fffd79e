//! The user side of the kernel: loads the programs, attaches and pins them, and gives typed
//! access to the tables and to the event stream.
//!
//! Nothing else in the project makes bpf system calls or touches bpffs, and nothing here knows
//! what a container is. Raw system calls are in [`sys`](mod@sys), the only module with `unsafe`.
//!
//! The life of the kernel side: [`Datapath::open`] adopts the pinned tables or makes new ones;
//! [`Tables`] is filled; [`Datapath::attach`] puts a program on a hook or adopts the pinned link
//! that is there, replacing its program in place. Everything is pinned, so it outlives us.

mod attach;
mod clsact;
mod error;
mod events;
mod expedite;
mod features;
mod namespace;
mod object;
mod pins;
pub mod shield;
mod sys;
mod tables;
mod test_run;

pub use attach::{Attachment, Hook, HookState, LinkLayer, Method, Site};
pub use error::Error;
pub use events::EventStream;
pub use expedite::Expedited;
pub use features::{Features, possible_cpus};
pub use namespace::Namespace;
pub use object::{Datapath, Gate, Opened, ProgramReport, Settings};
pub use sys::{give_memory_back, monotonic_ns};
pub use tables::{Anchor, Tables};
pub use test_run::{TestFrame, TestOutcome};

/// The shield's kernel programs as one ELF object.
pub(crate) static SHIELD_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/shield.o"));

/// The gate's kernel programs as one ELF object.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/portcullis.o"));
