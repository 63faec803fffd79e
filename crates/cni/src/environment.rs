//! What the runtime says in environment variables.

use std::ffi::OsString;
use std::path::PathBuf;

use portcullis_policy::model::Workload;

use crate::error::CniError;

/// Gives the value of a variable; a function, so that tests need not change their own environment.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Command {
    /// As the runtime says it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// Reads `CNI_COMMAND`.
    pub(crate) fn read(variables: Variables<'_>) -> Result<Self, CniError> {
        let text = required(variables, "CNI_COMMAND")?;
        [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version]
            .into_iter()
            .find(|command| command.as_str() == text)
            .ok_or_else(|| {
                let details =
                    format!("CNI_COMMAND is {text:?}; it is one of ADD, DEL, CHECK, GC, STATUS, VERSION");
                CniError::environment("CNI_COMMAND", details)
            })
    }
}

/// Which interface of which container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// `CNI_CONTAINERID`.
    pub(crate) container: String,
    /// `CNI_IFNAME`.
    pub(crate) interface: String,
}

impl Key {
    /// Reads both.
    pub(crate) fn read(variables: Variables<'_>) -> Result<Self, CniError> {
        let container = required(variables, "CNI_CONTAINERID")?;
        if !is_container_id(&container) {
            let details = format!(
                "CNI_CONTAINERID is {container:?}; it begins with a letter or digit, and has only these, _, . and -"
            );
            return Err(CniError::environment("CNI_CONTAINERID", details));
        }
        let interface = required(variables, "CNI_IFNAME")?;
        if !is_interface_name(&interface) {
            let details = format!(
                "CNI_IFNAME is {interface:?}; an interface has 1 to 15 bytes, without / : and blanks"
            );
            return Err(CniError::environment("CNI_IFNAME", details));
        }
        Ok(Self { container, interface })
    }
}

/// Reads `CNI_NETNS`, which must not be empty.
pub(crate) fn netns(variables: Variables<'_>) -> Result<PathBuf, CniError> {
    required(variables, "CNI_NETNS").map(PathBuf::from)
}

/// What `CNI_CONTAINERID` and `CNI_ARGS` tell of the workload. Keys come in any order; those that mean
/// nothing here are skipped.
pub(crate) fn workload(variables: Variables<'_>, key: &Key) -> Result<Workload, CniError> {
    let mut workload = Workload { container: Some(key.container.clone()), ..Workload::default() };
    let Some(arguments) = optional(variables, "CNI_ARGS")? else { return Ok(workload) };
    for pair in arguments.split(';').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            let details = format!("{pair:?} in CNI_ARGS is not KEY=VALUE; pairs are separated by semicolons");
            CniError::environment("CNI_ARGS", details)
        })?;
        let place = match name {
            "K8S_POD_NAME" => &mut workload.pod,
            "K8S_POD_NAMESPACE" => &mut workload.namespace,
            "K8S_POD_UID" => &mut workload.uid,
            _ => continue,
        };
        *place = Some(value.to_owned()).filter(|value| !value.is_empty());
    }
    Ok(workload)
}

fn required(variables: Variables<'_>, name: &str) -> Result<String, CniError> {
    let absent = || CniError::environment(name, format!("{name} is missing or empty; the runtime sets it"));
    optional(variables, name)?.ok_or_else(absent)
}

fn optional(variables: Variables<'_>, name: &str) -> Result<Option<String>, CniError> {
    let Some(value) = variables(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let not_text = |_| CniError::environment(name, format!("{name} is not UTF-8 text"));
    value.into_string().map(Some).map_err(not_text)
}

/// As the specification has it: alphanumeric first, then also `_`, `.` and `-`.
fn is_container_id(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn is_interface_name(text: &str) -> bool {
    (1..16).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}
