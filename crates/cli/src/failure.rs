//! How a command ends: exit codes, and the one line on standard error.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::client::ClientError;

/// The exit codes that INTERFACES promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Tried and failed; or a check that did not hold.
    Failed = 1,
    /// What was asked for cannot be.
    Usage = 2,
    /// No agent answers.
    Unreachable = 3,
    /// No such endpoint or interface.
    NotFound = 4,
    /// It contradicts something that is there.
    Conflict = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that knows its exit code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    /// What was asked for cannot be.
    pub fn usage(text: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Usage, text: text.into() }.into()
    }

    /// It contradicts something that is there.
    pub fn conflict(text: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Conflict, text: text.into() }.into()
    }

    /// Nobody answers.
    pub fn unreachable(text: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Unreachable, text: text.into() }.into()
    }

    /// Something named is not there.
    pub fn not_found(text: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::NotFound, text: text.into() }.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// The exit code of an error.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.exit;
    }
    error.downcast_ref::<ClientError>().map_or(Exit::Failed, ClientError::exit)
}

/// Says what went wrong, in one line.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read us has seen enough (`portcullis drops | head`).
        return Exit::Done.into();
    }
    say(&format!("{error:#}"));
    exit_of(error).into()
}

/// Ends after the command line itself was refused, or its help was asked for.
pub fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    match error.kind() {
        // Nothing can be done about a closed standard output here.
        DisplayHelp | DisplayVersion => {
            let _closed = error.print();
            Exit::Done.into()
        }
        DisplayHelpOnMissingArgumentOrSubcommand => {
            let _closed = error.print();
            Exit::Usage.into()
        }
        _ => {
            say(&flatten(&error.render().to_string()));
            Exit::Usage.into()
        }
    }
}

/// Writes one line to standard error under our name.
pub fn say(text: &str) {
    let mut line = String::from("portcullis: ");
    line.extend(text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }));
    line.push('\n');
    // There is nowhere left to complain to.
    let _closed = io::stderr().write_all(line.as_bytes());
}

/// clap explains itself in paragraphs; one line is promised.
fn flatten(text: &str) -> String {
    let mut usage = None;
    let mut parts = Vec::new();
    for paragraph in text.split("\n\n") {
        let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(synopsis) = paragraph.strip_prefix("Usage: ") {
            usage = Some(synopsis.to_owned());
        } else if !paragraph.is_empty() && !paragraph.starts_with("For more information") {
            let paragraph = paragraph.strip_prefix("error: ").unwrap_or(&paragraph);
            parts.push(paragraph.strip_prefix("tip: ").unwrap_or(paragraph).to_owned());
        }
    }
    let hint = usage.map_or_else(|| "see --help".to_owned(), |synopsis| format!("usage: {synopsis}"));
    format!("{} ({hint})", parts.join("; "))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_become_one_line() {
        let text = "error: the following required arguments were not provided:\n  --interface <IF>\n  \
                    --address <IP>\n\nUsage: portcullis endpoint bind --interface <IF> <NAME>\n\n\
                    For more information, try '--help'.\n";
        assert_eq!(
            flatten(text),
            "the following required arguments were not provided: --interface <IF> --address <IP> \
             (usage: portcullis endpoint bind --interface <IF> <NAME>)"
        );
        let text = "error: unrecognized subcommand 'statuss'\n\n  tip: a similar subcommand exists: 'status'\n\n\
                    For more information, try '--help'.";
        assert_eq!(
            flatten(text),
            "unrecognized subcommand 'statuss'; a similar subcommand exists: 'status' (see --help)"
        );
    }

    #[test]
    fn a_broken_pipe_is_found_under_context() {
        let error = anyhow::Error::from(io::Error::from(ErrorKind::BrokenPipe)).context("writing");
        assert!(is_broken_pipe(&error));
        assert_eq!(exit_of(&Failure::not_found("x")), Exit::NotFound);
        assert_eq!(exit_of(&anyhow::anyhow!("x")), Exit::Failed);
    }
}
