//! `--listen`: loopback only, and only with a bearer token.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use portcullis_web::{Accept, Refusal, bearer, serve};
use tokio::net::{TcpListener, TcpStream};

use super::serve::ServeError;

/// Shorter tokens could be guessed.
const TOKEN_MIN_BYTES: usize = 16;

/// Nobody needs more, and headers are bounded.
const TOKEN_MAX_BYTES: usize = 1024;

/// The secret that clients of `--listen` show.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// Reads the token from a file: its text without the white space around it.
    ///
    /// # Errors
    /// When the file cannot be read, is open to everyone, or holds no usable token.
    pub fn from_file(path: &Path) -> Result<Self, ServeError> {
        Self::read(path).map_err(|reason| ServeError::Token { path: path.to_owned(), reason })
    }

    fn read(path: &Path) -> Result<Self, String> {
        let make = "make one with `head -c 32 /dev/urandom | base64 -w0`";
        let file = File::open(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => format!("does not exist; {make}, mode 0600"),
            _ => format!("cannot be opened: {e}"),
        })?;
        let mode = file.metadata().map_err(|e| format!("cannot be looked at: {e}"))?.mode();
        if mode & 0o007 != 0 {
            return Err(format!("is open to everyone (mode {:04o}); chmod it to 0600", mode & 0o7777));
        }
        let mut text = String::new();
        file.take(TOKEN_MAX_BYTES as u64 + 2)
            .read_to_string(&mut text)
            .map_err(|e| format!("cannot be read: {e}"))?;
        let token = text.trim();
        if !(TOKEN_MIN_BYTES..=TOKEN_MAX_BYTES).contains(&token.len()) {
            return Err(format!("a token has {TOKEN_MIN_BYTES} to {TOKEN_MAX_BYTES} characters; {make}"));
        }
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!("a token is one word of printable ASCII; {make}"));
        }
        Ok(Self(token.into()))
    }

    /// Whether `shown` is the token, in a time that does not tell how much of it is right.
    fn matches(&self, shown: &[u8]) -> bool {
        let own = self.0.as_bytes();
        // Each byte of `shown` is compared with some byte of ours: the time depends on its length alone.
        let differing = shown.iter().zip(own.iter().cycle()).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(differing) == 0 && shown.len() == own.len()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A loopback address, listening.
#[derive(Debug)]
pub struct TcpEndpoint(TcpListener);

impl TcpEndpoint {
    /// Listens on `addr`.
    ///
    /// # Errors
    /// When the address is not on loopback, or the system refuses it.
    pub fn bind(addr: SocketAddr) -> Result<Self, ServeError> {
        if !addr.ip().to_canonical().is_loopback() {
            return Err(ServeError::NotLoopback { addr });
        }
        let listen = || {
            let listener = std::net::TcpListener::bind(addr)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        listen().map(Self).map_err(|source| ServeError::Listen { addr, source })
    }

    /// Where it listens (the port, where 0 was asked for).
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Accept for TcpEndpoint {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        let (stream, _) = self.0.accept().await?;
        // Events are small and wanted at once.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Serves `router` on loopback until `shutdown`, to whoever shows `token`.
pub async fn serve_tcp(
    endpoint: TcpEndpoint,
    router: Router,
    token: Token,
    shutdown: impl Future<Output = ()> + Send,
) {
    serve(endpoint, guarded(router, token), shutdown).await;
}

/// `router` behind `token`. `/healthz` alone is open: it tells nothing.
fn guarded(router: Router, token: Token) -> Router {
    router.layer(middleware::from_fn_with_state(token, check))
}

async fn check(State(token): State<Token>, request: Request, next: Next) -> Response {
    if request.uri().path() == "/healthz" {
        return next.run(request).await;
    }
    let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    match shown.map(bearer) {
        Some(Some(shown)) if token.matches(shown) => next.run(request).await,
        Some(Some(_)) => Refusal::unauthorized("this is not the bearer token of this agent").into_response(),
        _ => Refusal::unauthorized(
            "send the header `Authorization: Bearer TOKEN`, with the token of the agent's token file",
        )
        .into_response(),
    }
}
