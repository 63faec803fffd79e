//! Paths, answers, errors.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use portcullis_agent::api::{Applied, BODY_LIMIT_BYTES, BulkItem, BulkOutcome};
use portcullis_agent::control::Control;
use portcullis_policy::api::{ContainerMap, Endpoint, EndpointState, State, Status};
use portcullis_policy::model::Mode;
use serde_json::{from_value, json, to_string};

use crate::fake::{Fake, spec};
use crate::{api, call, refused, send, text};

const ENDPOINTS: &str = "/api/v1/endpoints";

#[tokio::test]
async fn status_and_state_are_the_cores() {
    let fake = Fake::with(&["web"]);
    let api = api(&fake);
    let (status, body) = call(&api, Method::GET, "/api/v1/status", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(from_value::<Status>(body).unwrap(), fake.status());
    let (status, body) = call(&api, Method::GET, "/api/v1/state", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(from_value::<State>(body).unwrap(), fake.state());
}

#[tokio::test]
async fn the_map_is_the_cores() {
    let fake = Fake::new();
    let map = json!({
        "rows": [{
            "container": "web-1", "workload": {"runtime": "docker", "labels": {"app": "shop"}},
            "network": "frontend", "inside": "eth0",
            "interface": {"name": "veth1a2b", "index": 12, "netns": null}, "addresses": ["172.18.0.2"],
            "macs": [], "endpoint": null, "state": "not-protectable", "message": "macvlan", "sources": ["docker"],
            "since": "2026-11-21T10:40:00Z"
        }],
        "sources": fake.status().sources
    });
    *fake.map.lock().unwrap() = from_value(map).unwrap();
    let (status, body) = call(&api(&fake), Method::GET, "/api/v1/map", "").await;
    assert_eq!((status, &body["rows"][0]["state"]), (StatusCode::OK, &json!("not-protectable")));
    assert_eq!(from_value::<ContainerMap>(body).unwrap(), fake.map());
}

#[tokio::test]
async fn bind_tells_new_from_known() {
    let fake = Fake::new();
    let api = api(&fake);
    let mut wanted = spec("web");
    let response = send(&api, Method::POST, ENDPOINTS, to_string(&wanted).unwrap()).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()[header::LOCATION], "/api/v1/endpoints/ep0");
    assert_eq!(serde_json::from_str::<Endpoint>(&text(response).await).unwrap().name, "web");
    let (status, _) = call(&api, Method::POST, ENDPOINTS, to_string(&wanted).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    wanted.mode = Mode::Audit;
    let (status, body) = call(&api, Method::POST, ENDPOINTS, to_string(&wanted).unwrap()).await;
    assert_eq!((status, &body["mode"]), (StatusCode::OK, &json!("audit")));
    let (_, list) = call(&api, Method::GET, ENDPOINTS, "").await;
    assert_eq!(list.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_missing_interface_is_accepted_on_request_only() {
    let fake = Fake::new();
    let api = api(&fake);
    let mut wanted = spec("web");
    wanted.interface.name = "gone".into();
    let body = to_string(&wanted).unwrap();
    let detail = refused(&api, Method::POST, ENDPOINTS, body.clone(), 404, "not-found").await;
    assert!(detail.contains("gone"));
    let uri = "/api/v1/endpoints?allow_missing=true";
    let (status, endpoint) = call(&api, Method::POST, uri, body).await;
    assert_eq!((status, &endpoint["state"]), (StatusCode::CREATED, &json!("waiting")));
    refused(&api, Method::POST, "/api/v1/endpoints?allow=1", "{}", 400, "invalid").await;
}

#[tokio::test]
async fn the_cores_faults_become_problems() {
    let fake = Fake::new();
    let api = api(&fake);
    let post = |name: &str| to_string(&spec(name)).unwrap();
    let detail = refused(&api, Method::POST, ENDPOINTS, post("rival"), 409, "conflict").await;
    assert_eq!(detail, "10.0.0.2 is bound to \"web\" already");
    let detail = refused(&api, Method::POST, ENDPOINTS, post("broken"), 500, "failed").await;
    assert_eq!(detail, "the kernel said no and why");
    let mut bare = spec("web");
    bare.addresses.clear();
    refused(&api, Method::POST, ENDPOINTS, to_string(&bare).unwrap(), 422, "invalid").await;
}

#[tokio::test]
async fn a_bulk_binds_each_item_for_itself() {
    let fake = Fake::with(&["old"]);
    let api = api(&fake);
    let specs = [spec("old"), spec("new"), spec("rival")];
    let (status, body) = call(&api, Method::POST, ENDPOINTS, to_string(&specs).unwrap()).await;
    assert_eq!(status, StatusCode::MULTI_STATUS);
    let items: Vec<BulkItem> = from_value(body).unwrap();
    let outcomes: Vec<_> = items.iter().map(|i| (i.name.as_str(), i.outcome, i.id.as_deref())).collect();
    assert_eq!(
        outcomes,
        [
            ("old", BulkOutcome::Unchanged, Some("ep0")),
            ("new", BulkOutcome::Created, Some("ep1")),
            ("rival", BulkOutcome::Failed, None)
        ]
    );
    let problem = items[2].problem.as_ref().unwrap();
    assert_eq!((problem.status, problem.kind.as_str()), (409, "urn:portcullis:conflict"));
    assert!(items[0].problem.is_none());
    let (status, body) = call(&api, Method::POST, ENDPOINTS, " []").await;
    assert_eq!((status, body), (StatusCode::OK, json!([])));
}

#[tokio::test]
async fn ten_thousand_endpoints_go_in_one_request() {
    let fake = Fake::new();
    let api = api(&fake);
    let specs: Vec<_> = (0..10_000).map(|n| spec(&format!("namespace-{n}/workload-{n}"))).collect();
    let (status, body) = call(&api, Method::POST, ENDPOINTS, to_string(&specs).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body.as_array().unwrap().len(), 10_000);
    assert_eq!(fake.endpoints.lock().unwrap().len(), 10_000);
}

#[tokio::test]
async fn a_bulk_that_cannot_be_read_binds_nothing_and_says_which_item() {
    let fake = Fake::new();
    let api = api(&fake);
    let good = to_string(&spec("web")).unwrap();
    let body = format!(r#"[{good}, {{"name": "x", "colour": "red"}}]"#);
    let detail = refused(&api, Method::POST, ENDPOINTS, body, 422, "invalid").await;
    assert!(detail.contains("(item 1): unknown field `colour`"), "{detail}");
    assert!(fake.endpoints().is_empty());
    refused(&api, Method::POST, ENDPOINTS, format!("[{good}"), 400, "invalid").await;
    assert!(fake.endpoints().is_empty());
}

#[tokio::test]
async fn show_patch_and_unbind_take_ids_and_encoded_names() {
    let fake = Fake::with(&["shop/web", "ünï"]);
    let api = api(&fake);
    for key in ["ep0", "shop%2Fweb", "%73hop%2fweb"] {
        let (status, body) = call(&api, Method::GET, &format!("{ENDPOINTS}/{key}"), "").await;
        assert_eq!((status, &body["name"]), (StatusCode::OK, &json!("shop/web")), "{key}");
    }
    let (_, body) = call(&api, Method::GET, "/api/v1/endpoints/%C3%BCn%C3%AF", "").await;
    assert_eq!(body["id"], "ep1");
    let uri = "/api/v1/endpoints/shop%2Fweb";
    let (_, body) = call(&api, Method::PATCH, uri, r#"{"mode":"audit"}"#).await;
    assert_eq!(body["mode"], "audit");
    let (status, body) = call(&api, Method::DELETE, uri, "").await;
    assert_eq!((status, &body["name"]), (StatusCode::OK, &json!("shop/web")));
    refused(&api, Method::GET, uri, "", 404, "not-found").await;
    refused(&api, Method::DELETE, uri, "", 404, "not-found").await;
    refused(&api, Method::PATCH, uri, "{}", 404, "not-found").await;
    refused(&api, Method::GET, "/api/v1/endpoints/%ff", "", 400, "invalid").await;
}

#[tokio::test]
async fn quarantine_is_put_posted_and_deleted() {
    let fake = Fake::with(&["web"]);
    let api = api(&fake);
    let uri = "/api/v1/endpoints/web/quarantine";
    for (method, state) in [
        (Method::PUT, EndpointState::Quarantined),
        (Method::DELETE, EndpointState::Active),
        (Method::POST, EndpointState::Quarantined),
    ] {
        let (status, body) = call(&api, method, uri, "").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(from_value::<Endpoint>(body).unwrap().state, state);
    }
    refused(&api, Method::PUT, "/api/v1/endpoints/none/quarantine", "", 404, "not-found").await;
}

#[tokio::test]
async fn a_state_is_applied_whole_or_not_at_all() {
    let fake = Fake::with(&["old"]);
    let api = api(&fake);
    let state = State { endpoints: vec![spec("a"), spec("b")], ..State::default() };
    let (status, body) = call(&api, Method::PUT, "/api/v1/state", to_string(&state).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let applied: Applied = from_value(body).unwrap();
    assert_eq!(applied, Applied { created: 2, updated: 0, removed: 1 });
    let state = State { endpoints: vec![spec("c"), spec("rival")], ..State::default() };
    refused(&api, Method::PUT, "/api/v1/state", to_string(&state).unwrap(), 409, "conflict").await;
    refused(&api, Method::PUT, "/api/v1/state", r#"{"endpoints":[]}"#, 422, "invalid").await;
    assert_eq!(fake.endpoints().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_in_one_line() {
    let fake = Fake::with(&["web"]);
    let api = api(&fake);
    let detail = refused(&api, Method::POST, ENDPOINTS, "{\n\"name\": ", 400, "invalid").await;
    assert!(detail.contains("line 2"), "{detail}");
    refused(&api, Method::POST, ENDPOINTS, "", 400, "invalid").await;
    refused(&api, Method::POST, ENDPOINTS, "[[]", 422, "invalid").await;
    refused(&api, Method::POST, ENDPOINTS, vec![b'"', 0xff, b'"'], 400, "invalid").await;
    let mac = r#"{"name":"x","interface":{"name":"v"},"macs":["nonsense"]}"#;
    let detail = refused(&api, Method::POST, ENDPOINTS, mac, 422, "invalid").await;
    assert!(detail.contains("nonsense"), "{detail}");
    let detail =
        refused(&api, Method::PATCH, "/api/v1/endpoints/web", r#"{"state":"off"}"#, 422, "invalid").await;
    assert!(detail.contains("unknown field `state`"), "{detail}");
    // Deep nesting must not exhaust the stack.
    let deep = format!(r#"{{"name":{}"#, "[".repeat(100_000));
    refused(&api, Method::POST, ENDPOINTS, deep, 422, "invalid").await;
    refused(&api, Method::POST, ENDPOINTS, "[".repeat(100_000), 422, "invalid").await;
    refused(&api, Method::POST, ENDPOINTS, "[] []", 400, "invalid").await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let fake = Fake::new();
    let api = api(&fake);
    let large = vec![b' '; BODY_LIMIT_BYTES + 1];
    refused(&api, Method::POST, ENDPOINTS, large.clone(), 413, "too-large").await;
    // Without a declared length, too.
    let pieces = large.chunks(1 << 20).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect::<Vec<_>>();
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    refused(&api, Method::POST, ENDPOINTS, body, 413, "too-large").await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let fake = Fake::new();
    let api = api(&fake);
    let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    refused(&api, Method::PUT, "/api/v1/state", Body::from_stream(never), 408, "timeout").await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let fake = Fake::new();
    let api = api(&fake);
    refused(&api, Method::GET, "/nowhere", "", 404, "not-found").await;
    refused(&api, Method::GET, "/api/v1/endpoints/a/b", "", 404, "not-found").await;
    refused(&api, Method::DELETE, "/api/v1/status", "", 405, "method-not-allowed").await;
    let response = send(&api, Method::DELETE, "/api/v1/status", "").await;
    assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
}

#[tokio::test]
async fn health_is_apart_from_readiness() {
    let fake = Fake::new();
    let api = api(&fake);
    let response = send(&api, Method::GET, "/readyz", "").await;
    assert_eq!(response.status(), StatusCode::OK);
    *fake.not_ready.lock().unwrap() = Some("the gate is not loaded".into());
    let detail = refused(&api, Method::GET, "/readyz", "", 503, "unavailable").await;
    assert_eq!(detail, "the gate is not loaded");
    let response = send(&api, Method::GET, "/healthz", "").await;
    assert_eq!((response.status(), text(response).await.as_str()), (StatusCode::OK, "ok"));
}
