//! HTTP over the runtime's socket: one connection for each question, everything bounded.
//!
//! Not `bollard`: it reads each answer into one large generated type, where a single field of an unexpected
//! shape makes the whole answer an error; it collects answers of any length; and it hides the socket, whose
//! peer says in which namespace the runtime lives. A dozen fields of five answers is all that is needed.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::text;

/// A question that is not answered by then is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Lists are about 1.5 KB for each container: room for ten thousand.
const ANSWER_BYTES: usize = 16 << 20;
/// An event carries all labels of its container.
const EVENT_BYTES: usize = 1 << 20;
/// What an error answer may be long, and how much of it is shown.
const REFUSAL_BYTES: usize = 64 << 10;
const REFUSAL_SHOWN: usize = 200;

/// Why a question was not answered. Each is one sentence.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot connect to {}: {source}", .socket.display())]
    Connect { socket: PathBuf, source: std::io::Error },
    #[error("{} did not answer within {} ms when asked for {what}", .socket.display(), .patience.as_millis())]
    Silent { socket: PathBuf, what: String, patience: Duration },
    #[error("the connection to {} broke when asked for {what}: {source}", .socket.display())]
    Broken { socket: PathBuf, what: String, source: hyper::Error },
    #[error("{} refused {what} with status {}: {message}", .socket.display(), .status.as_u16())]
    Refused { socket: PathBuf, what: String, status: StatusCode, message: String },
    #[error("{} sent more than {limit} bytes for {what}", .socket.display())]
    TooLong { socket: PathBuf, what: String, limit: usize },
    #[error("what {} sent for {what} cannot be read: {source}", .socket.display())]
    Nonsense { socket: PathBuf, what: String, source: serde_json::Error },
    #[error("{} ended its stream of events", .socket.display())]
    Ended { socket: PathBuf },
    #[error("events were lost: what {} listed was not what its events had told", .socket.display())]
    Lost { socket: PathBuf },
    #[error(transparent)]
    Kernel(#[from] portcullis_inventory::Error),
}

impl Error {
    /// The status with which the runtime refused.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether there is no socket at all.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// Asks a runtime.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) socket: PathBuf,
}

/// Keeps a connection going; never ends, so that whoever waits beside it reads what is left.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Client {
    /// Asks for something.
    pub(super) async fn get<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<T> {
        let body = self.ask(Method::GET, what, path, PATIENCE).await?;
        serde_json::from_slice(&body).map_err(|source| self.nonsense(what, source))
    }

    /// Asks for something to be done.
    pub(super) async fn post(&self, what: &str, path: &str, patience: Duration) -> Result<()> {
        self.ask(Method::POST, what, path, patience).await.map(drop)
    }

    /// The process that listens at the other end, in our numbering.
    pub(super) async fn daemon(&self) -> Result<Option<u32>> {
        let stream = self.connect().await?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok();
        Ok(peer.and_then(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()).ok()))
    }

    /// Opens a stream of lines.
    pub(super) async fn lines(&self, what: &'static str, path: &str) -> Result<Lines> {
        let patience = PATIENCE;
        let opened = async {
            let (response, driver) = self.send(Method::GET, what, path).await?;
            self.accepted(what, response, driver).await
        };
        let (body, driver) = tokio::time::timeout(patience, opened).await.map_err(|_| Error::Silent {
            socket: self.socket.clone(),
            what: what.into(),
            patience,
        })??;
        Ok(Lines { client: self.clone(), what, body, driver, pending: BytesMut::new() })
    }

    async fn ask(&self, method: Method, what: &str, path: &str, patience: Duration) -> Result<Bytes> {
        let answer = async {
            let (response, driver) = self.send(method, what, path).await?;
            let (body, driver) = self.accepted(what, response, driver).await?;
            self.collect(what, body, ANSWER_BYTES, driver).await
        };
        tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
            Err(Error::Silent { socket: self.socket.clone(), what: what.to_owned(), patience })
        })
    }

    async fn connect(&self) -> Result<UnixStream> {
        UnixStream::connect(&self.socket)
            .await
            .map_err(|source| Error::Connect { socket: self.socket.clone(), source })
    }

    async fn send(
        &self,
        method: Method,
        what: &str,
        path: &str,
    ) -> Result<(hyper::Response<Incoming>, Driver)> {
        let broken = |source| self.broken(what, source);
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let mut driver: Driver = Box::pin(async {
            let _ = connection.await; // whoever reads the answer hears of it too
            std::future::pending().await
        });
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method;
        // Paths are made here, of checked ids.
        *request.uri_mut() = path.parse().unwrap_or_default();
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
        let response = beside(&mut driver, sender.send_request(request)).await.map_err(broken)?;
        Ok((response, driver))
    }

    /// The body of an answer that is none of refusal.
    async fn accepted(
        &self,
        what: &str,
        response: hyper::Response<Incoming>,
        driver: Driver,
    ) -> Result<(Incoming, Driver)> {
        let status = response.status();
        if status.is_success() {
            return Ok((response.into_body(), driver));
        }
        let body = self.collect(what, response.into_body(), REFUSAL_BYTES, driver).await?;
        let message = text::clean(&refusal(&body), REFUSAL_SHOWN);
        Err(Error::Refused { socket: self.socket.clone(), what: what.to_owned(), status, message })
    }

    async fn collect(&self, what: &str, body: Incoming, limit: usize, mut driver: Driver) -> Result<Bytes> {
        match beside(&mut driver, Limited::new(body, limit).collect()).await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => match error.downcast::<hyper::Error>() {
                Ok(source) => Err(self.broken(what, *source)),
                Err(other) => {
                    debug_assert!(other.is::<LengthLimitError>());
                    Err(Error::TooLong { socket: self.socket.clone(), what: what.to_owned(), limit })
                }
            },
        }
    }

    fn broken(&self, what: &str, source: hyper::Error) -> Error {
        Error::Broken { socket: self.socket.clone(), what: what.to_owned(), source }
    }

    pub(super) fn nonsense(&self, what: &str, source: serde_json::Error) -> Error {
        Error::Nonsense { socket: self.socket.clone(), what: what.to_owned(), source }
    }
}

/// Waits for something that goes on only while its connection is driven.
async fn beside<T>(driver: &mut Driver, future: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = future => done,
        () = driver => std::future::pending().await,
    }
}

/// The runtime's own words: `{"message": …}`, or whatever it is.
fn refusal(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// An answer that goes on for ever, line by line.
pub(super) struct Lines {
    client: Client,
    what: &'static str,
    body: Incoming,
    driver: Driver,
    pending: BytesMut,
}

impl Lines {
    /// The next line that is not empty. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<BytesMut> {
        loop {
            while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                let mut line = self.pending.split_to(end + 1);
                line.truncate(end);
                if !line.trim_ascii().is_empty() {
                    return Ok(line);
                }
            }
            if self.pending.len() > EVENT_BYTES {
                let (socket, what) = (self.client.socket.clone(), self.what.to_owned());
                return Err(Error::TooLong { socket, what, limit: EVENT_BYTES });
            }
            match beside(&mut self.driver, self.body.frame()).await {
                Some(Ok(frame)) => self.pending.extend(frame.into_data()),
                Some(Err(source)) => return Err(self.client.broken(self.what, source)),
                None => return Err(Error::Ended { socket: self.client.socket.clone() }),
            }
        }
    }
}
