//! `shield …` and `rule …`.

use anyhow::Result;
use portcullis_policy::api::{PlaceView, RuleView};

use super::each::each;
use crate::args::{GuardArgs, RuleArgs, RuleCommand, ShieldCommand};
use crate::context::Context;
use crate::failure::{self, Exit};
use crate::output::{clean, shield};

/// Runs one of the commands under `shield`.
pub fn run(context: &mut Context, command: ShieldCommand) -> Result<Exit> {
    match command {
        ShieldCommand::Attach(args) => {
            let (view, created) = context.client()?.attach_shield(&args.into_spec())?;
            context.object(&view, |_, _| shield::attached(&view, created))?;
            if let Some(message) = &view.message {
                failure::say(message);
            }
        }
        ShieldCommand::Detach { places } => {
            let client = context.client()?;
            let line = |view: &PlaceView| format!("the shield stands at {} no more\n", clean(&view.id));
            return each(context, &places, |place| client.detach_shield(place), line);
        }
        ShieldCommand::List => {
            let view = context.client()?.shield()?;
            context.object(&view, |style, wide| shield::list(&view, style, wide))?;
        }
        ShieldCommand::Guard(args) => guard(context, &args)?,
        ShieldCommand::Unblock { source } => {
            context.client()?.unblock(&source)?;
            context.object(&serde_json::json!({"source": source}), |_, _| {
                format!("{} may send again\n", clean(&source))
            })?;
        }
    }
    Ok(Exit::Done)
}

fn guard(context: &mut Context, args: &GuardArgs) -> Result<()> {
    let client = context.client()?;
    let view = match (args.spec(), args.off) {
        (_, true) => client.put_guard(None)?,
        (Some(spec), false) => client.put_guard(Some(&spec))?,
        (None, false) => client.guard()?,
    };
    context.object(&view, |style, wide| shield::guard(&view, style, wide))
}

/// Runs one of the commands under `rule`.
pub fn rule(context: &mut Context, command: RuleCommand) -> Result<Exit> {
    match command {
        RuleCommand::Add(args) => add(context, &args)?,
        RuleCommand::Remove { rules, force } => {
            let client = context.client()?;
            let line = |view: &RuleView| format!("rule \"{}\" removed\n", clean(&view.rule.name));
            return each(context, &rules, |name| client.remove_rule(name, force), line);
        }
        RuleCommand::List => {
            let rules = context.client()?.rules()?;
            context.object(&rules, |style, wide| shield::rules(&rules, style, wide))?;
        }
        RuleCommand::Test(args) => {
            let verdict = context.client()?.test_packet(&args.packet())?;
            context.object(&verdict, |style, _| shield::verdict(&verdict, style))?;
        }
    }
    Ok(Exit::Done)
}

fn add(context: &mut Context, args: &RuleArgs) -> Result<()> {
    let query = format!("?force={}&dry_run={}", args.manner.force, args.manner.dry_run);
    let view = context.client()?.put_rule(&args.spec(), args.replace, &query)?;
    context.object(&view, |_, _| shield::added(&view, args.manner.dry_run))?;
    for written in
        [args.source, args.destination].into_iter().flatten().filter(|written| written.had_host_bits)
    {
        failure::say(&format!("bits beyond the prefix's length were left out: {}", written.net));
    }
    Ok(())
}
