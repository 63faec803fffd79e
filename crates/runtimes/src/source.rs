//! The contract between a source and the agent.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_policy::container::{Container, Network};
use portcullis_policy::guard::Termination;
use portcullis_policy::model::Owner;
use tokio::sync::{mpsc, oneshot};

/// The languages that runtimes speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Docker's HTTP API.
    Docker,
    /// The same, as Podman speaks it.
    Podman,
    /// The Kubernetes container runtime interface (containerd, CRI-O).
    Cri,
}

impl Kind {
    /// Whose endpoints come of it.
    #[must_use]
    pub fn owner(self) -> Owner {
        match self {
            Self::Docker => Owner::Docker,
            Self::Podman => Owner::Podman,
            Self::Cri => Owner::Cri,
        }
    }

    /// What workloads call the runtime. (A CRI runtime says its own name; this one stands until it did.)
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Cri => "cri",
        }
    }
}

/// What a source has to know.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// What the runtime speaks.
    pub kind: Kind,
    /// Its socket.
    pub socket: PathBuf,
    /// How long a container that is stopped gently may take.
    pub stop_grace: Duration,
    /// Everything is read anew this often, in case an event was lost; ten times more seldom from a CRI runtime that tells
    /// what happens, which is also listed every few seconds.
    pub resync: Duration,
}

impl SourceConfig {
    /// With the usual times.
    #[must_use]
    pub fn new(kind: Kind, socket: impl Into<PathBuf>) -> Self {
        Self {
            kind,
            socket: socket.into(),
            stop_grace: Duration::from_secs(10),
            resync: Duration::from_secs(30),
        }
    }
}

/// What a source tells the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The socket does not exist; it is watched for.
    Absent,
    /// Trying to reach it.
    Connecting,
    /// It failed; it is tried again. The text is one sentence.
    Failing(String),
    /// The whole truth as of now: replaces all that this source said before. The source is connected from
    /// then on.
    Snapshot {
        /// Every container that runs.
        containers: Vec<Container>,
        /// Every network.
        networks: Vec<Network>,
    },
    /// This container is now like this (new or changed).
    Changed(Box<Container>),
    /// The container does not run any more, or was removed.
    Gone {
        /// Its id, whole.
        id: String,
        /// It will not come back under this id.
        removed: bool,
    },
    /// The runtime's networks are now these.
    Networks(Vec<Network>),
}

/// What the agent asks of a source.
#[derive(Debug)]
pub enum Request {
    /// Look at this container again now: its interface went away or changed.
    LookAt(String),
    /// Read everything anew.
    Resync,
    /// End a container.
    Terminate {
        /// Its id, whole.
        id: String,
        /// How.
        how: Termination,
        /// Answered when it is done; an error is one sentence.
        answer: oneshot::Sender<Result<(), String>>,
    },
}

/// Follows a runtime until the receiver of its reports is dropped. Dropping the future ends it at any point.
///
/// It needs a tokio runtime with I/O and time enabled. [`Request::Terminate`] is served beside everything
/// else, also while the runtime cannot be followed.
pub async fn run(config: SourceConfig, reports: mpsc::Sender<Report>, requests: mpsc::Receiver<Request>) {
    match config.kind {
        Kind::Docker | Kind::Podman => crate::docker::run(config, reports, requests).await,
        Kind::Cri => crate::cri::run(config, reports, requests).await,
    }
}
