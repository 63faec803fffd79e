//! What the CNI plugin asks for.

use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::fake::Fake;
use crate::{api, call, refused};

const PATH: &str = "/api/v1/cni/c1/eth0";

fn attachment(container: Option<&str>) -> String {
    json!({
        "workload": {"container": container, "pod": "web-0"}, "netns": "/run/netns/web", "network": "pods",
        "host": {"netns": 4_026_531_840_u32, "netns_path": null, "index": 12, "name": "veth1"},
        "addresses": ["10.0.0.2", "fd00::2"], "macs": ["02:42:0a:00:00:02"]
    })
    .to_string()
}

fn monotonic_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

#[tokio::test]
async fn attachments_come_and_go() {
    let fake = Fake::with(&["web"]);
    let api = api(&fake);
    let detail = refused(&api, Method::GET, PATH, "", 404, "not-found").await;
    assert!(detail.contains("c1") && detail.contains("eth0"), "{detail}");
    // The container may stand in the path alone.
    for container in [Some("c1"), None] {
        let (status, endpoint) = call(&api, Method::PUT, PATH, attachment(container)).await;
        assert_eq!((status, &endpoint["addresses"]), (StatusCode::OK, &json!(["10.0.0.2", "fd00::2"])));
    }
    let (status, endpoint) = call(&api, Method::GET, PATH, "").await;
    assert_eq!((status, &endpoint["owner"]), (StatusCode::OK, &json!("cni")));
    for removed in [1, 0] {
        let answer = call(&api, Method::DELETE, PATH, "").await;
        assert_eq!(answer, (StatusCode::OK, json!({"removed": removed})));
    }
    // Names are percent-decoded.
    let (_, endpoint) = call(&api, Method::PUT, "/api/v1/cni/c1/net%23a", attachment(None)).await;
    assert_eq!(endpoint["name"], "c1/net#a");
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let fake = Fake::new();
    let api = api(&fake);
    let detail = refused(&api, Method::PUT, PATH, attachment(Some("c2")), 422, "invalid").await;
    assert!(detail.contains("c1") && detail.contains("c2"), "{detail}");
    refused(&api, Method::PUT, PATH, "{", 400, "invalid").await;
    refused(&api, Method::PUT, PATH, "{}", 422, "invalid").await;
    refused(&api, Method::PUT, &format!("{PATH}?deadline_ms=soon"), attachment(None), 400, "invalid").await;
    refused(&api, Method::PUT, &format!("{PATH}?deadline=1"), attachment(None), 400, "invalid").await;
    refused(&api, Method::POST, "/api/v1/cni/gc", "{}", 422, "invalid").await;
    refused(&api, Method::GET, "/api/v1/cni/gc", "", 405, "method-not-allowed").await;
    assert!(fake.endpoints.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nothing_stays_bound_that_nobody_waits_for() {
    let fake = Fake::new();
    let api = api(&fake);
    let with = |interface: &str, deadline: i64| format!("/api/v1/cni/c1/{interface}?deadline_ms={deadline}");
    // Too late before it was begun, and too late when it was done.
    let past = with("eth0", monotonic_ms() - 1);
    refused(&api, Method::PUT, &past, attachment(None), 503, "unavailable").await;
    let meanwhile = with("slow0", monotonic_ms() + 20);
    refused(&api, Method::PUT, &meanwhile, attachment(None), 503, "unavailable").await;
    assert!(fake.endpoints.lock().unwrap().is_empty());
    let in_time = with("eth0", monotonic_ms() + 60_000);
    assert_eq!(call(&api, Method::PUT, &in_time, attachment(None)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_is_not_in_use_is_collected() {
    let fake = Fake::with(&["web"]);
    let api = api(&fake);
    for interface in ["eth0", "net1", "net2"] {
        call(&api, Method::PUT, &format!("/api/v1/cni/c1/{interface}"), attachment(None)).await;
    }
    let garbage = json!({"network": "pods", "valid": [{"container": "c1", "interface": "net1"}]});
    let answer = call(&api, Method::POST, "/api/v1/cni/gc", garbage.to_string()).await;
    assert_eq!(answer, (StatusCode::OK, json!({"removed": 2})));
    let left: Vec<String> = fake.endpoints.lock().unwrap().keys().cloned().collect();
    assert_eq!(left, ["c1/net1", "web"]);
}
