//! Gate policies over the API.

use axum::http::{Method, StatusCode, header};
use portcullis_policy::model::Owner;

use crate::fake::Fake;
use crate::{api, call, refused, send};

const POLICIES: &str = "/api/v1/policies";
const STRICT: &str = r#"{"name": "a/strict", "match": {"name": "*"}, "attempts": 3}"#;

#[tokio::test]
async fn a_policy_is_put_shown_and_removed() {
    let api = api(&Fake::new());
    let path = format!("{POLICIES}/a%2Fstrict");
    let response = send(&api, Method::PUT, &path, STRICT).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()[header::LOCATION], path);
    let (status, view) = call(&api, Method::PUT, &path, STRICT).await;
    assert_eq!((status, &view["attempts"], &view["warning"]), (StatusCode::OK, &3.into(), &"none".into()));
    let (_, view) = call(&api, Method::GET, &path, "").await;
    assert_eq!((&view["name"], &view["match"]["name"]), (&"a/strict".into(), &"*".into()));
    let (_, all) = call(&api, Method::GET, POLICIES, "").await;
    assert_eq!(all.as_array().unwrap().len(), 1);
    let (status, gone) = call(&api, Method::DELETE, &path, "").await;
    assert_eq!((status, &gone["name"]), (StatusCode::OK, &"a/strict".into()));
    refused(&api, Method::DELETE, &path, "", 404, "not-found").await;
    let detail = refused(&api, Method::GET, &path, "", 404, "not-found").await;
    assert!(detail.contains("policy list"), "{detail}");
}

#[tokio::test]
async fn what_cannot_be_a_policy_is_refused() {
    let fake = Fake::new();
    let api = api(&fake);
    let put = |name: &str, body: &str| (format!("{POLICIES}/{name}"), body.to_owned());
    for ((path, body), says) in [
        (put("other", STRICT), "the same name in both"),
        (put("a", r#"{"name": "a", "match": {}, "mode": "audit"}"#), r#"match = { name = "*" }"#),
        (put("a", r#"{"name": "a", "match": {"name": "*"}}"#), "has no effect"),
        (put("a", r#"{"name": "a", "match": {"nam": "*"}, "mode": "audit"}"#), "unknown field `nam`"),
        (put("a", r#"{"name": "a", "match": {"name": "*"}, "window": "60"}"#), "such as 500ms, 60s"),
        (put("a", r#"{"name": "a"}"#), "missing field `match`"),
    ] {
        let detail = refused(&api, Method::PUT, &path, body, 422, "invalid").await;
        assert!(detail.contains(says), "{detail}");
    }
    refused(&api, Method::PUT, &format!("{POLICIES}/a"), "{", 400, "invalid").await;
    send(&api, Method::PUT, &format!("{POLICIES}/a%2Fstrict"), STRICT).await;
    fake.policies.lock().unwrap().get_mut("a/strict").unwrap().owner = Owner::File;
    refused(&api, Method::PUT, &format!("{POLICIES}/a%2Fstrict"), STRICT, 409, "conflict").await;
}
