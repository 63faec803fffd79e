//! The whole in a real cluster: agents and hubs as their chart installs them, on nodes with kubelets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod answer;
mod life;
mod outage;
mod stage;
mod table;
mod unknown;
