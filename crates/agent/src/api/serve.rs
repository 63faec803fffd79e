//! Why the API cannot be served.

use std::io;
use std::path::PathBuf;

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody answers on the socket.
    #[error("another agent is listening on {}{}; stop it, or give this one another --socket", path.display(), pid_text(*.pid))]
    InUse {
        /// The socket.
        path: PathBuf,
        /// Who listens, where it can be told.
        pid: Option<i32>,
    },
    /// The path is taken by something else.
    #[error("{} exists and is not a socket; move it away, or give another --socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Socket {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An address that others could reach.
    #[error(
        "--listen {addr}: not a loopback address, and TLS is not built yet; listen on 127.0.0.1 or [::1] and let a proxy add TLS"
    )]
    NotLoopback {
        /// The address.
        addr: std::net::SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The bearer token cannot be used.
    #[error("token file {}: {reason}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
}

fn pid_text(pid: Option<i32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}
