//! What thousands of nodes would ask of an API server and of the hubs: simulated by the real code in virtual time.
//!
//! - [`fleet`]: nodes write their maps and Events, by the real `Publisher` and `Book` of each.
//! - [`followers`]: agents and hubs list and watch, by the real followers under tokio's paused clock.
//! - [`hub`]: the real store, filled; its memory and its work are measured.
//! - [`surroundings`]: what the cluster does anyhow, and the estimate by hand.
//!
//! For developers only. What is not simulated is in docs/scale.md.
#![forbid(unsafe_code)]

pub mod chance;
pub mod content;
pub mod fleet;
pub mod followers;
pub mod hub;
pub mod ledger;
pub mod plan;
pub mod report;
pub mod surroundings;
