//! Where the shield stands, and its flood guard.

use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use portcullis_policy::api::{GuardSpec, GuardView, PlaceSpec, PlaceView, ShieldView};
use portcullis_web::{Id, Options, Refusal, encode, json};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::{Shared, openapi};
use super::ask;
use crate::control::Outcome;

/// The shield as a whole: where it stands, what it has dropped.
#[utoipa::path(get, path = "/api/v1/shield", operation_id = "getShield", tag = "shield",
    responses((status = 200, body = ShieldView)))]
pub(in super::super) async fn show(app: Shared) -> Result<Json<ShieldView>, Refusal> {
    Ok(Json(ask(&app, |shield| Ok(shield.view())).await?))
}

/// Puts the shield up somewhere.
#[utoipa::path(post, path = "/api/v1/shield/places", operation_id = "attachShield", tag = "shield",
    request_body = PlaceSpec,
    responses(
        (status = 200, description = "It was there", body = PlaceView),
        (status = 201, description = "It is new", body = PlaceView),
        (status = 404, response = openapi::NotFound),
        (status = 409, response = openapi::Conflict),
        (status = 422, response = openapi::Invalid)))]
pub(in super::super) async fn attach(app: Shared, body: Body) -> Result<Response, Refusal> {
    let spec = json::<PlaceSpec>(body, "a place for the shield").await?;
    let (view, outcome) = ask(&app, |shield| shield.attach(spec)).await?;
    if outcome != Outcome::Created {
        return Ok(Json(view).into_response());
    }
    let location = format!("/api/v1/shield/places/{}", encode(&view.id));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// Takes the shield away from a place; answers what it was.
#[utoipa::path(delete, path = "/api/v1/shield/places/{id}", operation_id = "detachShield", tag = "shield",
    params(("id" = String, Path, description = "Percent-encoded id of the place")),
    responses((status = 200, body = PlaceView), (status = 404, response = openapi::NotFound)))]
pub(in super::super) async fn detach(app: Shared, id: Id) -> Result<Json<PlaceView>, Refusal> {
    Ok(Json(ask(&app, move |shield| shield.detach(&id.0)).await?))
}

/// The flood guard, and whom it blocks.
#[utoipa::path(get, path = "/api/v1/shield/guard", operation_id = "getGuard", tag = "shield",
    responses((status = 200, body = GuardView)))]
pub(in super::super) async fn guard(app: Shared) -> Result<Json<GuardView>, Refusal> {
    Ok(Json(ask(&app, crate::shield::Shield::guard).await?))
}

/// Has the flood guard do this.
#[utoipa::path(put, path = "/api/v1/shield/guard", operation_id = "putGuard", tag = "shield",
    request_body = GuardSpec,
    responses((status = 200, body = GuardView), (status = 422, response = openapi::Invalid)))]
pub(in super::super) async fn put_guard(app: Shared, body: Body) -> Result<Json<GuardView>, Refusal> {
    let spec = json::<GuardSpec>(body, "a flood guard").await?;
    Ok(Json(ask(&app, |shield| shield.put_guard(Some(spec))).await?))
}

/// Turns the flood guard off.
#[utoipa::path(delete, path = "/api/v1/shield/guard", operation_id = "removeGuard", tag = "shield",
    responses((status = 200, body = GuardView)))]
pub(in super::super) async fn remove_guard(app: Shared) -> Result<Json<GuardView>, Refusal> {
    Ok(Json(ask(&app, |shield| shield.put_guard(None)).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct Blocked {
    /// The source, as the guard's list names it.
    source: String,
}

/// Lets a source go that the flood guard has blocked.
#[utoipa::path(delete, path = "/api/v1/shield/guard/blocked", operation_id = "unblockSource", tag = "shield",
    params(Blocked),
    responses((status = 204), (status = 404, response = openapi::NotFound)))]
pub(in super::super) async fn unblock(app: Shared, blocked: Options<Blocked>) -> Result<StatusCode, Refusal> {
    ask(&app, move |shield| shield.unblock(&blocked.0.source)).await?;
    Ok(StatusCode::NO_CONTENT)
}
