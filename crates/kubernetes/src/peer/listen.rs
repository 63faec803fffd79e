//! Taking connections.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{PeerError, Trusted};

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections at a time, with those whose handshake goes on: there are two or three hubs.
const MOST_CONNECTIONS: usize = 128;
/// Handshakes at a time. They cost before it is known who asks.
const MOST_HANDSHAKES: usize = 32;

type Handshake = Pin<Box<dyn Future<Output = Option<(Accepted, SocketAddr)>> + Send>>;

/// Takes TLS connections; handshakes go on beside each other, so that nobody waits for a slow one.
pub struct Listener {
    socket: TcpListener,
    acceptor: TlsAcceptor,
    trusted: Option<Trusted>,
    room: Arc<Semaphore>,
    handshakes: FuturesUnordered<Handshake>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Listener").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Listener {
    /// Listens. With `trusted`, a connection ends when its certificate is trusted no more.
    ///
    /// # Errors
    /// If the address is taken, or not ours.
    pub async fn bind(
        address: &str,
        config: Arc<ServerConfig>,
        trusted: Option<Trusted>,
    ) -> Result<Self, PeerError> {
        let failed = |source| PeerError::Listen { address: address.to_owned(), source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self {
            socket,
            acceptor: TlsAcceptor::from(config),
            trusted,
            room: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            handshakes: FuturesUnordered::new(),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection whose handshake is done. Those that fail are only logged. May be dropped at any point.
    pub async fn accept(&mut self) -> (Accepted, SocketAddr) {
        loop {
            let may_begin = self.handshakes.len() < MOST_HANDSHAKES;
            tokio::select! {
                Some(done) = self.handshakes.next(), if !self.handshakes.is_empty() => {
                    if let Some(accepted) = done {
                        return accepted;
                    }
                }
                arrived = self.socket.accept(), if may_begin => match arrived {
                    Ok((stream, from)) => self.begin(stream, from),
                    Err(error) => {
                        tracing::debug!(%error, "a connection could not be taken");
                        sleep(Duration::from_millis(100)).await; // out of file descriptors, mostly
                    }
                },
            }
        }
    }

    fn begin(&self, stream: TcpStream, from: SocketAddr) {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::warn!(%from, "too many connections: this one is turned away");
            return;
        };
        let acceptor = self.acceptor.clone();
        let trusted = self.trusted.clone();
        self.handshakes.push(Box::pin(async move {
            _ = stream.set_nodelay(true);
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => Accepted::new(stream, trusted, permit).map(|accepted| (accepted, from)),
                Ok(Err(error)) => {
                    tracing::debug!(%from, %error, "a peer was refused");
                    None
                }
                Err(_) => None,
            }
        }));
    }
}

/// A connection of a peer; it fails from when its certificate is trusted no more.
#[derive(Debug)]
pub struct Accepted {
    stream: Box<TlsStream<TcpStream>>,
    certificate: Option<CertificateDer<'static>>,
    trusted: Option<Trusted>,
    /// The state of the set that its certificate was found in.
    checked: u64,
    _permit: OwnedSemaphorePermit,
}

impl Accepted {
    fn new(
        stream: TlsStream<TcpStream>,
        trusted: Option<Trusted>,
        permit: OwnedSemaphorePermit,
    ) -> Option<Self> {
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.map(|certificate| certificate.clone().into_owned());
        let mut accepted =
            Self { stream: Box::new(stream), certificate, trusted, checked: u64::MAX, _permit: permit };
        accepted.check().ok()?;
        Some(accepted)
    }

    /// The peer's certificate, where it has shown one.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    fn check(&mut self) -> io::Result<()> {
        let Some(trusted) = &self.trusted else { return Ok(()) };
        let changes = trusted.changes();
        if changes != self.checked {
            let known = self.certificate.as_ref().is_some_and(|certificate| trusted.contains(certificate));
            if !known {
                let why = "the peer's certificate is not trusted any more";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
            self.checked = changes;
        }
        Ok(())
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        // It may have waited in between.
        if polled.is_ready()
            && let Err(error) = self.check()
        {
            buf.set_filled(before);
            return Poll::Ready(Err(error));
        }
        polled
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
