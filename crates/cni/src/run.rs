//! One call of the plugin, from what the runtime says to what it is told.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::time::Instant;

use serde::Serialize;

use crate::config::{Config, claimed_version};
use crate::environment::Command;
use crate::error::{CniError, Code};
use crate::operation::{self, Call, Said};
use crate::version::Version;

/// More than any configuration; a runtime that sends more is not one.
const MAX_INPUT_BYTES: u64 = 4 << 20;

/// What the plugin says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// For standard output: a result, an error object, or nothing.
    pub stdout: String,
    /// For standard error, which runtimes log: lines for people.
    pub stderr: String,
    /// Whether it was done; else the exit code is 1.
    pub done: bool,
}

/// Whether a process was started by a runtime as the plugin: runtimes execute the file that a configuration's
/// `type` names, without arguments, and say what to do in `CNI_COMMAND`. `portcullis cni` is the same.
pub fn is_plugin_call<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>, has_command: bool) -> bool {
    let mut arguments = arguments.into_iter().skip(1);
    has_command
        && match (arguments.next(), arguments.next()) {
            (None, _) => true,
            (Some(only), None) => only.as_ref() == "cni",
            _ => false,
        }
}

/// Does what the runtime asks for. `started` is when this process was: the time limit counts from there.
pub fn run(started: Instant, variables: impl Fn(&str) -> Option<OsString>, input: impl Read) -> Answer {
    let variables: &dyn Fn(&str) -> Option<OsString> = &variables;
    let mut bytes = Vec::new();
    let outcome = Command::read(variables).and_then(|command| match command {
        // The specification has said "nothing on standard input" and a version there: whatever it is, it
        // must not keep a runtime from learning what is spoken here.
        Command::Version => {
            let _unread = input.take(MAX_INPUT_BYTES).read_to_end(&mut bytes);
            Ok(Said::output(versions(&bytes)))
        }
        _ => {
            read(input, &mut bytes)?;
            let config = Config::read(&bytes)?;
            operation::perform(&Call { command, started, variables, config: &config })
        }
    });
    match outcome {
        Ok(Said { output, remark }) => {
            Answer { stdout: line(output), stderr: line(remark.map(named)), done: true }
        }
        Err(error) => {
            let version = claimed_version(&bytes);
            let object = error.object(version.as_deref().unwrap_or(Version::NEWEST.as_str()));
            Answer { stdout: line(Some(object)), stderr: line(Some(named(error.to_string()))), done: false }
        }
    }
}

fn read(input: impl Read, bytes: &mut Vec<u8>) -> Result<(), CniError> {
    let failed = |why: String| {
        let details = format!("standard input, where the runtime puts the network configuration: {why}");
        CniError::new(Code::Io, "failed to read the network configuration", details)
    };
    input.take(MAX_INPUT_BYTES + 1).read_to_end(bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        bytes.clear();
        return Err(failed(format!("more than {MAX_INPUT_BYTES} bytes")));
    }
    Ok(())
}

/// The answer to `VERSION`, in the version that it was asked in, where that is spoken here.
fn versions(input: &[u8]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Versions {
        cni_version: &'static str,
        supported_versions: [&'static str; 5],
    }
    let asked = claimed_version(input).and_then(|text| Version::named(&text)).unwrap_or(Version::NEWEST);
    let versions =
        Versions { cni_version: asked.as_str(), supported_versions: Version::ALL.map(Version::as_str) };
    // Plain strings: this cannot fail.
    serde_json::to_string(&versions).unwrap_or_default()
}

fn named(text: String) -> String {
    format!("portcullis: {text}")
}

fn line(text: Option<String>) -> String {
    text.map(|text| text + "\n").unwrap_or_default()
}
