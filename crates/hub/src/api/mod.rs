//! The HTTP API: the agent's, for the whole cluster. Each object of an agent has the name of its node beside it.
//!
//! [`router`] knows nothing of sockets and little of the API server: who may ask what is [`Gate`]'s.

mod auth;
mod endpoints;
mod events;
mod health;
mod lookup;
mod map;
mod nodes;
mod openapi;
mod serve;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, put};
use portcullis_web::{no_such_method, no_such_path};
use tokio::sync::Semaphore;

use crate::bus::Bus;
use crate::counters::Counters;
use crate::election::Leadership;
use crate::gather::{Liveness, Peers};
use crate::reaper::Board;
use crate::troubles::Troubles;
use crate::world::World;

pub use auth::{Allowed, Gate, Reviews};
pub use health::health_router;
pub use openapi::document;
pub use serve::{PlainEndpoint, TlsEndpoint};

/// The most event streams at once.
pub const MAX_STREAMS: usize = 16;
/// The most agents that are followed at once, for all streams together.
pub const MAX_FOLLOWED: usize = 6000;

/// What every handler has at hand.
#[derive(Clone)]
pub struct App {
    /// The cluster.
    pub world: World,
    /// The agents.
    pub peers: Peers,
    /// Which of them answer.
    pub liveness: Liveness,
    /// Whether this hub leads.
    pub leadership: Leadership,
    /// The hub's own events.
    pub bus: Bus,
    /// Counts.
    pub counters: Counters,
    /// What is wrong.
    pub troubles: Troubles,
    /// What becomes of offenders.
    pub offenders: Board,
    /// What does not change.
    pub about: Arc<About>,
    /// Event streams that there is room for.
    pub streams: Arc<Semaphore>,
    /// Agents that there is room to follow.
    pub followed: Arc<Semaphore>,
}

/// What does not change while a hub runs.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Its pod.
    pub pod: String,
    /// Start (RFC 3339).
    pub started: String,
    /// Nothing is ended.
    pub dry_run: bool,
    /// Most pods that are ended in a minute.
    pub per_minute: u16,
}

/// The handlers' share of [`App`].
type Shared = State<Arc<App>>;

/// Every path of the API, behind `gate`.
pub fn router(app: Arc<App>, gate: Gate) -> Router {
    Router::new()
        .route("/api/v1/status", get(status::show))
        .route("/api/v1/map", get(map::show))
        .route("/api/v1/lookup", get(lookup::show))
        .route("/api/v1/endpoints", get(endpoints::list))
        .route("/api/v1/endpoints/{id}", get(endpoints::show))
        .route(
            "/api/v1/endpoints/{id}/quarantine",
            put(endpoints::quarantine).post(endpoints::quarantine).delete(endpoints::release),
        )
        .route("/api/v1/events", get(events::stream))
        .route("/api/v1/policies", get(status::policies))
        .route("/api/v1/nodes", get(nodes::list))
        .route("/openapi.json", get(openapi::serve))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(gate, auth::check))
        .route_layer(middleware::from_fn_with_state(app.counters.clone(), count))
        .with_state(app)
}

/// Counts answers by route, never by what a client wrote.
async fn count(
    State(counters): State<Counters>,
    route: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    counters.request(route.as_str(), response.status().as_u16());
    response
}
