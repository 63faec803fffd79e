//! Errors as answers: RFC 9457 problems.

use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use portcullis_policy::api::Problem;

use crate::control::Fault;

/// Content type of every error (RFC 9457, section 3).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A request that is not answered as asked, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub Problem);

impl Refusal {
    fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        // One line: it is shown by command lines and written into logs.
        let detail = detail.into().replace(['\n', '\r'], " ");
        Self(Problem {
            kind: format!("urn:portcullis:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail,
        })
    }

    /// The request cannot be read (400).
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", "Request cannot be read", detail)
    }

    /// The request can be read and asks for what cannot be (422).
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Request is not valid", detail)
    }

    /// The body is over the limit (413).
    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body is too large", detail)
    }

    /// The body did not come in time (408).
    pub(super) fn too_slow(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "Request took too long", detail)
    }

    /// No or a wrong bearer token (401).
    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not authorized", detail)
    }

    /// More than the agent takes at once, or not ready yet (503).
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now", detail)
    }

    /// The agent could not do it (500).
    pub(super) fn failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "Failed", detail)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Invalid(detail) => Self::invalid(detail),
            Fault::NotFound(detail) => Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail),
            Fault::Conflict(detail) => Self::new(StatusCode::CONFLICT, "conflict", "Conflict", detail),
            Fault::Failed(detail) => Self::failed(detail),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], axum::Json(self.0)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let bearer = header::HeaderValue::from_static("Bearer realm=\"portcullis\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

/// Any path that the API does not have.
pub(super) async fn no_such_path(uri: Uri) -> Refusal {
    let detail = format!("there is no {} here; /openapi.json lists every path", uri.path());
    Refusal::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
}

/// A path that the API has, with another method.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let detail = format!("{} does not take {method}; /openapi.json lists what it takes", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
}
