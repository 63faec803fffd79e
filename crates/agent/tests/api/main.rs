//! The API over a core in memory: every path, every kind of error, streams, sockets, golden files.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod cni;
mod events;
mod fake;
mod golden;
mod http;
mod policies;
mod sockets;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use portcullis_agent::api::{PROBLEM_JSON, router};
use serde_json::Value;
use tower::ServiceExt;

use fake::Fake;

/// The API over `fake`.
fn api(fake: &Arc<Fake>) -> Router {
    router(Arc::clone(fake) as Arc<_>)
}

/// Sends one request.
async fn send(api: &Router, method: Method, uri: &str, body: impl Into<Body>) -> Response<Body> {
    let request = Request::builder().method(method).uri(uri).body(body.into()).unwrap();
    api.clone().oneshot(request).await.unwrap()
}

/// The whole body.
async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Sends one request; status and body as JSON.
async fn call(api: &Router, method: Method, uri: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let response = send(api, method, uri, body).await;
    let status = response.status();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    (status, serde_json::from_str(&text(response).await).unwrap())
}

/// Sends one request that must be refused with this status and kind; answers the detail.
async fn refused(
    api: &Router,
    method: Method,
    uri: &str,
    body: impl Into<Body>,
    status: u16,
    kind: &str,
) -> String {
    let response = send(api, method, uri, body).await;
    assert_eq!(response.status(), status, "{uri}");
    assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON, "{uri}");
    let problem: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(problem["type"], format!("urn:portcullis:{kind}"), "{uri}");
    assert_eq!(problem["status"], status, "{uri}");
    assert!(!problem["title"].as_str().unwrap().is_empty(), "{uri}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(!detail.is_empty() && !detail.contains('\n'), "{uri}: {detail:?}");
    detail.to_owned()
}
