//! `/api/v1/cni/…`: what the CNI plugin tells of, in the midst of a container's start.

use axum::Json;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::request::Parts;
use portcullis_policy::api::{CniAttachment, CniGarbage, Endpoint};
use portcullis_web::{Options, Refusal, json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Shared;

/// Which interface of which container; both percent-decoded.
pub(super) struct Attachment {
    container: String,
    interface: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Attachment {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((container, interface)) = path.map_err(|error: PathRejection| {
            Refusal::malformed(format!("the path cannot be read: {}", error.body_text()))
        })?;
        Ok(Self { container, interface })
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AttachQuery {
    /// Milliseconds of `CLOCK_MONOTONIC` after which nobody waits for the answer: then nothing stays bound.
    deadline_ms: Option<u64>,
}

impl AttachQuery {
    /// A runtime that has given up starts no container: what is bound for it afterwards would be nobody's.
    fn in_time(&self) -> Result<(), Refusal> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now_ms = u64::try_from(now.tv_sec).unwrap_or(0) * 1000
            + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
        match self.deadline_ms {
            Some(deadline_ms) if now_ms > deadline_ms => Err(Refusal::unavailable(format!(
                "too late by {} ms: nothing was bound; the runtime tries again",
                now_ms - deadline_ms
            ))),
            _ => Ok(()),
        }
    }
}

/// How many attachments were taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// How many.
    pub removed: u32,
}

/// Binds an attachment. It is in the kernel when this answers.
#[utoipa::path(put, path = "/api/v1/cni/{container}/{interface}", operation_id = "attachCni", tag = "containers",
    params(("container" = String, Path, description = "CNI_CONTAINERID"),
        ("interface" = String, Path, description = "CNI_IFNAME, percent-encoded"), AttachQuery),
    request_body = CniAttachment,
    responses(
        (status = 200, body = Endpoint),
        (status = 404, response = super::openapi::NotFound),
        (status = 409, response = super::openapi::Conflict),
        (status = 422, response = super::openapi::Invalid),
        (status = 503, response = super::openapi::Unavailable)))]
pub(super) async fn attach(
    app: Shared,
    key: Attachment,
    query: Options<AttachQuery>,
    body: Body,
) -> Result<Json<Endpoint>, Refusal> {
    let mut attachment = json::<CniAttachment>(body, "a CNI attachment").await?;
    let container = attachment.workload.container.get_or_insert_with(|| key.container.clone());
    if *container != key.container {
        return Err(Refusal::invalid(format!(
            "the path names container {}, the body {container}; send one of them",
            key.container
        )));
    }
    query.0.in_time()?;
    let endpoint = app.control.cni_attach(&key.interface, attachment)?;
    // Judged again: whoever gives up after this look finds the binding in place and takes it back.
    if let Err(late) = query.0.in_time() {
        app.control.cni_detach(&key.container, &key.interface);
        return Err(late);
    }
    Ok(Json(endpoint))
}

/// What is bound for an attachment.
#[utoipa::path(get, path = "/api/v1/cni/{container}/{interface}", operation_id = "getCni", tag = "containers",
    params(("container" = String, Path, description = "CNI_CONTAINERID"),
        ("interface" = String, Path, description = "CNI_IFNAME, percent-encoded")),
    responses((status = 200, body = Endpoint), (status = 404, response = super::openapi::NotFound)))]
pub(super) async fn show(app: Shared, key: Attachment) -> Result<Json<Endpoint>, Refusal> {
    Ok(Json(app.control.cni_get(&key.container, &key.interface)?))
}

/// Takes an attachment away; it need not be there.
#[utoipa::path(delete, path = "/api/v1/cni/{container}/{interface}", operation_id = "detachCni", tag = "containers",
    params(("container" = String, Path, description = "CNI_CONTAINERID"),
        ("interface" = String, Path, description = "CNI_IFNAME, percent-encoded")),
    responses((status = 200, body = Removed)))]
pub(super) async fn detach(app: Shared, key: Attachment) -> Json<Removed> {
    Json(Removed { removed: app.control.cni_detach(&key.container, &key.interface).into() })
}

/// Takes away every attachment of a network that is not listed as being in use.
#[utoipa::path(post, path = "/api/v1/cni/gc", operation_id = "collectCni", tag = "containers",
    request_body = CniGarbage,
    responses((status = 200, body = Removed), (status = 422, response = super::openapi::Invalid)))]
pub(super) async fn collect(app: Shared, body: Body) -> Result<Json<Removed>, Refusal> {
    let garbage = json::<CniGarbage>(body, "a list of attachments in use").await?;
    Ok(Json(Removed { removed: app.control.cni_collect(garbage) }))
}
