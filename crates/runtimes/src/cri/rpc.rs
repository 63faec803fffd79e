//! Calls over a runtime's socket: each with a deadline, each answer with a cap.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::wire::{VersionRequest, VersionResponse};
use crate::text::clean;

/// An answer may have this many bytes. It is what the kubelet allows; a node of 250 pods needs a fiftieth.
const LARGEST_ANSWER: usize = 16 << 20;
/// An event may have this many: one carries the status of a sandbox and of its containers.
const LARGEST_EVENT: usize = 4 << 20;
/// The socket is the host's own: who does not answer by then is stuck.
const CONNECTING: Duration = Duration::from_secs(2);
/// A question may take this long. A runtime under load takes seconds; its lock may be held by one pod.
pub const ASKING: Duration = Duration::from_secs(10);

/// Why a runtime could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// There is no such socket.
    #[error("{} does not exist", .0.display())]
    Absent(PathBuf),
    /// It does not listen, or not to us.
    #[error("cannot connect to {}: {why}", .socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        why: String,
    },
    /// It listens and does not speak CRI.
    #[error(
        "{} serves no container runtime interface; with containerd look at `disabled_plugins` in its config.toml",
        .0.display()
    )]
    NoCri(PathBuf),
    /// It did not answer in time.
    #[error("{method} was not answered within {} s", .after.as_secs())]
    Slow {
        /// What was asked.
        method: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// It answered what cannot be.
    #[error("{method} was answered with {what}")]
    Nonsense {
        /// What was asked.
        method: &'static str,
        /// What is wrong with the answer.
        what: String,
    },
    /// It refused.
    #[error("{method} failed: {} ({:?})", brief(.status.message()), .status.code())]
    Refused {
        /// What was asked.
        method: &'static str,
        /// Its answer.
        status: Box<Status>,
    },
}

impl CriError {
    /// The runtime does not know what was asked about.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.code() == Code::NotFound)
    }

    /// The runtime has no such method.
    #[must_use]
    pub fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.code() == Code::Unimplemented)
    }
}

/// A runtime's own words, cut: they go into logs and into answers of ours.
fn brief(text: &str) -> String {
    clean(text, 300)
}

/// The versions of the interface, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    V1,
    /// What containerd before 1.6 has.
    V1Alpha2,
}

impl Api {
    fn service(self) -> &'static str {
        match self {
            Self::V1 => "runtime.v1.RuntimeService",
            Self::V1Alpha2 => "runtime.v1alpha2.RuntimeService",
        }
    }
}

/// A runtime that answered.
#[derive(Clone, Debug)]
pub struct Connection {
    channel: Channel,
    api: Api,
    /// What the runtime calls itself: `containerd`, `cri-o`.
    pub runtime: String,
    /// Its version.
    pub version: String,
    /// Its process, as this one numbers it.
    pub process: Option<u32>,
}

impl Connection {
    /// Connects and asks who is there.
    pub async fn open(socket: &Path) -> Result<Self, CriError> {
        let (channel, process) = connect(socket).await?;
        for api in [Api::V1, Api::V1Alpha2] {
            let (runtime, version) = (String::new(), String::new());
            let mut connection = Self { channel: channel.clone(), api, runtime, version, process };
            let question = VersionRequest { version: "0.1.0".into() };
            match connection.ask::<_, VersionResponse>("Version", question, ASKING).await {
                Ok(answer) => {
                    connection.runtime = brief(&answer.runtime_name);
                    connection.version = brief(&answer.runtime_version);
                    return Ok(connection);
                }
                Err(error) if error.is_unimplemented() => {}
                Err(error) => return Err(error),
            }
        }
        Err(CriError::NoCri(socket.to_owned()))
    }

    /// Asks a method of the runtime service.
    pub async fn ask<Question, Answer>(
        &self,
        method: &'static str,
        question: Question,
        within: Duration,
    ) -> Result<Answer, CriError>
    where
        Question: Message + 'static,
        Answer: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER);
        let call = async {
            grpc.ready().await.map_err(|error| Status::unavailable(reason(&error)))?;
            let path = path(self.api.service(), method)?;
            grpc.unary(Request::new(question), path, ProstCodec::default()).await
        };
        match timeout(within, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(CriError::Refused { method, status: Box::new(status) }),
            Err(_) => Err(CriError::Slow { method, after: within }),
        }
    }

    /// Opens a stream of the runtime service. See [`stream_of`](Self::stream_of).
    pub async fn stream<Question, Event>(
        &self,
        method: &'static str,
        question: Question,
    ) -> Result<Events<Event>, CriError>
    where
        Question: Message + 'static,
        Event: Message + Default + 'static,
    {
        self.stream_of(self.api.service(), method, question).await
    }

    /// Opens a stream of any service at the socket. There is no deadline: servers in Go answer with the first
    /// event.
    pub async fn stream_of<Question, Event>(
        &self,
        service: &str,
        method: &'static str,
        question: Question,
    ) -> Result<Events<Event>, CriError>
    where
        Question: Message + 'static,
        Event: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(LARGEST_EVENT);
        let call = async {
            grpc.ready().await.map_err(|error| Status::unavailable(reason(&error)))?;
            let path = path(service, method)?;
            grpc.server_streaming(Request::new(question), path, ProstCodec::default()).await
        };
        match call.await {
            Ok(answer) => Ok(Events(answer.into_inner())),
            Err(status) => Err(CriError::Refused { method, status: Box::new(status) }),
        }
    }
}

/// A stream of events.
#[derive(Debug)]
pub struct Events<Event>(Streaming<Event>);

impl<Event> Events<Event> {
    /// The next one; none: the server ended the stream.
    pub async fn next(&mut self, method: &'static str) -> Result<Option<Event>, CriError> {
        let refused = |status| CriError::Refused { method, status: Box::new(status) };
        self.0.message().await.map_err(refused)
    }
}

async fn connect(socket: &Path) -> Result<(Channel, Option<u32>), CriError> {
    if !tokio::fs::try_exists(socket).await.unwrap_or(true) {
        return Err(CriError::Absent(socket.to_owned()));
    }
    let path = socket.to_owned();
    let process = Arc::new(AtomicU32::new(0));
    let found = Arc::clone(&process);
    let connector = tower::service_fn(move |_: Uri| {
        let (path, found) = (path.clone(), Arc::clone(&found));
        async move {
            let stream = UnixStream::connect(path).await?;
            let pid = stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
            found.store(pid.unwrap_or(0), Ordering::Relaxed);
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    // The address is not used; its host becomes `:authority`, which gRPC servers in Go check for syntax.
    let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CONNECTING);
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| CriError::Connect { socket: socket.to_owned(), why: reason(&error) })?;
    // Zero: it is not in our pid namespace.
    let process = Some(process.load(Ordering::Relaxed)).filter(|&pid| pid != 0);
    Ok((channel, process))
}

fn path(service: &str, method: &str) -> Result<PathAndQuery, Status> {
    PathAndQuery::try_from(format!("/{service}/{method}"))
        .map_err(|error| Status::internal(error.to_string()))
}

/// The innermost cause: the outer ones say "transport error".
fn reason(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    brief(&innermost.to_string())
}
