//! `health`: for probes, which ask often.

use anyhow::Result;

use crate::context::Context;
use crate::failure::Exit;

/// Says whether the agent answers, or whether its gate is in place.
pub fn run(context: &mut Context, ready: bool) -> Result<Exit> {
    context.client()?.health(ready)?;
    context.line("ok")?;
    Ok(Exit::Done)
}
