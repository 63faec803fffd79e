//! The desired state: its model, validation, conflicts, and its compilation into table entries.
//!
//! Pure: no I/O, no clock, no kernel. The same serde types make the state file, the API
//! (OpenAPI) and, later, the custom resources.
#![forbid(unsafe_code)]

pub mod address;
pub mod api;
pub mod compile;
pub mod conflict;
pub mod explain;
#[cfg(test)]
mod generate;
pub mod model;
pub mod reference;
pub mod validate;
mod words;
