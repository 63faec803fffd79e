//! The desired state: its model, validation, conflicts, and its compilation into table entries.
//!
//! Pure: no I/O, no clock, no kernel. The same serde types make the state file, the API
//! (OpenAPI) and, later, the custom resources.
//!
//! A spec goes this way: text → [`model::EndpointSpec`] (its fields refuse what nobody may bind) →
//! [`validate::ValidSpec`] → [`conflict::Claims`] with what the host says about the interface →
//! [`compile::compile`] with what was learned there → table entries.
#![forbid(unsafe_code)]

pub mod address;
pub mod api;
pub mod compile;
pub mod conflict;
pub mod container;
pub mod explain;
#[cfg(test)]
mod generate;
pub mod guard;
pub mod model;
pub mod reference;
pub mod shield;
pub mod span;
pub mod validate;
mod words;

pub use words::UnknownWord;
