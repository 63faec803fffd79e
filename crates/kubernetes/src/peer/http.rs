//! HTTP/1.1 over it, from the asking side: everything bounded in time and size.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::PeerError;
use super::sse::Events;

/// TCP and TLS.
const CONNECTING: Duration = Duration::from_secs(5);
/// An answer, whole.
const PATIENCE: Duration = Duration::from_secs(15);
/// A node's map of 1,000 rows takes 1 MB.
const MOST_BYTES: usize = 16 << 20;
/// What an error answer may be long, and how much of it is shown.
const MOST_SHOWN: usize = 300;

/// One peer, as it is asked. It connects when it is first asked, and again when the connection was lost; questions wait
/// for each other. Streams have connections of their own.
pub struct Connection {
    address: String,
    config: Arc<ClientConfig>,
    open: Mutex<Option<Open>>,
    patience: Duration,
    most_bytes: usize,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its media type; empty: it has none.
    pub content_type: String,
    /// Its body.
    pub body: Bytes,
}

/// An open connection, and whoever keeps it going.
struct Open {
    send: SendRequest<Full<Bytes>>,
    _driver: Driver,
}

/// Ends with whoever uses it.
pub(super) struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Nothing is connected yet. `address` is an IP address and a port.
    #[must_use]
    pub fn new(address: &str, config: Arc<ClientConfig>) -> Self {
        Self {
            address: address.to_owned(),
            config,
            open: Mutex::new(None),
            patience: PATIENCE,
            most_bytes: MOST_BYTES,
        }
    }

    /// With other limits for an answer.
    #[must_use]
    pub fn with_limits(self, patience: Duration, most_bytes: usize) -> Self {
        Self { patience, most_bytes, ..self }
    }

    /// Whom it is with.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks for JSON. Any status but success is an error.
    ///
    /// # Errors
    /// If there is no connection, no answer in time, or none that can be read.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, PeerError> {
        let answer = self.request(Method::GET, path, None).await?;
        if !answer.status.is_success() {
            return Err(self.refused(path, answer.status, &answer.body));
        }
        let nonsense = |error: serde_json::Error| PeerError::Nonsense {
            address: self.address.clone(),
            what: path.to_owned(),
            why: error.to_string(),
        };
        serde_json::from_slice(&answer.body).map_err(nonsense)
    }

    /// Asks anything, with a JSON body if there is one; whatever status comes is an answer.
    ///
    /// # Errors
    /// If there is no connection, or no answer in time.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, PeerError> {
        let asking = async {
            let mut open = self.open.lock().await;
            let reused = open.as_ref().is_some_and(|open| !open.send.is_closed());
            let first = self.ask(&mut open, &method, path, body.clone()).await;
            match first {
                // It was closed while nobody looked; what only reads may be asked again.
                Err(PeerError::Broken { .. }) if reused && method.is_safe() => {
                    *open = None;
                    self.ask(&mut open, &method, path, body).await
                }
                other => other,
            }
        };
        let silent = || PeerError::Silent {
            address: self.address.clone(),
            what: path.to_owned(),
            patience: self.patience,
        };
        match timeout(self.patience, asking).await {
            Ok(answer) => answer,
            Err(_) => {
                // An answer that comes late must not be taken for the next one's.
                if let Ok(mut open) = self.open.try_lock() {
                    *open = None;
                }
                Err(silent())
            }
        }
    }

    async fn ask(
        &self,
        open: &mut Option<Open>,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, PeerError> {
        let mut ready = match open.take().filter(|open| !open.send.is_closed()) {
            Some(ready) => ready,
            None => self.connect(path).await?,
        };
        let response = self.send(&mut ready, method, path, body, "application/json").await?;
        let status = response.status();
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let body = self.collect(path, response.into_body()).await?;
        // Put back only once the answer was read: a question that is given up half way takes its connection along.
        *open = Some(ready);
        Ok(Answer { status, content_type, body })
    }

    /// Follows a stream of server-sent events, on a connection of its own.
    ///
    /// # Errors
    /// If there is no connection, or no stream.
    pub async fn stream_sse(&self, path: &str) -> Result<Events, PeerError> {
        let opening = async {
            let mut ready = self.connect(path).await?;
            let response = self.send(&mut ready, &Method::GET, path, None, "text/event-stream").await?;
            let status = response.status();
            if !status.is_success() {
                let body = self.collect(path, response.into_body()).await?;
                return Err(self.refused(path, status, &body));
            }
            Ok(Events::new(self.address.clone(), path.to_owned(), response.into_body(), ready._driver))
        };
        let silent = |_| PeerError::Silent {
            address: self.address.clone(),
            what: path.to_owned(),
            patience: self.patience,
        };
        timeout(self.patience, opening).await.map_err(silent)?
    }

    async fn send(
        &self,
        open: &mut Open,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
        accept: &str,
    ) -> Result<Response<Incoming>, PeerError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.address)
            .header(header::ACCEPT, accept);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| self.broken(path, &error.to_string()))?;
        let ready = open.send.ready().await;
        ready.map_err(|error| self.broken(path, &chain(&error)))?;
        open.send.send_request(request).await.map_err(|error| self.broken(path, &chain(&error)))
    }

    async fn connect(&self, path: &str) -> Result<Open, PeerError> {
        let silent = |_| PeerError::Silent {
            address: self.address.clone(),
            what: "the connection".to_owned(),
            patience: CONNECTING,
        };
        timeout(CONNECTING, self.connect_now(path)).await.map_err(silent)?
    }

    async fn connect_now(&self, path: &str) -> Result<Open, PeerError> {
        let address = || self.address.clone();
        let connecting = TcpStream::connect(&self.address).await;
        let stream = connecting.map_err(|source| PeerError::Connect { address: address(), source })?;
        _ = stream.set_nodelay(true);
        let at = stream.peer_addr().map_err(|source| PeerError::Connect { address: address(), source })?;
        // Nobody asks for the name: the certificate is known.
        let name = ServerName::IpAddress(at.ip().into());
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let shaking = connector.connect(name, stream).await;
        let stream = shaking.map_err(|source| PeerError::Handshake { address: address(), source })?;
        let (send, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(path, &chain(&error)))?;
        let driver = tokio::spawn(async move {
            _ = connection.await; // whoever asks gets the error too
        });
        Ok(Open { send, _driver: Driver(driver.abort_handle()) })
    }

    async fn collect(&self, path: &str, body: Incoming) -> Result<Bytes, PeerError> {
        match Limited::new(body, self.most_bytes).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(PeerError::TooLong {
                address: self.address.clone(),
                what: path.to_owned(),
                limit: self.most_bytes,
            }),
            Err(error) => Err(self.broken(path, &error.to_string())),
        }
    }

    fn broken(&self, path: &str, why: &str) -> PeerError {
        PeerError::Broken { address: self.address.clone(), what: path.to_owned(), why: why.to_owned() }
    }

    fn refused(&self, path: &str, status: StatusCode, body: &[u8]) -> PeerError {
        let told = String::from_utf8_lossy(body);
        let message: String = told.chars().filter(|letter| !letter.is_control()).take(MOST_SHOWN).collect();
        PeerError::Refused {
            address: self.address.clone(),
            what: path.to_owned(),
            status: status.as_u16(),
            message,
        }
    }
}

/// What hyper says, with its cause: that a peer has refused our certificate shows only there.
pub(super) fn chain(error: &hyper::Error) -> String {
    let Some(cause) = std::error::Error::source(error) else { return error.to_string() };
    let cause = cause.to_string();
    if cause.contains("AccessDenied") {
        return format!("it does not know our certificate ({cause})");
    }
    format!("{error}: {cause}")
}
