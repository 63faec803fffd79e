//! `drops`: the past, and what comes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;
use portcullis_policy::api::{Action, DropRecord, Event};

use crate::args::DropsArgs;
use crate::client::{Client, Query, Received};
use crate::context::Context;
use crate::failure::{self, Exit};
use crate::output::pcapng::Capture;
use crate::output::{action, drops};

/// How many of the past are shown: by itself, and before following.
const LAST: usize = 100;
const LAST_BEFORE_FOLLOWING: usize = 10;

/// Shows drops, or writes them to a capture.
pub fn run(context: &mut Context, args: DropsArgs) -> Result<Exit> {
    let client = context.client()?;
    let query = Query { endpoint: args.endpoint, reason: args.reason };
    let last = args.last.unwrap_or(if args.follow { LAST_BEFORE_FOLLOWING } else { LAST });
    // The agent is asked before the file is made: without an agent nothing is overwritten.
    if args.follow {
        // Who asks for one reason, or for a capture, asks for frames.
        let kinds = match (args.actions, query.reason.is_some() || args.pcap.is_some()) {
            (true, _) => "action",
            (false, true) => "drop",
            (false, false) => "drop,action",
        };
        return follow(context, &client, kinds, last, &query, args.pcap.as_deref(), args.count);
    }
    if args.actions {
        return show_actions(context, &client, last, &query);
    }
    let drops: Vec<DropRecord> = client.drops(last, &query)?.into_iter().filter_map(drop_of).collect();
    known(&client, &query, drops.is_empty())?;
    if let Some(file) = &args.pcap {
        let mut capture = open(file)?;
        for drop in &drops {
            capture.add(drop)?;
        }
        if file != Path::new("-") {
            failure::say(&format!("wrote {} frames to {}", drops.len(), file.display()));
        }
        return Ok(Exit::Done);
    }
    let zone = TimeZone::system();
    context.object(&drops, |style, wide| {
        drops.iter().map(|drop| drops::line(drop, &zone, style, wide)).collect()
    })?;
    Ok(Exit::Done)
}

fn show_actions(context: &mut Context, client: &Client, last: usize, query: &Query) -> Result<Exit> {
    let actions: Vec<Action> = client.actions(last, query)?.into_iter().filter_map(action_of).collect();
    known(client, query, actions.is_empty())?;
    let zone = TimeZone::system();
    context.object(&actions, |style, wide| {
        actions.iter().map(|action| action::line(action, &zone, style, wide)).collect()
    })?;
    Ok(Exit::Done)
}

/// An endpoint that is gone can still be asked for; one that never was is an error.
fn known(client: &Client, query: &Query, nothing: bool) -> Result<()> {
    if let (Some(name), true) = (&query.endpoint, nothing) {
        client.endpoint(name)?;
    }
    Ok(())
}

fn follow(
    context: &mut Context,
    client: &Client,
    kinds: &str,
    last: usize,
    query: &Query,
    pcap: Option<&Path>,
    count: Option<u64>,
) -> Result<Exit> {
    if let Some(name) = &query.endpoint {
        client.endpoint(name)?;
    }
    let mut stream = client.follow(kinds, last, query)?;
    let mut capture = pcap.map(open).transpose()?;
    let zone = TimeZone::system();
    let mut shown = 0;
    while let Some(received) = stream.next()? {
        let event = match received {
            Received::Event(event) => event,
            Received::Packet(_) => continue,
            Received::Lost(lost) => {
                failure::say(&format!(
                    "{lost} events were lost: this reader was too slow (counters have them all)"
                ));
                continue;
            }
        };
        match (&event, &mut capture) {
            (Event::Drop(drop), Some(capture)) => capture.add(drop)?,
            (Event::Drop(drop), None) => {
                context.item(drop, |style, wide| drops::line(drop, &zone, style, wide))?;
            }
            // As the event it is, so that programs can tell it from a frame.
            (Event::Action(action), None) => {
                context.item(&event, |style, wide| action::line(action, &zone, style, wide))?;
            }
            _ => continue,
        }
        shown += 1;
        if count == Some(shown) {
            return Ok(Exit::Done);
        }
    }
    anyhow::bail!("the agent has ended the stream: it stopped, or was restarted; the gate stays shut")
}

fn drop_of(event: Event) -> Option<DropRecord> {
    match event {
        Event::Drop(drop) => Some(*drop),
        Event::Notice(_) | Event::Action(_) => None,
    }
}

fn action_of(event: Event) -> Option<Action> {
    match event {
        Event::Action(action) => Some(*action),
        Event::Notice(_) | Event::Drop(_) => None,
    }
}

fn open(file: &Path) -> Result<Capture<Box<dyn Write>>> {
    if file == Path::new("-") {
        return Capture::new(Box::new(BufWriter::new(io::stdout())));
    }
    let target = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    Capture::new(Box::new(BufWriter::new(target)))
}
