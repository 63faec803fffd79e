//! The HTTP API: [`Control`] as JSON, events as a stream, metrics, and the sockets they are served on.
//!
//! [`router`] is pure: it knows nothing of sockets and is tested by calling it. Serving is apart:
//! [`UnixEndpoint`] with [`serve_unix`], [`TcpEndpoint`] with [`serve_tcp`]. Nothing here keeps
//! state of its own; every answer is made from a snapshot that [`Control`] gives. Every error is
//! an RFC 9457 problem whose `detail` says what to do.

mod cni;
mod endpoints;
mod events;
mod map;
mod metrics;
mod openapi;
mod peers;
mod policies;
mod problem;
mod serve;
mod shield;
mod system;
mod tcp;
mod unix;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post, put};
use tokio::sync::Semaphore;

use crate::control::Control;

pub use cni::Removed;
pub use endpoints::{BulkItem, BulkOutcome};
pub use openapi::document;
pub use peers::{Peers, peer_router, serve_peers};
pub use portcullis_web::{BODY_LIMIT_BYTES, MAX_CONNECTIONS, PROBLEM_JSON, Refusal};
pub use serve::ServeError;
pub use system::{Applied, Confirmed};
pub use tcp::{TcpEndpoint, Token, serve_tcp};
pub use unix::{UnixEndpoint, serve_unix};

/// The most event streams at once: followers must not use up the connections that commands need.
pub const MAX_STREAMS: usize = 64;

/// Lists that are imported at once: each holds a thread, and its entries.
const MAX_UPLOADS: usize = 2;

/// What every handler has at hand.
struct App {
    control: Arc<dyn Control>,
    metrics: metrics::Metrics,
    streams: Arc<Semaphore>,
    /// Lists that are being imported.
    uploads: Semaphore,
}

impl App {
    fn over(control: Arc<dyn Control>) -> Arc<Self> {
        Arc::new(Self {
            metrics: metrics::Metrics::new(Arc::clone(&control)),
            control,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            uploads: Semaphore::new(MAX_UPLOADS),
        })
    }
}

/// The handlers' share of [`App`].
type Shared = axum::extract::State<Arc<App>>;

/// Every path of the API, over `control`.
pub fn router(control: Arc<dyn Control>) -> Router {
    Router::new()
        .route("/api/v1/status", get(system::status))
        .route("/api/v1/endpoints", get(endpoints::list).post(endpoints::bind))
        .route(
            "/api/v1/endpoints/{id}",
            get(endpoints::show).patch(endpoints::patch).delete(endpoints::unbind),
        )
        .route(
            "/api/v1/endpoints/{id}/quarantine",
            put(endpoints::quarantine).post(endpoints::quarantine).delete(endpoints::release),
        )
        .route("/api/v1/map", get(map::show))
        .route("/api/v1/policies", get(policies::list))
        .route("/api/v1/policies/{name}", get(policies::show).put(policies::put).delete(policies::remove))
        .route("/api/v1/cni/{container}/{interface}", put(cni::attach).get(cni::show).delete(cni::detach))
        .route("/api/v1/cni/gc", post(cni::collect))
        .route("/api/v1/events", get(events::stream))
        .route("/api/v1/drops", get(events::drops))
        .route("/api/v1/actions", get(events::actions))
        .route("/api/v1/state", get(system::state).put(system::apply))
        .route("/api/v1/state/confirm", post(system::confirm))
        .merge(shield::routes())
        .route("/openapi.json", get(openapi::serve))
        .route("/metrics", get(metrics::serve))
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .fallback(portcullis_web::no_such_path)
        .method_not_allowed_fallback(portcullis_web::no_such_method)
        .with_state(App::over(control))
}
