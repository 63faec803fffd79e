//! The API as hubs reach it: over mutual TLS, and only what a hub needs.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, put};
use portcullis_kubernetes::peer::{Accepted, Listener};
use portcullis_web::{Accept, serve};

use super::{App, endpoints, events, map, system};
use crate::control::Control;

/// Listens to hubs.
#[derive(Debug)]
pub struct Peers(pub Listener);

impl Accept for Peers {
    type Stream = Accepted;

    async fn accept(&mut self) -> io::Result<Accepted> {
        Ok(self.0.accept().await.0)
    }
}

/// What a hub may ask: to see, to quarantine and to release. Nothing that binds, and no policies: those come from
/// the API server.
pub fn peer_router(control: Arc<dyn Control>) -> Router {
    Router::new()
        .route("/api/v1/status", get(system::status))
        .route("/api/v1/endpoints", get(endpoints::list))
        .route("/api/v1/endpoints/{id}", get(endpoints::show))
        .route(
            "/api/v1/endpoints/{id}/quarantine",
            put(endpoints::quarantine).post(endpoints::quarantine).delete(endpoints::release),
        )
        .route("/api/v1/map", get(map::show))
        .route("/api/v1/events", get(events::stream))
        .route("/api/v1/drops", get(events::drops))
        .route("/api/v1/actions", get(events::actions))
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .fallback(portcullis_web::no_such_path)
        .method_not_allowed_fallback(portcullis_web::no_such_method)
        .with_state(App::over(control))
}

/// Serves hubs until `shutdown`.
pub async fn serve_peers(peers: Peers, router: Router, shutdown: impl Future<Output = ()> + Send) {
    serve(peers, router, shutdown).await;
}
