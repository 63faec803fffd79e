//! What the HTTP APIs of agent and hub have in common: errors as RFC 9457 problems, what requests carry, events as a
//! stream, the formats of metrics, and connections with bounds.
//!
//! Knows the API's objects; must not know who serves them.
#![forbid(unsafe_code)]

mod bearer;
mod input;
mod kinds;
pub mod metrics;
mod problem;
mod serve;
mod sse;

pub use bearer::bearer;
pub use input::{BODY_LIMIT_BYTES, Id, OneOrMany, Options, encode, json, read};
pub use kinds::{EventKind, Kinds};
pub use problem::{PROBLEM_JSON, Refusal, no_such_method, no_such_path};
pub use serve::{Accept, MAX_CONNECTIONS, serve};
pub use sse::{keep_alive, lost, message};
