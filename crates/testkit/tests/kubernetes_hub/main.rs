//! The hub against a real API server: who leads, what it ends and what it spares, what it says, and whom it answers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod access;
mod cluster;
mod election;
mod forwarded;
mod reaper;
mod status;
