//! What another tool, or a person in a hurry, may do to the gate: take links and pins away, write
//! into tables, put a program before ours.

mod sys;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::agent::Agent;
use crate::namespace::Namespace;

/// Paths of all pins of an agent whose name contains `part`, in the directory `kind` (`maps`, `links`).
pub fn pins(agent: &Agent, kind: &str, part: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for version in fs::read_dir(agent.bpffs()).context("the agent's pins")?.flatten() {
        let Ok(entries) = fs::read_dir(version.path().join(kind)) else { continue };
        found.extend(
            entries.flatten().filter(|e| e.file_name().to_string_lossy().contains(part)).map(|e| e.path()),
        );
    }
    found.sort();
    Ok(found)
}

/// Detaches the link pinned here from its hook; the pin stays, its link is dead.
pub fn detach_link(pin: &Path) -> Result<()> {
    let link = sys::open(pin).with_context(|| format!("opening {}", pin.display()))?;
    sys::detach(&link).with_context(|| format!("detaching {}", pin.display()))
}

/// Overwrites one entry of the table pinned here with zeroes.
pub fn wipe_entry(pin: &Path, key: u32) -> Result<()> {
    let map = sys::open(pin).with_context(|| format!("opening {}", pin.display()))?;
    sys::wipe(&map, key).with_context(|| format!("wiping entry {key} of {}", pin.display()))
}

/// A program that accepts everything and ends the chain, first on an interface's ingress for as
/// long as this lives.
#[derive(Debug)]
pub struct Usurper {
    _link: OwnedFd,
}

impl Usurper {
    /// Attaches it before whatever is there.
    pub fn attach(namespace: &Namespace, interface: &str) -> Result<Self> {
        let index = namespace.index_of(interface)?;
        let link = namespace.within(|| sys::attach_first(index))?.context("attaching a foreign program")?;
        Ok(Self { _link: link })
    }
}
