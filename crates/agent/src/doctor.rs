//! What this kernel and this host support, what is missing, and what to do about it.
//!
//! Works without an agent and changes nothing: it reads `/proc` and `/sys` and asks for
//! permissions. No bpf system call is made here (only `datapath` makes those), so what a kernel
//! can do is told from its symbols and its version.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

mod host;
mod kernel;

/// How one requirement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// It is there.
    Ok,
    /// It works without, but not as well; or it could not be told.
    Warn,
    /// The agent cannot work like this.
    Fail,
}

/// One requirement, and how this host stands to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable short name, such as `bpffs`.
    pub name: String,
    /// How it stands.
    pub status: CheckStatus,
    /// What was found.
    pub detail: String,
    /// What to do about it; none where there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remedy: Option<String>,
}

impl Check {
    fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.into(), status: CheckStatus::Ok, detail: detail.into(), remedy: None }
    }

    fn warn(name: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: CheckStatus::Warn, remedy: Some(remedy.into()), ..Self::ok(name, detail) }
    }

    fn fail(name: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: CheckStatus::Fail, remedy: Some(remedy.into()), ..Self::ok(name, detail) }
    }
}

/// The places that an agent on this host would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// API socket.
    pub socket: PathBuf,
    /// Directory of the desired state.
    pub state_dir: PathBuf,
    /// Directory of the pins.
    pub bpffs: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            socket: "/run/portcullis/portcullis.sock".into(),
            state_dir: "/var/lib/portcullis".into(),
            bpffs: "/sys/fs/bpf/portcullis".into(),
        }
    }
}

/// Examines this host, with the default places.
#[must_use]
pub fn examine() -> Vec<Check> {
    examine_places(&Places::default())
}

/// Examines this host for an agent with these places. Every check is made, whatever the others say.
#[must_use]
pub fn examine_places(places: &Places) -> Vec<Check> {
    let symbols = kernel::Symbols::read(Path::new("/proc/kallsyms"));
    let release = kernel::release();
    let version = kernel::Version::parse(&release);
    vec![
        host::capabilities(),
        kernel::floor(&release, version),
        kernel::tcx(&symbols, version, &release),
        kernel::netkit(&symbols, version),
        kernel::btf(Path::new("/sys/kernel/btf/vmlinux")),
        kernel::jit(Path::new("/proc/sys/net/core/bpf_jit_enable")),
        host::bpffs(&places.bpffs),
        host::cgroup2(),
        host::memlock(version),
        kernel::unprivileged(Path::new("/proc/sys/kernel/unprivileged_bpf_disabled")),
        host::writable("state-dir", &places.state_dir, "--state-dir"),
        host::writable("socket-dir", places.socket.parent().unwrap_or(Path::new("/")), "--socket"),
        agent(&places.socket),
    ]
}

/// Whether somebody listens on the socket. No agent is no fault of the host.
fn agent(socket: &Path) -> Check {
    let shown = socket.display();
    let start = "start one: `portcullis agent`";
    match UnixStream::connect(socket) {
        Ok(_) => Check::ok("agent", format!("answers at {shown}")),
        Err(error) => match error.kind() {
            std::io::ErrorKind::NotFound => {
                Check::warn("agent", format!("none is running ({shown} does not exist)"), start)
            }
            std::io::ErrorKind::ConnectionRefused => {
                Check::warn("agent", format!("none is running ({shown} is left over from one)"), start)
            }
            std::io::ErrorKind::PermissionDenied => Check::warn(
                "agent",
                format!("{shown} may not be opened by this user"),
                "run as root, or join the group of the socket",
            ),
            _ => Check::warn("agent", format!("{shown} cannot be opened: {error}"), start),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_named_once_and_says_what_to_do() {
        let checks = examine();
        let mut names: Vec<_> = checks.iter().map(|check| check.name.as_str()).collect();
        assert!(names.len() >= 13, "{names:?}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), checks.len());
        for check in &checks {
            assert!(!check.detail.is_empty(), "{check:?}");
            assert!(!check.detail.contains('\n'), "{check:?}");
            assert_eq!(check.status != CheckStatus::Ok, check.remedy.is_some(), "{check:?}");
        }
    }

    #[test]
    fn an_agent_is_told_from_a_leftover_socket_and_from_none() {
        let dir = std::env::temp_dir().join(format!("pc-doctor-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.sock");
        assert!(agent(&path).detail.contains("does not exist"));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(agent(&path).status, CheckStatus::Ok);
        drop(listener);
        assert!(agent(&path).detail.contains("left over"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
