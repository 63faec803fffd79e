//! Health and metrics, without TLS and for everybody: nothing else is served there.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use portcullis_web::{Refusal, no_such_method, no_such_path};

use super::{App, Shared};
use crate::metrics::Metrics;
use crate::world::Part;

/// `/healthz`, `/readyz`, `/metrics`.
pub fn health_router(app: Arc<App>) -> Router {
    let metrics = Arc::new(Metrics::new(&app));
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(move |headers: HeaderMap| serve(Arc::clone(&metrics), headers)))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(app)
}

async fn serve(metrics: Arc<Metrics>, headers: HeaderMap) -> Result<Response, Refusal> {
    portcullis_web::metrics::answer(&metrics.0, &headers)
}

/// A hub is ready when it has read everything once. What fails later is shown in the status and in metrics: what it
/// knows is still worth asking for.
async fn readyz(app: Shared) -> Result<&'static str, Refusal> {
    let vital: Vec<String> =
        app.troubles.all().into_values().filter(|trouble| trouble.vital).map(|trouble| trouble.why).collect();
    let parts = [
        (Part::Maps, "endpointmaps"),
        (Part::Policies, "gatepolicies"),
        (Part::Namespaces, "namespaces"),
        (Part::Nodes, "nodes"),
    ];
    let missing: Vec<&str> =
        parts.into_iter().filter(|(part, _)| !app.world.is_read(*part)).map(|(_, name)| name).collect();
    if missing.is_empty() {
        return Ok("ok");
    }
    let why = if vital.is_empty() { "they are being read".to_owned() } else { vital.join("; ") };
    Err(Refusal::unavailable(format!("not read yet: {}; {why}", missing.join(", "))))
}
