//! Errors as runtimes expect them: objects with a code.

use serde::Serialize;

/// Codes of errors: those of the CNI specification 1.1.0, section 5, and from 100 on our own.
///
/// 3 (unknown container) is never used: it tells the runtime that nothing needs to be cleaned up, and the
/// plugins before us in the chain may hold resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// The configuration's version is not spoken here, or does not have the operation.
    IncompatibleVersion = 1,
    /// A `CNI_…` variable is missing or wrong; the message names it.
    InvalidEnvironment = 4,
    /// Something could not be read or written.
    Io = 5,
    /// The configuration is not a JSON object.
    Decode = 6,
    /// The configuration, or what the chain before us made, says something that cannot be.
    InvalidConfig = 7,
    /// The agent is away or too slow just now.
    TryAgainLater = 11,
    /// `STATUS`: no agent is ready.
    NotAvailable = 50,
    /// `CHECK`: the binding is not what it should be.
    NotBound = 100,
    /// The agent refused, or could not do it.
    Refused = 101,
}

/// What went wrong: short, and at length with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{msg}: {details}")]
pub struct CniError {
    /// Its code.
    pub code: Code,
    /// In a few words.
    pub msg: String,
    /// Which thing, why, and what to do about it.
    pub details: String,
}

impl CniError {
    /// An error.
    pub(crate) fn new(code: Code, msg: impl Into<String>, details: impl Into<String>) -> Self {
        // One line each: runtimes put them into logs and events.
        let line = |text: String| text.replace(['\n', '\r'], " ");
        Self { code, msg: line(msg.into()), details: line(details.into()) }
    }

    /// The configuration cannot be as it is.
    pub(crate) fn config(msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self::new(Code::InvalidConfig, msg, details)
    }

    /// A variable is missing or wrong.
    pub(crate) fn environment(variable: &str, details: impl Into<String>) -> Self {
        Self::new(Code::InvalidEnvironment, format!("{variable} is not valid"), details)
    }

    /// The object that goes to standard output.
    pub(crate) fn object(&self, cni_version: &str) -> String {
        #[derive(Serialize)]
        struct Object<'a> {
            #[serde(rename = "cniVersion")]
            cni_version: &'a str,
            code: u16,
            msg: &'a str,
            details: &'a str,
        }
        let object = Object { cni_version, code: self.code as u16, msg: &self.msg, details: &self.details };
        // Strings and a number: this cannot fail.
        serde_json::to_string(&object).unwrap_or_default()
    }
}
