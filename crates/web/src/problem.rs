//! Errors as answers: RFC 9457 problems.

use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use portcullis_policy::api::Problem;

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
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", "Request cannot be read", detail)
    }

    /// The request can be read and asks for what cannot be (422).
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Request is not valid", detail)
    }

    /// The body is over the limit (413).
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body is too large", detail)
    }

    /// The body did not come in time (408).
    pub fn too_slow(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "Request took too long", detail)
    }

    /// No or a wrong bearer token (401).
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not authorized", detail)
    }

    /// Known who it is, and not allowed (403).
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// There is no such thing (404).
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// It contradicts something that is there (409).
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Conflict", detail)
    }

    /// More than is taken at once, or not ready yet (503).
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now", detail)
    }

    /// It could not be done (500).
    pub fn failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "Failed", detail)
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
pub async fn no_such_path(uri: Uri) -> Refusal {
    Refusal::not_found(format!("there is no {} here; /openapi.json lists every path", uri.path()))
}

/// A path that the API has, with another method.
pub async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let detail = format!("{} does not take {method}; /openapi.json lists what it takes", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
}
