//! The agent as the commands see it: HTTP over its unix socket, errors with an exit code.

mod policies;
mod shield;
pub mod sse;
mod upload;

use std::future::Future;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use portcullis_policy::api::{ContainerMap, Endpoint, EndpointPatch, Event, Problem, State, Status};
use portcullis_policy::model::{EndpointSpec, Mode};
use portcullis_policy::span::Span;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::failure::Exit;
pub use sse::{EventStream, Received};

/// How long an answer may take. Binding ten thousand endpoints takes less than a second.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why the agent did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error("{}: {todo}", what.replace("SOCKET", &socket.display().to_string()))]
    Unreachable {
        /// What was found; `SOCKET` stands for the socket.
        what: &'static str,
        /// The socket.
        socket: PathBuf,
        /// What to do.
        todo: String,
    },
    /// The agent said no.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// What came back is not what the API promises.
    #[error(
        "the agent's answer is not understood ({0}): see that agent and command are of one version with `portcullis status`"
    )]
    Strange(String),
    /// A local resource is missing.
    #[error("cannot set up the connection: {0}")]
    Local(#[from] std::io::Error),
}

impl ClientError {
    /// The exit code that INTERFACES promises for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Strange(_) | Self::Local(_) => Exit::Failed,
            Self::Refused(problem) => match problem.status {
                400 | 422 => Exit::Usage,
                404 => Exit::NotFound,
                409 => Exit::Conflict,
                _ => Exit::Failed,
            },
        }
    }

    fn unconnected(socket: &Path, error: &std::io::Error) -> Self {
        let start = "start one with `portcullis agent`, or name its socket with --socket".to_owned();
        let (what, todo) = match error.kind() {
            ErrorKind::NotFound => ("no agent is running (there is no SOCKET)", start),
            ErrorKind::ConnectionRefused => ("no agent is running (nobody listens on SOCKET)", start),
            ErrorKind::PermissionDenied => {
                ("not allowed to open SOCKET", "run this as root, or join the group portcullis".to_owned())
            }
            _ => ("cannot reach an agent at SOCKET", format!("{error}; {start}")),
        };
        Self::Unreachable { what, socket: socket.to_owned(), todo }
    }
}

/// A way to the agent. Each request makes its own connection.
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

impl Client {
    /// A client of the agent at `socket`. Does not connect yet.
    pub fn new(socket: PathBuf) -> Result<Self, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { socket, runtime })
    }

    /// The agent as a whole.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.get("/api/v1/status")
    }

    /// Whether the agent answers, or, `ready`, whether its gate is in place.
    pub fn health(&self, ready: bool) -> Result<(), ClientError> {
        self.send(Method::GET, if ready { "/readyz" } else { "/healthz" }, NOTHING).map(drop)
    }

    /// All endpoints.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, ClientError> {
        self.get("/api/v1/endpoints")
    }

    /// The container network map.
    pub fn map(&self) -> Result<ContainerMap, ClientError> {
        self.get("/api/v1/map")
    }

    /// One endpoint, by name or id.
    pub fn endpoint(&self, id: &str) -> Result<Endpoint, ClientError> {
        self.get(&endpoint_path(id, ""))
    }

    /// Binds an endpoint; also answers whether it is new.
    pub fn bind(&self, spec: &EndpointSpec, allow_missing: bool) -> Result<(Endpoint, bool), ClientError> {
        let query = if allow_missing { "?allow_missing=true" } else { "" };
        let (status, body) = self.send(Method::POST, &format!("/api/v1/endpoints{query}"), Some(spec))?;
        Ok((parse(&body)?, status == StatusCode::CREATED))
    }

    /// Takes an endpoint away; answers what it was.
    pub fn unbind(&self, id: &str) -> Result<Endpoint, ClientError> {
        parse(&self.send(Method::DELETE, &endpoint_path(id, ""), NOTHING)?.1)
    }

    /// Sets the mode.
    pub fn set_mode(&self, id: &str, mode: Mode) -> Result<Endpoint, ClientError> {
        let patch = EndpointPatch { mode: Some(mode) };
        parse(&self.send(Method::PATCH, &endpoint_path(id, ""), Some(&patch))?.1)
    }

    /// Puts into quarantine or releases.
    pub fn quarantine(&self, id: &str, quarantined: bool) -> Result<Endpoint, ClientError> {
        let method = if quarantined { Method::PUT } else { Method::DELETE };
        parse(&self.send(method, &endpoint_path(id, "/quarantine"), NOTHING)?.1)
    }

    /// The desired state.
    pub fn state(&self) -> Result<State, ClientError> {
        self.get("/api/v1/state")
    }

    /// Makes the desired state this one.
    pub fn apply(
        &self,
        state: &State,
        force: bool,
        confirm_within: Option<Span>,
    ) -> Result<portcullis_agent::api::Applied, ClientError> {
        let within = confirm_within.map(|span| format!("&confirm_within={span}")).unwrap_or_default();
        parse(&self.send(Method::PUT, &format!("/api/v1/state?force={force}{within}"), Some(state))?.1)
    }

    /// Has the last change stay; answers whether one waited.
    pub fn confirm(&self) -> Result<portcullis_agent::api::Confirmed, ClientError> {
        parse(&self.send(Method::POST, "/api/v1/state/confirm", NOTHING)?.1)
    }

    /// The newest drops, oldest first, in the form of events.
    pub fn drops(&self, limit: usize, query: &Query) -> Result<Vec<Event>, ClientError> {
        self.get(&format!("/api/v1/drops?limit={limit}{query}"))
    }

    /// The newest actions against repeat offenders, oldest first, in the form of events.
    pub fn actions(&self, limit: usize, query: &Query) -> Result<Vec<Event>, ClientError> {
        self.get(&format!("/api/v1/actions?limit={limit}{query}"))
    }

    /// Follows events of these kinds (`drop,action`): first the newest `history`, then what comes.
    pub fn follow(&self, kinds: &str, history: usize, query: &Query) -> Result<EventStream<'_>, ClientError> {
        self.watch(&format!("/api/v1/events?kind={kinds}&history={history}{query}"))
    }

    /// Follows a stream.
    pub fn watch(&self, path: &str) -> Result<EventStream<'_>, ClientError> {
        let response = self.within(self.open(Method::GET, path, Bytes::new()))?;
        let status = response.status();
        if !status.is_success() {
            let body = self.within(collect(response))?;
            return Err(refused(status, &body));
        }
        Ok(EventStream::new(&self.runtime, response.into_body()))
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        parse(&self.send(Method::GET, path, NOTHING)?.1)
    }

    fn send<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let body = match body {
            Some(body) => {
                serde_json::to_vec(body).map_err(|error| ClientError::Strange(error.to_string()))?
            }
            None => Vec::new(),
        };
        tracing::debug!(%method, path, bytes = body.len(), "request");
        let (status, body) = self.within(async {
            let response = self.open(method, path, body.into()).await?;
            let status = response.status();
            Ok((status, collect(response).await?))
        })?;
        tracing::debug!(%status, bytes = body.len(), "answer");
        if status.is_success() { Ok((status, body)) } else { Err(refused(status, &body)) }
    }

    /// Connects, sends, and waits for the head of the answer.
    async fn open(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, ClientError> {
        let mut sender = self.connect::<Full<Bytes>>().await?;
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "portcullis");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request =
            request.body(Full::new(body)).map_err(|error| ClientError::Strange(error.to_string()))?;
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    async fn connect<B>(&self) -> Result<http1::SendRequest<B>, ClientError>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| ClientError::unconnected(&self.socket, &error))?;
        let (sender, connection) =
            http1::handshake::<_, B>(TokioIo::new(stream)).await.map_err(|e| self.broken(&e))?;
        // Ends with the connection; what went wrong on it is also told to the sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn within<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        let answer = async { tokio::time::timeout(TIMEOUT, work).await };
        self.runtime.block_on(answer).unwrap_or_else(|_| {
            Err(ClientError::Unreachable {
                what: "the agent does not answer at SOCKET",
                socket: self.socket.clone(),
                todo: "see its log, and start it anew: the gate stays shut meanwhile".to_owned(),
            })
        })
    }

    fn broken(&self, error: &hyper::Error) -> ClientError {
        ClientError::Unreachable {
            what: "no agent answers properly at SOCKET",
            socket: self.socket.clone(),
            todo: format!("{error}; see that the socket is the agent's, and its log"),
        }
    }
}

const NOTHING: Option<&()> = None;

async fn collect(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = response.into_body().collect().await;
    Ok(body.map_err(|error| ClientError::Strange(format!("it broke off: {error}")))?.to_bytes())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::Strange(error.to_string()))
}

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ClientError::Refused(problem),
        Err(_) => ClientError::Strange(format!("HTTP {status} without an explanation")),
    }
}

/// Which drops are wanted, as a query string that continues another.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Of this endpoint.
    pub endpoint: Option<String>,
    /// For this reason.
    pub reason: Option<String>,
}

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (key, value) in [("endpoint", &self.endpoint), ("reason", &self.reason)] {
            if let Some(value) = value {
                write!(f, "&{key}={}", encode(value))?;
            }
        }
        Ok(())
    }
}

fn endpoint_path(id: &str, below: &str) -> String {
    format!("/api/v1/endpoints/{}{below}", encode(id))
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_paths_and_queries() {
        assert_eq!(endpoint_path("web-1", ""), "/api/v1/endpoints/web-1");
        assert_eq!(
            endpoint_path("ns/pod:a b", "/quarantine"),
            "/api/v1/endpoints/ns%2Fpod%3Aa%20b/quarantine"
        );
        let query = Query { endpoint: Some("a&b".into()), reason: Some("vlan".into()) };
        assert_eq!(query.to_string(), "&endpoint=a%26b&reason=vlan");
    }

    #[test]
    fn problems_choose_the_exit_code() {
        let exit = |status: u16| {
            let body = format!(r#"{{"type":"urn:x","title":"t","status":{status},"detail":"d"}}"#);
            refused(StatusCode::from_u16(status).unwrap(), body.as_bytes()).exit()
        };
        assert_eq!(exit(422), Exit::Usage);
        assert_eq!(exit(404), Exit::NotFound);
        assert_eq!(exit(409), Exit::Conflict);
        assert_eq!(exit(500), Exit::Failed);
        assert_eq!(refused(StatusCode::BAD_GATEWAY, b"<html>").exit(), Exit::Failed);
    }
}
