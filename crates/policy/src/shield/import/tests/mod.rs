//! Lists as they are published, and what is read of them.

mod broken;
mod fixtures;
mod inline;
mod properties;

use std::fmt::Write;
use std::ops::ControlFlow;

use super::{Format, Options, ReadError, Summary, read};

/// What is read, an entry or error on each line: `3 192.0.2.0/24 # comment (10m)`.
pub(super) fn shown(list: &[u8], options: &Options) -> (String, Result<Summary, ReadError>) {
    let mut text = String::new();
    let summary = read(list, options, |line, item| {
        match item {
            Ok(item) => {
                write!(text, "{line} {}", item.net).unwrap();
                if item.had_host_bits {
                    text.push('!');
                }
                if let Some(comment) = item.comment {
                    write!(text, " # {comment}").unwrap();
                }
                if let Some(timeout) = item.timeout {
                    write!(text, " ({timeout})").unwrap();
                }
            }
            Err(error) => {
                assert_eq!(error.line, line);
                text += &error.to_string();
            }
        }
        text.push('\n');
        ControlFlow::Continue(())
    });
    (text, summary)
}

/// What is read of a list whose format is recognised.
pub(super) fn detected(list: impl AsRef<[u8]>) -> (Format, String) {
    let (text, summary) = shown(list.as_ref(), &Options::default());
    (summary.unwrap().format, text)
}

/// What is read of a list of a format.
pub(super) fn of(format: Format, list: impl AsRef<[u8]>) -> String {
    let (text, summary) = shown(list.as_ref(), &Options { format: Some(format), ..Options::default() });
    assert_eq!(summary.unwrap().format, format);
    text
}

/// Why a list is not read.
pub(super) fn refused(list: impl AsRef<[u8]>, options: &Options) -> String {
    shown(list.as_ref(), options).1.unwrap_err().to_string()
}
