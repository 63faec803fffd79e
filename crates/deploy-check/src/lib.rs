//! The chart under `deploy/`, rendered by real Helm, as objects that tests look at.
//!
//! For tests only. It must not depend on any other crate of ours: what is deployed is checked against what the
//! product says (versions, commands, definitions) where that is made.
#![forbid(unsafe_code)]

mod helm;
mod object;
pub mod rights;

use std::path::{Path, PathBuf};

pub use helm::{ADMISSION, Helm, Render};
pub use object::{Object, Pod, find, parse};

/// The namespace that tests install into: the one that documentation names.
pub const NAMESPACE: &str = "portcullis-system";

/// The checkout.
#[must_use]
pub fn root() -> PathBuf {
    // This crate is two levels below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

/// The chart.
#[must_use]
pub fn chart() -> PathBuf {
    root().join("deploy/helm/portcullis")
}
