//! `doctor`: needs no agent.

use anyhow::Result;
use portcullis_agent::config::Config;
use portcullis_agent::doctor::{CheckStatus, Places, examine_places};

use crate::context::Context;
use crate::failure::Exit;
use crate::output::doctor;

/// Examines this host; fails if anything that is needed is missing.
pub fn run(context: &mut Context) -> Result<Exit> {
    // A broken configuration file is the agent's to tell; the places are then the default ones.
    let config = Config::load(None).unwrap_or_default();
    let places = Places { socket: context.socket.clone(), state_dir: config.state_dir, bpffs: config.bpffs };
    let checks = examine_places(&places);
    context.object(&checks, |style, _| doctor::show(&checks, style))?;
    let failed = checks.iter().any(|check| check.status == CheckStatus::Fail);
    Ok(if failed { Exit::Failed } else { Exit::Done })
}
