//! The adversarial suite: forges, listens on the far side, prints a score card.
//!
//! Three layers, each usable without the next:
//! - [`frame`] builds frames byte by byte, right by default, every field free to be wrong;
//! - [`cases`] is the published table: forgeries and honest look-alikes, each with the verdict
//!   that a gate owes it. It does no I/O, so the same bytes serve unit tests and test runs;
//! - [`live`] sends the table from inside a network namespace and listens on the far side.
//!
//! `unsafe` stands in one file, `live/sys.rs`; everything else is safe.
#![deny(unsafe_code)]

mod card;
pub mod cases;
pub mod frame;
pub mod live;

pub use card::{Observed, Outcome, ScoreCard, Summary};
pub use cases::{Case, Expect, Identity, SendVia, suite};
pub use live::{Options, Overrides, ProbeError, Progress, run};
