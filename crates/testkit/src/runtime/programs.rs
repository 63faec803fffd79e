//! Finding the runtimes' programs: those that `./dev setup test` unpacked, else what is installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where packages put programs, below `/` or below where they were unpacked.
const DIRECTORIES: [&str; 6] =
    ["usr/sbin", "usr/bin", "usr/lib/podman", "usr/libexec/podman", "usr/lib/cni", "opt/cni/bin"];

/// Directories to look in, in order.
fn directories() -> Vec<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/runtimes");
    let unpacked = unpacked.canonicalize().ok();
    let roots = unpacked.into_iter().chain([PathBuf::from("/")]);
    let mut found: Vec<PathBuf> =
        roots.flat_map(|root| DIRECTORIES.map(|directory| root.join(directory))).collect();
    found.retain(|directory| directory.is_dir());
    found
}

/// A program of this name.
pub fn program(name: &str) -> Result<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    directories()
        .into_iter()
        .chain(std::env::split_paths(&on_path))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not on this machine: run ./dev setup test"))
}

/// `PATH` for a daemon, so that it finds the programs that belong to it.
pub fn search_path() -> OsString {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let all = directories().into_iter().chain(std::env::split_paths(&on_path));
    // A directory with a colon in its name cannot be told: then PATH as it is.
    std::env::join_paths(all).unwrap_or(on_path)
}
