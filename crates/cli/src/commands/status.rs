//! `status`.

use anyhow::Result;

use crate::context::Context;
use crate::failure::Exit;
use crate::output::status;

/// Shows the agent and the coverage.
pub fn run(context: &mut Context) -> Result<Exit> {
    let found = context.client()?.status()?;
    let now = jiff::Timestamp::now();
    context.object(&found, |style, wide| status::show(&found, now, style, wide))?;
    Ok(Exit::Done)
}
