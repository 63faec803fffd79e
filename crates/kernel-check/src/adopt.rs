//! A second process of this program, which takes over pinned tables and links.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use portcullis_datapath::{Anchor, Gate, Hook, HookState, Namespace, Settings, Site};

use crate::kernel::{BINDING, Kernel};
use crate::live;

/// What makes this program be the second process.
pub const ARGUMENT: &str = "--adopt";

/// Starts it and waits for its end.
pub fn run(base: &Path, ifindex: u32) -> Result<()> {
    let output = Command::new("/proc/self/exe")
        .args([ARGUMENT.as_ref(), base.as_os_str(), ifindex.to_string().as_ref()])
        .output()
        .context("starting a second process")?;
    if !output.status.success() {
        bail!("the second process: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Is it.
pub fn child(base: &Path, ifindex: &str) -> ExitCode {
    match ifindex.parse().context("an interface index").and_then(|ifindex| adopt(base, ifindex)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn adopt(base: &Path, ifindex: u32) -> Result<()> {
    let mut kernel = Kernel::at(base, Settings::default())?;
    if let Some(reason) = &kernel.opened.replaced {
        bail!("the tables were replaced: {reason}");
    }
    if !kernel.opened.adopted {
        bail!("the tables were not adopted");
    }
    let anchor = Anchor { netns: kernel.opened.datapath.primary(), ifindex };
    if kernel.opened.tables.anchor(anchor)? != BINDING {
        bail!("the interface is not bound any more");
    }
    if kernel.counters()?.dropped.packets == 0 {
        bail!("the counters began anew");
    }
    let method = live::method(&kernel);
    let host = Namespace::current()?;
    let site = Site { ifindex, hook: Hook::Ingress, method };
    let (attachment, was_there) = kernel.opened.datapath.attach(&host, site, Gate::Ethernet)?;
    if !was_there {
        bail!("there was nothing on the hook to take over");
    }
    let states = kernel.opened.datapath.states(&host, &[&attachment])?;
    if states != [HookState::First] {
        bail!("the gate is not first: {states:?}");
    }
    kernel.keep();
    Ok(())
}
