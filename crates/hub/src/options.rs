//! What a hub is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::election::Timing;

/// Settings of a hub.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the API is served, over TLS.
    pub listen: SocketAddr,
    /// Where health and metrics are served, without.
    pub metrics_listen: SocketAddr,
    /// Our namespace.
    pub namespace: String,
    /// This hub's pod; a name of its own where it is none.
    pub pod: String,
    /// The API server; none: as a pod, else `$KUBECONFIG`.
    pub kubeconfig: Option<PathBuf>,
    /// Most pods that are ended in a minute.
    pub terminations_per_minute: u16,
    /// Nothing is ended; it is only said what would be.
    pub dry_run: bool,
    /// Of the election.
    pub timing: Timing,
}
