//! `map`.

use anyhow::Result;

use crate::args::{Format, MapArgs};
use crate::context::Context;
use crate::failure::Exit;
use crate::output::map;

/// Shows who is here and what is bound for them. That something is amiss is no failure of this command.
pub fn run(context: &mut Context, args: &MapArgs) -> Result<Exit> {
    let mut found = context.client()?.map()?;
    found.rows.retain(|row| {
        args.workloads.passes(&row.workload, row.network.as_deref())
            && (args.state.is_empty() || args.state.contains(&row.state))
    });
    if context.format == Format::Dot {
        context.text(&map::graph(&found))?;
        return Ok(Exit::Done);
    }
    let now = jiff::Timestamp::now();
    context.object(&found, |style, wide| map::show(&found, now, style, wide))?;
    Ok(Exit::Done)
}
