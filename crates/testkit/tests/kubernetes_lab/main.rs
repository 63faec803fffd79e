//! The cluster itself: what it promises the other tests, and that nothing is left of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod api;
mod nodes;
