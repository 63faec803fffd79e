//! Where containers are learned of.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use portcullis_policy::model::{Mode, Owner};
use serde::{Deserialize, Serialize};

use super::Config;

/// What holds where no `[[source]]` stands in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sources {
    /// The well-known sockets are watched for.
    #[default]
    Auto,
    /// No runtime is asked.
    None,
}

/// Kind of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Docker's API.
    Docker,
    /// Podman's own API.
    Podman,
    /// The Kubernetes container runtime interface (containerd, CRI-O).
    Cri,
}

/// A section `[[source]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    /// What is spoken on the socket.
    pub kind: SourceKind,
    /// The socket; none: the usual one of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Mode of its containers, where no policy says: `enforce` or `audit`.
    #[serde(default)]
    pub mode: Mode,
    /// Whether interfaces of its networks that no container claims yet are dropped meanwhile.
    #[serde(default = "yes")]
    pub hold: bool,
    /// Whether attachments without a host side (macvlan, ipvlan) are bound from inside the workload's
    /// namespace.
    #[serde(default)]
    pub inside: bool,
}

fn yes() -> bool {
    true
}

/// A source as it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What is spoken on the socket.
    pub kind: SourceKind,
    /// The socket.
    pub socket: PathBuf,
    /// Mode of its containers, where no policy says.
    pub mode: Mode,
    /// Whether unclaimed interfaces of its networks are dropped.
    pub hold: bool,
    /// Whether what has no host side is bound from inside.
    pub inside: bool,
    /// Nobody asked for it: it is used if its socket is there.
    pub automatic: bool,
}

/// Sockets that are watched for unless told otherwise.
const WELL_KNOWN: [(SourceKind, &str); 4] = [
    (SourceKind::Docker, "/run/docker.sock"),
    (SourceKind::Podman, "/run/podman/podman.sock"),
    (SourceKind::Cri, "/run/containerd/containerd.sock"),
    (SourceKind::Cri, "/run/crio/crio.sock"),
];

impl SourceKind {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Cri];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.owner().name()
    }

    /// Who owns what it tells of.
    #[must_use]
    pub const fn owner(self) -> Owner {
        match self {
            Self::Docker => Owner::Docker,
            Self::Podman => Owner::Podman,
            Self::Cri => Owner::Cri,
        }
    }

    /// The usual socket.
    #[must_use]
    pub fn socket(self) -> PathBuf {
        let found = WELL_KNOWN.iter().find(|(kind, _)| *kind == self);
        found.map_or_else(PathBuf::new, |(_, socket)| PathBuf::from(socket))
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl SourceSection {
    /// A section that says no more than this.
    #[must_use]
    pub const fn new(kind: SourceKind, socket: Option<PathBuf>) -> Self {
        Self { kind, socket, mode: Mode::Enforce, hold: true, inside: false }
    }

    /// Its socket, or the usual one.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.kind.socket())
    }
}

/// `docker`, `podman=/run/x.sock`: as `--source` has it.
impl FromStr for SourceSection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, socket) = match text.split_once('=') {
            Some((kind, socket)) => (kind, Some(PathBuf::from(socket))),
            None => (text, None),
        };
        let known = SourceKind::ALL.into_iter().find(|known| known.name() == kind);
        let kind = known.ok_or("write docker, podman or cri, and its socket: docker=/run/docker.sock")?;
        match socket {
            Some(socket) if !socket.is_absolute() => {
                Err(format!("write the absolute path of its socket: {kind}={}", kind.socket().display()))
            }
            socket => Ok(Self::new(kind, socket)),
        }
    }
}

impl Config {
    /// The sources to be used: those that are named, else the well-known ones, else none.
    #[must_use]
    pub fn effective_sources(&self) -> Vec<Source> {
        let named = self.source_list.iter().map(|section| (section.clone(), false));
        let well_known = WELL_KNOWN
            .iter()
            .map(|(kind, socket)| (SourceSection::new(*kind, Some(PathBuf::from(socket))), true))
            .filter(|_| self.source_list.is_empty() && self.sources == Sources::Auto);
        named
            .chain(well_known)
            .map(|(section, automatic)| Source {
                kind: section.kind,
                socket: section.socket(),
                mode: section.mode,
                hold: section.hold,
                inside: section.inside,
                automatic,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_used_exactly() {
        let mut config = Config::default();
        let sockets = |config: &Config| -> Vec<String> {
            let sources = config.effective_sources();
            sources.iter().map(|source| format!("{}={}", source.kind, source.socket.display())).collect()
        };
        assert_eq!(
            sockets(&config),
            [
                "docker=/run/docker.sock",
                "podman=/run/podman/podman.sock",
                "cri=/run/containerd/containerd.sock",
                "cri=/run/crio/crio.sock"
            ]
        );
        assert!(config.effective_sources().iter().all(|source| source.automatic && source.hold));
        config.source_list = vec!["podman".parse().unwrap(), "docker=/tmp/d.sock".parse().unwrap()];
        assert_eq!(sockets(&config), ["podman=/run/podman/podman.sock", "docker=/tmp/d.sock"]);
        assert!(!config.effective_sources()[0].automatic);
        config.source_list.clear();
        config.sources = Sources::None;
        assert_eq!(config.effective_sources(), []);
    }

    #[test]
    fn a_source_on_the_command_line() {
        assert_eq!(
            "cri=/run/x=y.sock".parse(),
            Ok(SourceSection::new(SourceKind::Cri, Some("/run/x=y.sock".into())))
        );
        for bad in ["", "rkt", "docker=", "docker=run/docker.sock", "=/x"] {
            assert!(bad.parse::<SourceSection>().is_err(), "{bad}");
        }
    }
}
