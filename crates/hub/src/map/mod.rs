//! The global container network map: what the nodes' `EndpointMap`s say, together, in little memory, with indices.
//!
//! 5,000 nodes with 110 pods each are 550,000 rows. They are kept as [`Row`]s of about 200 bytes: identifiers as the
//! bytes that they are, and texts that many rows have in common once.

mod compact;
mod digest;
mod lookup;
mod places;
mod pool;
mod row;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod view;
pub mod watch;

pub use digest::{Digest, Matched};
pub use lookup::{Agreement, Claim, Finding};
pub use row::{Address, NodeMap, Row};
pub use store::{NodeEntry, Store};
