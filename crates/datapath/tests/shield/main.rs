//! The shield's programs by test run: equal verdicts with the desired state's own evaluation. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic")]

mod cookies;
mod guard;
mod lab;
mod lists;
mod rules;
mod tell;
