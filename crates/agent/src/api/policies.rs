//! `/api/v1/policies…`: gate policies.

use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use portcullis_policy::api::PolicyView;
use portcullis_policy::guard::GatePolicy;
use portcullis_web::{Id, Refusal, encode, json};

use super::Shared;
use crate::control::{Fault, Outcome};

/// Gate policies, in the order in which they are asked.
#[utoipa::path(get, path = "/api/v1/policies", operation_id = "listPolicies", tag = "policies",
    responses((status = 200, body = Vec<PolicyView>)))]
pub(super) async fn list(app: Shared) -> Json<Vec<PolicyView>> {
    Json(app.control.policies())
}

/// One policy.
#[utoipa::path(get, path = "/api/v1/policies/{name}", operation_id = "getPolicy", tag = "policies",
    params(("name" = String, Path, description = "Percent-encoded name")),
    responses((status = 200, body = PolicyView), (status = 404, response = super::openapi::NotFound)))]
pub(super) async fn show(app: Shared, name: Id) -> Result<Json<PolicyView>, Refusal> {
    let found = app.control.policies().into_iter().find(|view| view.policy.name == name.0);
    Ok(Json(found.ok_or_else(|| no_such(&name.0))?))
}

/// Puts a policy, or replaces the one of that name.
#[utoipa::path(put, path = "/api/v1/policies/{name}", operation_id = "putPolicy", tag = "policies",
    params(("name" = String, Path, description = "Percent-encoded name; the body's")),
    request_body = GatePolicy,
    responses(
        (status = 200, description = "It was there", body = PolicyView),
        (status = 201, description = "It is new", body = PolicyView),
        (status = 409, response = super::openapi::Conflict),
        (status = 422, response = super::openapi::Invalid)))]
pub(super) async fn put(app: Shared, name: Id, body: Body) -> Result<Response, Refusal> {
    let policy = json::<GatePolicy>(body, "a gate policy").await?;
    if policy.name != name.0 {
        return Err(Refusal::invalid(format!(
            "the path names policy \"{}\" and the body \"{}\": write the same name in both",
            name.0, policy.name
        )));
    }
    let (view, outcome) = app.control.put_policy(policy)?;
    if outcome != Outcome::Created {
        return Ok(Json(view).into_response());
    }
    let location = format!("/api/v1/policies/{}", encode(&view.policy.name));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// Takes a policy away; answers what it was.
#[utoipa::path(delete, path = "/api/v1/policies/{name}", operation_id = "removePolicy", tag = "policies",
    params(("name" = String, Path, description = "Percent-encoded name")),
    responses(
        (status = 200, body = PolicyView),
        (status = 404, response = super::openapi::NotFound),
        (status = 409, response = super::openapi::Conflict)))]
pub(super) async fn remove(app: Shared, name: Id) -> Result<Json<PolicyView>, Refusal> {
    Ok(Json(app.control.remove_policy(&name.0)?))
}

fn no_such(name: &str) -> Fault {
    Fault::NotFound(format!("there is no policy \"{name}\": `portcullis policy list` shows all"))
}
