//! The configuration file: what it may say, its defaults, and what is wrong with it in one line.
//!
//! [`EXAMPLE`] documents every key. Whatever is not said has a default; an unknown key is an
//! error, since a misspelt security setting must not be a silent one.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_policy::guard::GatePolicy;
use portcullis_policy::model::{EndpointSpec, UnboundPolicy};
use serde::{Deserialize, Serialize};

mod answer;
mod check;
mod kubernetes;
mod locate;
mod nearest;
mod source;
#[cfg(test)]
mod tests;

pub use answer::AnswerDefaults;
pub use check::Rejection;
pub use kubernetes::{KubernetesSection, Unknown};
pub use locate::Place;
pub use source::{Source, SourceKind, SourceSection, Sources};

/// Where the configuration file is looked for when none is named.
pub const DEFAULT_PATH: &str = "/etc/portcullis/portcullis.toml";

/// A configuration file that shows every key with its default (`docs/portcullis.toml`).
pub const EXAMPLE: &str = include_str!("../../../docs/portcullis.toml");

/// Bytes that one endpoint's counters take on one CPU.
const COUNTERS_LEN: u64 = size_of::<portcullis_abi::Counters>() as u64;
/// Kernel memory that all counters may take where the configuration does not say otherwise.
const COUNTERS_BUDGET: u64 = 64 << 20;
/// Room for endpoints, where it is chosen automatically: at least, at most.
const AUTO_ENDPOINTS: (u64, u64) = (1024, 16_384);

/// The configuration of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Unix socket of the API.
    pub socket: PathBuf,
    /// Directory of the desired state.
    pub state_dir: PathBuf,
    /// Directory of the pins, on a bpf filesystem.
    pub bpffs: PathBuf,
    /// Address of the API on TCP, if any.
    pub listen: Option<SocketAddr>,
    /// File that holds the bearer token for `listen`.
    pub token_file: Option<PathBuf>,
    /// What an interface without a binding may do.
    pub unbound: UnboundPolicy,
    /// Interfaces that `unbound` does not concern; `*` at the end stands for any rest. The way to
    /// the default gateway is exempt always.
    pub unbound_except: Vec<String>,
    /// Sampling of events.
    pub events: Events,
    /// Sizes of tables.
    pub limits: Limits,
    /// The periodic look at the kernel's side.
    pub reconcile: Reconcile,
    /// What becomes of an endpoint that keeps forging, where no policy says.
    pub answer: AnswerDefaults,
    /// This agent as one of a cluster's.
    pub kubernetes: KubernetesSection,
    /// Where containers are learned of, where no `[[source]]` says.
    pub sources: Sources,
    /// The sources that are used, exactly.
    #[serde(rename = "source")]
    pub source_list: Vec<SourceSection>,
    /// Gate policies, owned by the file.
    #[serde(rename = "policy")]
    pub policies: Vec<GatePolicy>,
    /// Static endpoints, owned by the file.
    #[serde(rename = "endpoint")]
    pub endpoints: Vec<EndpointSpec>,
}

/// How events are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// Events per second and endpoint.
    pub per_second: u32,
    /// Events that may come at once.
    pub burst: u32,
    /// Events kept in memory.
    pub history: usize,
}

/// Sizes of tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Room for endpoints; 0: chosen by [`Limits::capacity`].
    pub endpoints: u32,
}

/// The periodic look at the kernel's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reconcile {
    /// Milliseconds between two looks.
    pub interval_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: "/run/portcullis/portcullis.sock".into(),
            state_dir: "/var/lib/portcullis".into(),
            bpffs: "/sys/fs/bpf/portcullis".into(),
            listen: None,
            token_file: None,
            unbound: UnboundPolicy::Allow,
            unbound_except: Vec::new(),
            events: Events::default(),
            limits: Limits::default(),
            reconcile: Reconcile::default(),
            answer: AnswerDefaults::default(),
            kubernetes: KubernetesSection::default(),
            sources: Sources::default(),
            source_list: Vec::new(),
            policies: Vec::new(),
            endpoints: Vec::new(),
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self { per_second: 10, burst: 20, history: 1000 }
    }
}

impl Default for Reconcile {
    fn default() -> Self {
        // Well under the second within which a repair is promised.
        Self { interval_ms: 600 }
    }
}

impl Limits {
    /// Room for endpoints on a machine with this many possible CPUs.
    #[must_use]
    pub fn capacity(&self, possible_cpus: u32) -> u32 {
        if self.endpoints != 0 {
            return self.endpoints;
        }
        let fitting = COUNTERS_BUDGET / (COUNTERS_LEN * u64::from(possible_cpus.max(1)));
        let (least, most) = AUTO_ENDPOINTS;
        u32::try_from(fitting.clamp(least, most)).unwrap_or(u32::MAX)
    }
}

impl Config {
    /// Reads the file at `path`, or without one the file at [`DEFAULT_PATH`], which may be missing.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        match path {
            Some(path) => Self::read(path),
            None => Self::read_if_there(Path::new(DEFAULT_PATH)),
        }
    }

    fn read_if_there(path: &Path) -> Result<Self, ConfigError> {
        match Self::read(path) {
            Err(ConfigError::Missing { .. }) => Ok(Self::default()),
            other => other,
        }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(ConfigError::Missing { path: path.into() }),
            Err(e) => Err(ConfigError::Unreadable { path: path.into(), why: why_unreadable(&e) }),
        }
    }

    /// Reads a configuration from its text; `path` is only named in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let wrong = |place: Place, why: String| ConfigError::Wrong { path: path.into(), place, why };
        let config: Self = toml::from_str(text).map_err(|e| {
            let place = locate::by_span(text, e.span());
            let why = locate::explain(e.message());
            wrong(place, why)
        })?;
        match config.check() {
            Ok(()) => Ok(config),
            Err(rejection) => Err(wrong(locate::by_key(text, &rejection.key), rejection.why)),
        }
    }
}

fn why_unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::InvalidData => "it is not UTF-8 text: write it anew as a TOML file".into(),
        ErrorKind::PermissionDenied => "no permission: run the agent as root".into(),
        ErrorKind::IsADirectory => "it is a directory: name the file in it".into(),
        _ => format!("{error}: make it readable, or name another file with --config"),
    }
}

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named is not there.
    #[error(
        "{}: no such configuration file: check the path after --config, or leave it out for the defaults",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("{}: cannot read the configuration file: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The file says something that cannot be.
    #[error("{}:{place}: {why}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Line and key.
        place: Place,
        /// Why, and what to do.
        why: String,
    },
}
