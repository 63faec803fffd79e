//! Mutual TLS between agents and hubs, without a certificate authority and without Secrets.
//!
//! Every process makes a key pair when it starts ([`Identity::generate`]); the key never leaves it, the certificate is
//! published through the API server: an agent's in its `EndpointMap`, a hub's in ConfigMap `portcullis-hub`. Either side
//! accepts exactly the certificates that it read there. Whom to trust is thus decided by the API server's RBAC.
//!
//! *An agent* (or a hub, for people) listens:
//! ```no_run
//! # async fn example() -> Result<(), portcullis_kubernetes::peer::PeerError> {
//! use portcullis_kubernetes::peer::{Identity, Listener, Trusted, server_config};
//! let identity = Identity::generate("node-1")?;
//! let trusted = Trusted::default(); // filled by `certificates::follow`, at any time
//! let mut listener = Listener::bind("0.0.0.0:8475", server_config(&identity, &trusted)?, Some(trusted)).await?;
//! let (connection, from) = listener.accept().await; // AsyncRead + AsyncWrite: hyper, axum::serve::Listener
//! # Ok(()) }
//! ```
//! *A hub* asks:
//! ```no_run
//! # async fn example(address: &str, pem: &str) -> Result<(), portcullis_kubernetes::peer::PeerError> {
//! use portcullis_kubernetes::peer::{Connection, Identity, certificate_from_pem, client_config};
//! let identity = Identity::generate("hub-0")?; // made once; `identity.pem()` goes into the ConfigMap
//! let agent = certificate_from_pem(pem)?;
//! let connection = Connection::new(address, client_config(Some(&identity), &agent)?);
//! let status: serde_json::Value = connection.get_json("/api/v1/status").await?;
//! let mut events = connection.stream_sse("/api/v1/events").await?;
//! while let Some(event) = events.next().await? { println!("{} {}", event.kind, event.data); }
//! # Ok(()) }
//! ```
//! A hub that serves people and tools without client certificates takes [`open_server_config`] and `None` as trusted.

pub mod certificates;
mod http;
mod identity;
mod listen;
mod sse;
mod tls;
mod trust;

use std::time::Duration;

pub use http::{Answer, Connection};
pub use identity::{Identity, certificate_from_pem};
pub use listen::{Accepted, Listener};
pub use sse::{Events, SseEvent};
pub use tls::{client_config, open_server_config, server_config};
pub use trust::Trusted;

/// Why a peer could not be reached, or could not be understood. Each is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// No key pair or certificate could be made.
    #[error("cannot make a certificate for {name:?}: {why}")]
    Generate {
        /// Whose.
        name: String,
        /// Why.
        why: String,
    },
    /// What should be a certificate is none.
    #[error("this is no PEM certificate: {0}")]
    Certificate(String),
    /// TLS cannot be set up like this.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
    /// The address is taken, or is not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody listens there, or there is no way.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Whereto.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// One side does not know the other's certificate, or something in between is not what it should be.
    #[error("no TLS connection with {address}: {source}")]
    Handshake {
        /// With whom.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// It did not answer in time.
    #[error("{address} did not answer {what} within {} s", .patience.as_secs_f32())]
    Silent {
        /// Who.
        address: String,
        /// Asked for what.
        what: String,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The connection broke.
    #[error("the connection with {address} broke at {what}: {why}")]
    Broken {
        /// With whom.
        address: String,
        /// Asked for what.
        what: String,
        /// Why.
        why: String,
    },
    /// It answered with an error.
    #[error("{address} answered {what} with {status}: {message}")]
    Refused {
        /// Who.
        address: String,
        /// Asked for what.
        what: String,
        /// The status.
        status: u16,
        /// What it said of it, cut.
        message: String,
    },
    /// It sent more than there is room for.
    #[error("{address} sent more than {limit} bytes for {what}")]
    TooLong {
        /// Who.
        address: String,
        /// Asked for what.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// What it sent cannot be read.
    #[error("what {address} sent for {what} cannot be read: {why}")]
    Nonsense {
        /// Who.
        address: String,
        /// Asked for what.
        what: String,
        /// Why.
        why: String,
    },
}

#[cfg(test)]
mod tests;
