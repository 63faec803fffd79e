//! `/api/v1/endpoints…`: bind, show, change, unbind, quarantine.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use portcullis_policy::api::{Endpoint, EndpointPatch, Problem};
use portcullis_policy::model::{EndpointSpec, Owner};
use portcullis_web::{Id, OneOrMany, Options, Refusal, json, read};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{App, Shared};
use crate::control::{BindOptions, Outcome};

/// After so many binds of a bulk the other tasks get their turn.
const BULK_TURN: usize = 1024;

/// What became of one item of a bulk bind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkItem {
    /// Name, as it was given.
    pub name: String,
    /// What was done.
    pub outcome: BulkOutcome,
    /// Id of the endpoint; none where it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<Problem>,
}

/// What a bulk bind did with one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BulkOutcome {
    /// It was not there.
    Created,
    /// It was there and differed.
    Updated,
    /// It was there just so.
    Unchanged,
    /// It was refused; `problem` says why. The other items are not affected.
    Failed,
}

impl From<Outcome> for BulkOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Created => Self::Created,
            Outcome::Updated => Self::Updated,
            Outcome::Unchanged => Self::Unchanged,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BindQuery {
    /// Accept an interface that does not exist yet: the endpoint waits for it.
    #[serde(default)]
    allow_missing: bool,
}

/// All endpoints, by name.
#[utoipa::path(get, path = "/api/v1/endpoints", operation_id = "listEndpoints", tag = "endpoints",
    responses((status = 200, body = Vec<Endpoint>)))]
pub(super) async fn list(app: Shared) -> Json<Vec<Endpoint>> {
    Json(app.control.endpoints())
}

/// Binds one endpoint (an object) or many (an array), or changes those of the same name.
#[utoipa::path(post, path = "/api/v1/endpoints", operation_id = "bindEndpoints", tag = "endpoints", params(BindQuery),
    request_body(description = "One endpoint, or an array of them: then each is bound for itself.",
        content = super::openapi::BindRequest),
    responses(
        (status = 200, description = "It was there; for an array: what became of each, in order",
            body = super::openapi::BindAnswer),
        (status = 201, description = "It is new", body = Endpoint),
        (status = 207, description = "Array: some items failed", body = Vec<BulkItem>),
        (status = 409, response = super::openapi::Conflict),
        (status = 422, response = super::openapi::Invalid)))]
pub(super) async fn bind(app: Shared, query: Options<BindQuery>, body: Body) -> Result<Response, Refusal> {
    let options = BindOptions { allow_missing: query.0.allow_missing };
    match OneOrMany::parse(&read(body).await?, "an endpoint")? {
        OneOrMany::One(spec) => bind_one(&app, spec, options),
        OneOrMany::Many(specs) => Ok(bind_many(&app, specs, options).await),
    }
}

fn bind_one(app: &App, spec: EndpointSpec, options: BindOptions) -> Result<Response, Refusal> {
    let (endpoint, outcome) = app.control.bind(spec, Owner::Api, options)?;
    if outcome != Outcome::Created {
        return Ok(Json(endpoint).into_response());
    }
    let location = format!("/api/v1/endpoints/{}", endpoint.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(endpoint)).into_response())
}

async fn bind_many(app: &Arc<App>, specs: Vec<EndpointSpec>, options: BindOptions) -> Response {
    let mut items = Vec::with_capacity(specs.len());
    let mut status = StatusCode::OK;
    let mut specs = specs.into_iter();
    loop {
        let turn: Vec<EndpointSpec> = specs.by_ref().take(BULK_TURN).collect();
        if turn.is_empty() {
            return (status, Json(items)).into_response();
        }
        let names: Vec<String> = turn.iter().map(|spec| spec.name.clone()).collect();
        let results = app.control.bind_many(turn, Owner::Api, options);
        for (name, result) in names.into_iter().zip(results) {
            items.push(match result {
                Ok((endpoint, outcome)) => {
                    BulkItem { name, outcome: outcome.into(), id: Some(endpoint.id), problem: None }
                }
                Err(fault) => {
                    status = StatusCode::MULTI_STATUS;
                    let problem = Some(Refusal::from(fault).0);
                    BulkItem { name, outcome: BulkOutcome::Failed, id: None, problem }
                }
            });
        }
        tokio::task::yield_now().await;
    }
}

/// One endpoint, by id or name.
#[utoipa::path(get, path = "/api/v1/endpoints/{id}", operation_id = "getEndpoint", tag = "endpoints",
    params(("id" = String, Path, description = "Id or percent-encoded name")),
    responses((status = 200, body = Endpoint), (status = 404, response = super::openapi::NotFound)))]
pub(super) async fn show(app: Shared, id: Id) -> Result<Json<Endpoint>, Refusal> {
    Ok(Json(app.control.endpoint(&id.0)?))
}

/// Changes single properties of an endpoint.
#[utoipa::path(patch, path = "/api/v1/endpoints/{id}", operation_id = "patchEndpoint", tag = "endpoints",
    params(("id" = String, Path, description = "Id or percent-encoded name")), request_body = EndpointPatch,
    responses(
        (status = 200, body = Endpoint),
        (status = 404, response = super::openapi::NotFound),
        (status = 422, response = super::openapi::Invalid)))]
pub(super) async fn patch(app: Shared, id: Id, body: Body) -> Result<Json<Endpoint>, Refusal> {
    let patch = json::<EndpointPatch>(body, "a change to an endpoint").await?;
    Ok(Json(app.control.patch(&id.0, patch)?))
}

/// Takes an endpoint away; answers what it was.
#[utoipa::path(delete, path = "/api/v1/endpoints/{id}", operation_id = "unbindEndpoint", tag = "endpoints",
    params(("id" = String, Path, description = "Id or percent-encoded name")),
    responses(
        (status = 200, body = Endpoint),
        (status = 404, response = super::openapi::NotFound),
        (status = 409, response = super::openapi::Conflict)))]
pub(super) async fn unbind(app: Shared, id: Id) -> Result<Json<Endpoint>, Refusal> {
    Ok(Json(app.control.unbind(&id.0)?))
}

/// Drops every frame from and to the endpoint until it is released. POST does the same.
#[utoipa::path(put, path = "/api/v1/endpoints/{id}/quarantine", operation_id = "quarantineEndpoint", tag = "endpoints",
    params(("id" = String, Path, description = "Id or percent-encoded name")),
    responses((status = 200, body = Endpoint), (status = 404, response = super::openapi::NotFound)))]
pub(super) async fn quarantine(app: Shared, id: Id) -> Result<Json<Endpoint>, Refusal> {
    Ok(Json(app.control.quarantine(&id.0, true)?))
}

/// Releases an endpoint from quarantine.
#[utoipa::path(delete, path = "/api/v1/endpoints/{id}/quarantine", operation_id = "releaseEndpoint", tag = "endpoints",
    params(("id" = String, Path, description = "Id or percent-encoded name")),
    responses((status = 200, body = Endpoint), (status = 404, response = super::openapi::NotFound)))]
pub(super) async fn release(app: Shared, id: Id) -> Result<Json<Endpoint>, Refusal> {
    Ok(Json(app.control.quarantine(&id.0, false)?))
}
