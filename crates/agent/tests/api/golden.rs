//! What others build upon, as files: changes show in review. `BLESS=1 cargo test` renews them.

use std::path::Path;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use portcullis_policy::api::{ActionOutcome, Count, EndpointState};
use portcullis_policy::guard::Response;
use portcullis_policy::model::Mode;
use tower::ServiceExt;

use crate::fake::Fake;
use crate::{api, send, text};

fn compare(name: &str, actual: &str) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} is out of date; look at the change, then BLESS=1 renews it",
        path.display()
    );
}

#[tokio::test]
async fn openapi() {
    let fake = Fake::new();
    let response = send(&api(&fake), Method::GET, "/openapi.json", "").await;
    let document: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    compare("openapi.json", &format!("{document:#}\n"));
}

/// Every `$ref` of the document leads somewhere.
#[test]
fn openapi_is_whole() {
    fn references(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                found.extend(map.get("$ref").and_then(|r| r.as_str()).map(str::to_owned));
                map.values().for_each(|v| references(v, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }
    let document = serde_json::to_value(portcullis_agent::api::document()).unwrap();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(target.is_some(), "{reference} leads nowhere");
    }
}

/// Every operation of the document is served.
#[tokio::test]
async fn openapi_tells_the_truth() {
    let api = api(&Fake::new());
    let document = serde_json::to_value(portcullis_agent::api::document()).unwrap();
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let response = send(&api, method.clone(), &path.replace(['{', '}'], ""), "").await;
            let status = response.status();
            assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            if status == StatusCode::NOT_FOUND {
                let why = text(response).await;
                assert!(
                    ["no endpoint", "no policy", "nothing is bound"].iter().any(|words| why.contains(words)),
                    "{method} {path}: {why}"
                );
            }
            operations += 1;
        }
    }
    assert_eq!(operations, 49);
}

fn counted() -> std::sync::Arc<Fake> {
    let fake = Fake::with(&["web", "shop/db", "tester", "old\\timer"]);
    fake.change("shop/db", |e| {
        e.workload.namespace = Some("shop".into());
        e.workload.pod = Some("db\"0\n".into());
        e.mode = Mode::Audit;
        e.counters.dropped = Count::default();
        e.counters.audited = Count { packets: 9, bytes: 540 };
        e.counters.reasons =
            [("spoofed-nd", 5), ("vlan", 4), ("icmp-quote", 1), ("nonsense", 7), ("rogue-ra", 0)]
                .map(|(name, count)| (name.to_owned(), count))
                .into();
        e.counters.unreported = 6;
        e.attempts = 5;
    })
    .unwrap();
    fake.change("tester", |e| {
        e.state = EndpointState::Quarantined;
        e.counters.audited = Count { packets: 1, bytes: 60 };
    })
    .unwrap();
    *fake.actions.lock().unwrap() =
        vec![(Response::Terminate, ActionOutcome::Withheld, 2), (Response::Report, ActionOutcome::Done, 7)];
    fake
}

#[tokio::test]
async fn metrics() {
    let api = api(&counted());
    let response = send(&api, Method::GET, "/metrics", "").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    compare("metrics.txt", &text(response).await);
    let request = Request::get("/metrics")
        .header(header::ACCEPT, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        .body(Body::empty())
        .unwrap();
    let response = api.oneshot(request).await.unwrap();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(response.headers()[header::CONTENT_TYPE], kind);
    compare("metrics.openmetrics.txt", &text(response).await);
}
