//! The agent as a whole: status, desired state, health.

use axum::Json;
use axum::body::Body;
use portcullis_policy::api::{State, Status};
use portcullis_web::{Refusal, json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;

/// What `PUT /api/v1/state` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Endpoints that were not there.
    pub created: u32,
    /// Endpoints that differed.
    pub updated: u32,
    /// Endpoints that are gone.
    pub removed: u32,
}

/// The agent, its hooks, totals, and which interfaces are covered.
#[utoipa::path(get, path = "/api/v1/status", operation_id = "getStatus", tag = "agent", responses((status = 200, body = Status)))]
pub(super) async fn status(app: Shared) -> Json<Status> {
    Json(app.control.status())
}

/// The desired state.
#[utoipa::path(get, path = "/api/v1/state", operation_id = "getState", tag = "agent", responses((status = 200, body = State)))]
pub(super) async fn state(app: Shared) -> Json<State> {
    Json(app.control.state())
}

/// Makes the API's part of the desired state this one, whole or not at all.
#[utoipa::path(put, path = "/api/v1/state", operation_id = "putState", tag = "agent", request_body = State,
    responses(
        (status = 200, body = Applied),
        (status = 409, response = super::openapi::Conflict),
        (status = 422, response = super::openapi::Invalid)))]
pub(super) async fn apply(app: Shared, body: Body) -> Result<Json<Applied>, Refusal> {
    let state = json::<State>(body, "a desired state").await?;
    let (created, updated, removed) = app.control.apply(state)?;
    Ok(Json(Applied { created, updated, removed }))
}

/// Whether the agent answers at all.
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "health", responses((status = 200, body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok"
}

/// Whether the kernel side is in place.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "health",
    responses((status = 200, body = String), (status = 503, response = super::openapi::Unavailable)))]
pub(super) async fn readyz(app: Shared) -> Result<&'static str, Refusal> {
    app.control.ready().map_err(Refusal::unavailable)?;
    Ok("ok")
}
