//! `blocklist …`.

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result};
use hyper::body::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use portcullis_policy::api::{
    BlocklistChange, BlocklistEntry, BlocklistPage, EntryAction, EntryKey, SourceView,
};
use portcullis_policy::shield::Written;
use tokio::sync::mpsc;

use crate::args::{AddArgs, BlocklistCommand, ImportArgs, ListEntriesArgs, RemoveArgs};
use crate::client::encode;
use crate::context::Context;
use crate::failure::{self, Exit, Failure};
use crate::output::blocklist;

/// Bytes that are sent at a time, and pieces that may wait.
const PIECE_BYTES: usize = 256 << 10;
const PIECES: usize = 4;
/// Entries of one answer.
const PAGE: usize = 10_000;

/// Runs one of the commands under `blocklist`.
pub fn run(context: &mut Context, command: BlocklistCommand) -> Result<Exit> {
    match command {
        BlocklistCommand::Add(args) => add(context, &args)?,
        BlocklistCommand::Remove(args) => remove(context, &args)?,
        BlocklistCommand::List(args) => {
            let page = list(context, &args)?;
            context.object(&page, |style, wide| blocklist::list(&page, style, wide))?;
        }
        BlocklistCommand::Import(args) => import(context, &args)?,
        BlocklistCommand::Test { addresses } => {
            let client = context.client()?;
            for address in &addresses {
                let test = client.test_address(*address)?;
                if addresses.len() == 1 {
                    context.object(&test, |style, _| blocklist::test(&test, style))?;
                } else {
                    context.item(&test, |style, _| blocklist::test(&test, style))?;
                }
            }
        }
        BlocklistCommand::Sources => {
            let sources: Vec<SourceView> = context.client()?.blocklist("?limit=1")?.sources;
            context.object(&sources, |style, _| blocklist::sources(&sources, style))?;
        }
        BlocklistCommand::Clear { source } => {
            let gone = context.client()?.remove_source(&source)?;
            context
                .object(&gone, |_, _| format!("source {source}: {} entries removed\n", gone["removed"]))?;
        }
    }
    Ok(Exit::Done)
}

fn add(context: &mut Context, args: &AddArgs) -> Result<()> {
    note_host_bits(&args.prefixes, args.says.strict)?;
    let entry = |written: &Written| BlocklistEntry {
        prefix: written.net,
        action: args.says.action(),
        protocol: args.says.protocol,
        expires: None,
        expires_in: args.says.expires,
        comment: args.comment.clone(),
        source: "api".to_owned(),
    };
    change(
        context,
        BlocklistChange {
            add: args.prefixes.iter().map(entry).collect(),
            force: args.manner.force,
            dry_run: args.manner.dry_run,
            ..BlocklistChange::default()
        },
    )
}

fn remove(context: &mut Context, args: &RemoveArgs) -> Result<()> {
    let key = |written: &Written| EntryKey {
        prefix: written.net,
        action: if args.allow { EntryAction::Allow } else { EntryAction::Block },
        source: args.source.clone(),
    };
    change(
        context,
        BlocklistChange {
            remove: args.prefixes.iter().map(key).collect(),
            force: args.manner.force,
            dry_run: args.manner.dry_run,
            ..BlocklistChange::default()
        },
    )
}

fn change(context: &mut Context, change: BlocklistChange) -> Result<()> {
    let changed = context.client()?.change_blocklist(&change)?;
    context.object(&changed, |_, _| blocklist::changed(&changed))?;
    changed.warnings.iter().for_each(|warning| failure::say(warning));
    Ok(())
}

fn note_host_bits(prefixes: &[Written], strict: bool) -> Result<()> {
    for written in prefixes.iter().filter(|written| written.had_host_bits) {
        if strict {
            return Err(Failure::usage(format!(
                "a prefix has bits beyond its length: write {} (or leave --strict out)",
                written.net
            )));
        }
        failure::say(&format!("bits beyond the prefix's length were left out: {}", written.net));
    }
    Ok(())
}

fn list(context: &Context, args: &ListEntriesArgs) -> Result<BlocklistPage> {
    let client = context.client()?;
    let mut query = String::new();
    if let Some(source) = &args.source {
        query.push_str(&format!("&source={}", encode(source)));
    }
    if let Some(within) = args.within {
        query.push_str(&format!("&within={}", encode(&within.net.to_string())));
    }
    let wanted = if args.limit == 0 { usize::MAX } else { args.limit };
    let mut all = client.blocklist(&format!("?limit={}{query}", wanted.min(PAGE)))?;
    while let Some(after) = all.next.take() {
        let left = wanted.saturating_sub(all.entries.len());
        if left == 0 {
            all.next = Some(after);
            break;
        }
        let page = client.blocklist(&format!("?limit={}&after={}{query}", left.min(PAGE), encode(&after)))?;
        all.entries.extend(page.entries);
        all.next = page.next;
    }
    Ok(all)
}

fn import(context: &mut Context, args: &ImportArgs) -> Result<()> {
    let source = source_name(args)?;
    let is_stdin = args.file == Path::new("-");
    let (input, len): (Box<dyn Read + Send>, Option<u64>) = if is_stdin {
        (Box::new(std::io::stdin()), None)
    } else {
        let file = File::open(&args.file)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", args.file.display())))?;
        let metadata = file.metadata().with_context(|| format!("cannot read {}", args.file.display()))?;
        if metadata.is_dir() {
            return Err(Failure::usage(format!("{} is a directory", args.file.display())));
        }
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    let bar = bar(len);
    let (sender, pieces) = mpsc::channel(PIECES);
    let progress = bar.clone();
    // Ends when everything is sent, or when nobody takes it any more.
    thread::spawn(move || pump(input, &sender, &progress));
    let outcome = context.client()?.import(&source, &query(args), pieces);
    bar.finish_and_clear();
    let outcome = outcome?;
    context.object(&outcome, |_, _| blocklist::imported(&outcome))?;
    outcome.warnings.iter().for_each(|warning| failure::say(warning));
    outcome.skipped_lines.iter().for_each(|line| failure::say(&format!("left out: {line}")));
    if outcome.skipped > outcome.skipped_lines.len() as u64 {
        failure::say(&format!("… and {} more", outcome.skipped - outcome.skipped_lines.len() as u64));
    }
    Ok(())
}

fn source_name(args: &ImportArgs) -> Result<String> {
    if let Some(source) = &args.source {
        return Ok(source.clone());
    }
    let name = args.file.file_name().filter(|_| args.file != Path::new("-"));
    let Some(name) = name else {
        return Err(Failure::usage(
            "name the source of what comes from standard input: --source NAME".to_owned(),
        ));
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    Ok(name.to_string_lossy().chars().map(plain).take(63).collect())
}

fn query(args: &ImportArgs) -> String {
    let mut query = format!(
        "?action={}&strict={}&skip_invalid={}&force={}&dry_run={}",
        args.says.action(),
        args.says.strict,
        args.skip_invalid,
        args.manner.force,
        args.manner.dry_run
    );
    let texts = [
        ("format", args.format.map(|format| format.to_string())),
        ("column", args.column.clone()),
        ("protocol", args.says.protocol.map(|protocol| protocol.to_string())),
        ("expires_in", args.says.expires.map(|span| span.to_string())),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            query.push_str(&format!("&{key}={}", encode(&value)));
        }
    }
    query
}

fn bar(len: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match len {
        Some(len) => {
            (ProgressBar::new(len), "importing {bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left")
        }
        None => (ProgressBar::new_spinner(), "importing {spinner} {bytes}  {bytes_per_sec}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn pump(mut input: impl Read, pieces: &mpsc::Sender<std::io::Result<Bytes>>, progress: &ProgressBar) {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let piece = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => {
                progress.inc(len as u64);
                Ok(Bytes::copy_from_slice(&buffer[..len]))
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_end = piece.is_err();
        if pieces.blocking_send(piece).is_err() || is_end {
            return;
        }
    }
}
