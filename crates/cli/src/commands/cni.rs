//! `cni`: the plugin itself, and what puts it into network configurations.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use portcullis_cni::install::{Install, InstallError, Outcome, Report, Settings, Uninstall};

use crate::args::{CniArgs, CniCommand};
use crate::context::Context;
use crate::failure::{Exit, Failure, say};

/// Answers the runtime that started this process as the plugin.
pub fn plugin(started: Instant) -> ExitCode {
    let answer = portcullis_cni::run(started, |name| std::env::var_os(name), io::stdin().lock());
    // Whoever starts a plugin and closes its log has seen enough of it.
    let _closed = io::stderr().write_all(answer.stderr.as_bytes());
    let mut stdout = io::stdout().lock();
    // A result that nobody got is none: the runtime cleans up after a failure.
    match stdout.write_all(answer.stdout.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) if answer.done => Exit::Done.into(),
        Ok(()) => Exit::Failed.into(),
        Err(error) => {
            say(&format!("cannot write the result: {error}"));
            Exit::Failed.into()
        }
    }
}

/// Installs, uninstalls, or says what it is.
pub fn run(context: &mut Context, args: CniArgs) -> Result<Exit> {
    let report = match args.command {
        None => {
            context.text(&portcullis_cni::about())?;
            return Ok(Exit::Done);
        }
        Some(CniCommand::Install(args)) => Install {
            which: args.place.which(),
            conf_dir: args.place.conf_dir,
            bin_dir: args.place.bin_dir.unwrap_or_else(portcullis_cni::install::default_bin_dir),
            settings: Settings {
                on_agent_down: args.on_agent_down,
                // Whoever says where the agent is means it for the plugin too.
                socket: args.agent_socket.or_else(|| context.named_socket.clone()),
            },
            binary: std::env::current_exe().context("where is this program's file?")?,
            dry_run: args.place.dry_run,
        }
        .run(),
        Some(CniCommand::Uninstall(args)) => Uninstall {
            which: args.place.which(),
            conf_dir: args.place.conf_dir,
            bin_dir: args.place.bin_dir.unwrap_or_else(portcullis_cni::install::default_bin_dir),
            remove_binary: args.remove_binary,
            dry_run: args.place.dry_run,
        }
        .run(),
    };
    let report = report.map_err(failure)?;
    context.object(&report, |_, _| sentences(&report))?;
    Ok(Exit::Done)
}

fn failure(error: InstallError) -> anyhow::Error {
    match error {
        InstallError::NotFound(text) => Failure::not_found(text),
        InstallError::Invalid(text) => Failure::usage(text),
        // It names its cause itself: as a chain it would come twice.
        InstallError::Refused { .. } | InstallError::Io { .. } => anyhow!(error.to_string()),
    }
}

fn sentences(report: &Report) -> String {
    let file = report.file.display();
    let binary = report.binary.display();
    let would = report.dry_run;
    let mut lines = vec![match report.outcome {
        Outcome::Installed if would => format!("would install into {file} (network {})", report.network),
        Outcome::Installed => format!("installed into {file} (network {})", report.network),
        Outcome::Updated if would => format!("would update {file} (network {})", report.network),
        Outcome::Updated => format!("updated {file} (network {})", report.network),
        Outcome::Removed if would => format!("would remove from {file} (network {})", report.network),
        Outcome::Removed => format!("removed from {file} (network {})", report.network),
        Outcome::Unchanged | Outcome::Kept => {
            format!("already installed in {file} (network {})", report.network)
        }
        Outcome::Absent => format!("not installed in {file} (network {})", report.network),
    }];
    if let Some(backup) = &report.backup {
        let verb = if would { "would keep" } else { "kept" };
        lines.push(format!("{verb} it as it was in {}", backup.display()));
    }
    match report.binary_outcome {
        Outcome::Installed | Outcome::Updated if would => {
            lines.push(format!("would copy the plugin to {binary}"))
        }
        Outcome::Installed | Outcome::Updated => lines.push(format!("copied the plugin to {binary}")),
        Outcome::Removed if would => lines.push(format!("would remove {binary}")),
        Outcome::Removed => lines.push(format!("removed {binary}")),
        Outcome::Unchanged | Outcome::Absent | Outcome::Kept => {}
    }
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    let mut text = lines.join("\n") + "\n";
    if would {
        text.push_str(&report.diff);
    }
    text
}
