//! The agent as a whole: status, desired state, health.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use portcullis_policy::api::{State, Status};
use portcullis_policy::span::Span;
use portcullis_web::{Options, Refusal, json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use crate::control::Fault;

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
pub(super) async fn state(app: Shared) -> Result<Json<State>, Refusal> {
    let control = Arc::clone(&app.control);
    Ok(Json(waiting(move || Ok(control.state())).await?))
}

/// Asks on a thread that may wait.
async fn waiting<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Refusal> {
    let asked = tokio::task::spawn_blocking(question).await;
    Ok(asked.map_err(|error| Refusal::failed(format!("it broke off: {error}")))??)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ApplyQuery {
    /// Do it even where it cuts off what keeps this host reachable.
    #[serde(default)]
    force: bool,
    /// Go back to the state before by itself after so long, unless it is confirmed.
    #[param(value_type = Option<String>)]
    confirm_within: Option<Span>,
}

/// Whether a change waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Confirmed {
    /// One did, and stays now.
    pub confirmed: bool,
}

/// Has the last change stay that was made with `confirm_within`.
#[utoipa::path(post, path = "/api/v1/state/confirm", operation_id = "confirmState", tag = "agent",
    responses((status = 200, body = Confirmed)))]
pub(super) async fn confirm(app: Shared) -> Result<Json<Confirmed>, Refusal> {
    let control = Arc::clone(&app.control);
    let confirmed =
        waiting(move || control.confirmation().map_or(Ok(false), |waits| waits.confirm())).await?;
    Ok(Json(Confirmed { confirmed }))
}

/// Makes the API's part of the desired state this one, whole or not at all.
#[utoipa::path(put, path = "/api/v1/state", operation_id = "putState", tag = "agent", params(ApplyQuery),
    request_body = State,
    responses(
        (status = 200, body = Applied),
        (status = 409, response = super::openapi::Conflict),
        (status = 422, response = super::openapi::Invalid)))]
pub(super) async fn apply(
    app: Shared,
    query: Options<ApplyQuery>,
    body: Body,
) -> Result<Json<Applied>, Refusal> {
    let state = json::<State>(body, "a desired state").await?;
    let control = Arc::clone(&app.control);
    let ApplyQuery { force, confirm_within } = query.0;
    let applied = waiting(move || match confirm_within {
        None => control.apply(state, force),
        Some(within) => {
            let waits = control
                .confirmation()
                .ok_or_else(|| Fault::Failed("this agent cannot wait for a confirmation".to_owned()))?;
            waits.begin(control.state(), within)?;
            let applied = control.apply(state, force);
            if applied.is_err() {
                waits.cancel()?;
            }
            applied
        }
    });
    let (created, updated, removed) = applied.await?;
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
