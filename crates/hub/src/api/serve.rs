//! The sockets.

use std::io;

use portcullis_kubernetes::peer::{Accepted, Listener};
use portcullis_web::Accept;
use tokio::net::{TcpListener, TcpStream};

/// Where the API is served, over TLS.
#[derive(Debug)]
pub struct TlsEndpoint(pub Listener);

impl Accept for TlsEndpoint {
    type Stream = Accepted;

    async fn accept(&mut self) -> io::Result<Accepted> {
        Ok(self.0.accept().await.0)
    }
}

/// Where health and metrics are served.
#[derive(Debug)]
pub struct PlainEndpoint(pub TcpListener);

impl Accept for PlainEndpoint {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        self.0.accept().await.map(|(stream, _)| stream)
    }
}
