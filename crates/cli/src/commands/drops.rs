//! `drops`: the past, and what comes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;
use portcullis_policy::api::{DropRecord, Event};

use crate::args::DropsArgs;
use crate::client::{Client, Query, Received};
use crate::context::Context;
use crate::failure::{self, Exit};
use crate::output::drops::line;
use crate::output::pcapng::Capture;

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
        return follow(context, &client, last, &query, args.pcap.as_deref(), args.count);
    }
    let drops: Vec<DropRecord> = client.drops(last, &query)?.into_iter().filter_map(drop_of).collect();
    known(&client, &query, &drops)?;
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
    context
        .object(&drops, |style, wide| drops.iter().map(|drop| line(drop, &zone, style, wide)).collect())?;
    Ok(Exit::Done)
}

/// An endpoint that is gone can still be asked for; one that never was is an error.
fn known(client: &Client, query: &Query, drops: &[DropRecord]) -> Result<()> {
    if let (Some(name), true) = (&query.endpoint, drops.is_empty()) {
        client.endpoint(name)?;
    }
    Ok(())
}

fn follow(
    context: &mut Context,
    client: &Client,
    last: usize,
    query: &Query,
    pcap: Option<&Path>,
    count: Option<u64>,
) -> Result<Exit> {
    if let Some(name) = &query.endpoint {
        client.endpoint(name)?;
    }
    let mut stream = client.follow_drops(last, query)?;
    let mut capture = pcap.map(open).transpose()?;
    let zone = TimeZone::system();
    let mut shown = 0;
    while let Some(received) = stream.next()? {
        let drop = match received {
            Received::Lost(lost) => {
                failure::say(&format!(
                    "{lost} events were lost: this reader was too slow (counters have them all)"
                ));
                continue;
            }
            Received::Event(event) => match drop_of(event) {
                Some(drop) => drop,
                None => continue,
            },
        };
        match &mut capture {
            Some(capture) => capture.add(&drop)?,
            None => context.item(&drop, |style, wide| line(&drop, &zone, style, wide))?,
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
        Event::Notice(_) => None,
    }
}

fn open(file: &Path) -> Result<Capture<Box<dyn Write>>> {
    if file == Path::new("-") {
        return Capture::new(Box::new(BufWriter::new(io::stdout())));
    }
    let target = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    Capture::new(Box::new(BufWriter::new(target)))
}
