//! Who is here: network namespaces, interfaces, their other ends, their addresses; and what changes.
//!
//! Everything is asked of the kernel over rtnetlink with sockets that keep the namespace they were
//! made in, so no thread of the caller ever changes namespace. Messages are read attribute by
//! attribute (about a dozen of seventy are needed): an attribute that a newer kernel writes in
//! another shape cannot make an interface disappear from view.
//!
//! Must not depend on aya, on BPF, or on anything that decides about frames.
#![deny(unsafe_code)]

pub mod addresses;
pub mod coverage;
mod error;
pub mod hostnet;
pub mod learn;
pub mod link;
pub mod monitor;
pub mod netns;
pub mod peer;
pub mod process;
pub mod reach;
pub mod route;
mod survey;
#[allow(unsafe_code)]
mod sys;
pub mod watch;
mod wire;

pub use addresses::{Address, Scope, addresses, all_addresses};
pub use coverage::{Candidate, NamespaceView, Protectability, classify};
pub use error::{Error, Result};
pub use learn::{Direction, Learned, Learner, learn};
pub use link::{Link, LinkKind, PeerRef, link_by_index, link_by_name, links};
pub use monitor::{Change, Monitor};
pub use netns::{Netns, NetnsId, discover};
pub use peer::{NsidMap, peer_of};
pub use process::Process;
pub use route::RouteSocket;
pub use survey::survey;
pub use watch::{NetnsChange, NetnsWatch};
