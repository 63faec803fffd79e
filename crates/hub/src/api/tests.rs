//! The API over a small world, with a real agent's TLS and a made-up agent behind it.

mod golden;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::sse::{Event as SseEvent, Sse};
use axum::routing::{get, put};
use axum::{Json, Router};
use http_body_util::BodyExt;
use k8s_openapi::api::authentication::v1::UserInfo;
use portcullis_kubernetes::crd::{AgentInfo, EndpointMapStatus, Peer};
use portcullis_kubernetes::peer::{Identity, Listener, Trusted, client_config, server_config};
use portcullis_policy::api::{Count, Counters as Frames, Event, Notice};
use portcullis_web::{Refusal, serve};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::auth::Reviews;
use super::*;
use crate::map::NodeMap;
use crate::map::tests::endpoint;
use crate::world::Part;

/// `token-reader` may read, `token-operator` anything, others nothing; all questions are counted.
#[derive(Clone, Default)]
struct Fake(Arc<(AtomicUsize, AtomicUsize)>);

type Answer<T> = std::pin::Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

impl Reviews for Fake {
    fn user(&self, token: String) -> Answer<Option<UserInfo>> {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        let user = token
            .strip_prefix("token-")
            .map(|name| UserInfo { username: Some(name.to_owned()), ..UserInfo::default() });
        Box::pin(async { Ok(user) })
    }

    fn may(&self, user: UserInfo, verb: String, path: String) -> Answer<Result<(), String>> {
        self.0.1.fetch_add(1, Ordering::Relaxed);
        let name = user.username.unwrap_or_default();
        let may = name == "operator" || name == "reader" && verb == "get";
        Box::pin(async move { Ok(if may { Ok(()) } else { Err(format!("{name} may not {verb} {path}")) }) })
    }
}

struct Lab {
    app: Arc<App>,
    router: Router,
    reviews: Fake,
    hub: Identity,
}

fn lab() -> Lab {
    let hub = Identity::generate("hub-0").unwrap();
    let world = World::default();
    for part in [Part::Maps, Part::Policies, Part::Namespaces, Part::Nodes] {
        world.set_read(part);
    }
    let (_, leadership) = Leadership::new();
    let app = Arc::new(App {
        peers: Peers::new(world.clone(), hub.clone()),
        world,
        liveness: Liveness::default(),
        leadership,
        bus: Bus::default(),
        counters: Counters::default(),
        troubles: Troubles::default(),
        offenders: Board::default(),
        about: Arc::new(About {
            pod: "hub-0".into(),
            started: "2026-11-21T10:00:00Z".into(),
            dry_run: false,
            per_minute: 10,
        }),
        streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        followed: Arc::new(Semaphore::new(MAX_FOLLOWED)),
    });
    let reviews = Fake::default();
    let router = router(Arc::clone(&app), Gate::new(Box::new(reviews.clone())));
    Lab { app, router, reviews, hub }
}

fn agent_endpoint(name: &str, state: &str) -> Value {
    let (namespace, pod) = name.split_once('/').unwrap();
    json!({"id": format!("id-{pod}"), "name": name, "workload": {"pod": pod, "namespace": namespace},
        "interface": {"name": "veth0", "index": 3, "netns": null}, "direction": "ingress", "addresses": ["10.0.0.1"],
        "macs": [], "learned": [], "mode": "enforce", "state": state, "allow": [], "vlans": [], "ethertypes": [],
        "owner": "kubernetes", "since": "2026-11-21T10:00:00Z", "counters": {"allowed": {"packets": 5, "bytes": 500},
        "dropped": {"packets": 0, "bytes": 0}, "reasons": {}}})
}

impl Lab {
    fn node(&self, name: &str, peer: Option<Peer>, pods: &[(&str, &str, u32, &str)]) {
        let rows =
            pods.iter().map(|(namespace, pod, n, address)| endpoint(namespace, pod, *n, address)).collect();
        let agent = AgentInfo { version: "0.1.0".into(), peer, ..AgentInfo::default() };
        let status = EndpointMapStatus { agent, endpoints: rows, ..EndpointMapStatus::default() };
        self.app.world.put(NodeMap::new(name, Some(status)));
        self.app.world.change(|store| store.node_exists(name, true));
    }

    /// An agent that has `shop/web`; what is asked of it stands in `log`.
    async fn agent(&self, log: Arc<Mutex<Vec<String>>>) -> Peer {
        let identity = Identity::generate("n1").unwrap();
        let trusted = Trusted::default();
        trusted.replace([("hub-0".to_owned(), self.hub.certificate().clone())].into());
        let config = server_config(&identity, &trusted).unwrap();
        let listener = Listener::bind("127.0.0.1:0", config, Some(trusted)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let note = move |what: &str| {
            let log = Arc::clone(&log);
            let what = what.to_owned();
            move || {
                log.lock().unwrap().push(what.clone());
                Json(agent_endpoint("shop/web", "quarantined"))
            }
        };
        let (quarantine, release) = (note("PUT"), note("DELETE"));
        let stream = |Query(query): Query<Vec<(String, String)>>| async move {
            assert!(query.iter().any(|(key, _)| key == "history"), "{query:?}");
            let notice = |time: &str, topic: &str| {
                let (time, topic) = (time.to_owned(), topic.to_owned());
                let event = Event::Notice(Notice {
                    time,
                    topic,
                    endpoint: Some("shop/web".into()),
                    message: "m".into(),
                });
                Ok::<_, std::convert::Infallible>(portcullis_web::message("notice", &event))
            };
            let events: Vec<Result<SseEvent, _>> =
                vec![notice("2026-11-21T10:00:02Z", "second"), notice("2026-11-21T10:00:01Z", "first")];
            // It ends: a gap.
            Sse::new(futures_util::stream::iter(events))
        };
        let router = Router::new()
            .route("/api/v1/endpoints", get(|| async { Json(json!([agent_endpoint("shop/web", "active")])) }))
            .route("/api/v1/endpoints/{id}", get(|| async { Json(agent_endpoint("shop/web", "active")) }))
            .route(
                "/api/v1/endpoints/{id}/quarantine",
                put(move || async move { quarantine() }).delete(move || async move { release() }),
            )
            .route("/api/v1/events", get(stream));
        tokio::spawn(serve(TlsEndpoint(listener), router, std::future::pending()));
        Peer { address, certificate: identity.pem().to_owned() }
    }

    async fn ask(&self, method: Method, path: &str, token: &str) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn json(&self, path: &str) -> Value {
        let (status, text) = self.ask(Method::GET, path, "token-reader").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_must_show_a_token_and_have_the_right() {
    let lab = lab();
    let (status, text) = lab.ask(Method::GET, "/api/v1/map", "").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(text.contains("--audience portcullis-hub"), "{text}");
    assert_eq!(lab.ask(Method::GET, "/api/v1/map", "nonsense").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(lab.ask(Method::GET, "/api/v1/map", "token-stranger").await.0, StatusCode::FORBIDDEN);
    let (status, text) = lab.ask(Method::PUT, "/api/v1/endpoints/a%2Fb/quarantine", "token-reader").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{text}");
    assert_eq!(
        lab.ask(Method::GET, "/nowhere", "").await.0,
        StatusCode::UNAUTHORIZED,
        "nobody learns what there is"
    );
    // What was said counts for ten seconds.
    let counts = || (lab.reviews.0.0.load(Ordering::Relaxed), lab.reviews.0.1.load(Ordering::Relaxed));
    let before = counts();
    for _ in 0..5 {
        assert_eq!(lab.ask(Method::GET, "/api/v1/nodes", "token-reader").await.0, StatusCode::OK);
    }
    assert_eq!(counts(), (before.0, before.1 + 1));
    tokio::time::advance(Duration::from_secs(11)).await;
    lab.ask(Method::GET, "/api/v1/nodes", "token-reader").await;
    assert_eq!(counts(), (before.0 + 1, before.1 + 2));
    assert!(lab.app.counters.requests().contains_key(&("/api/v1/map".to_owned(), 401)));
}

#[tokio::test]
async fn the_map_is_whole_filtered_and_shows_its_gaps() {
    let lab = lab();
    assert_eq!(lab.json("/api/v1/map").await, json!({"rows": [], "nodes": []}));
    lab.node("n1", None, &[("shop", "web", 1, "10.0.1.1"), ("db", "pg", 2, "10.0.1.2")]);
    lab.node("n2", None, &[("shop", "api", 3, "10.0.2.1")]);
    lab.app.world.change(|store| store.node_exists("n3", true));
    let map: portcullis_policy::api::ClusterMap =
        serde_json::from_value(lab.json("/api/v1/map").await).unwrap();
    let rows: Vec<(&str, &str)> =
        map.rows.iter().map(|row| (row.node.as_str(), row.of.container.as_deref().unwrap())).collect();
    assert_eq!(rows, [("n1", "shop/web"), ("n1", "db/pg"), ("n2", "shop/api")]);
    let states: Vec<_> = map.nodes.iter().map(|node| (node.node.as_str(), node.state)).collect();
    use portcullis_policy::api::NodeState::{Away, Missing};
    assert_eq!(states, [("n1", Away), ("n2", Away), ("n3", Missing)]);
    for (query, count) in [
        ("namespace=shop", 2),
        ("namespace=shop&node=n2", 1),
        ("state=bound", 3),
        ("state=held", 0),
        ("mode=enforce", 3),
        ("mode=audit", 0),
    ] {
        let map = lab.json(&format!("/api/v1/map?{query}")).await;
        assert_eq!(map["rows"].as_array().unwrap().len(), count, "{query}");
    }
    for (query, wanted) in [("node=n9", 404), ("state=odd", 422), ("colour=red", 400)] {
        let (status, text) = lab.ask(Method::GET, &format!("/api/v1/map?{query}"), "token-reader").await;
        assert_eq!(status.as_u16(), wanted, "{text}");
    }
    assert_eq!(lab.json("/api/v1/lookup?address=10.0.1.1&node=n1").await["finding"], "agrees");
    let status = lab.json("/api/v1/status").await;
    assert_eq!(
        (&status["endpoints"], &status["nodes"]["missing"], &status["leader"]),
        (&json!(3), &json!(1), &json!(false))
    );
}

#[tokio::test]
async fn agents_are_asked_and_one_that_is_away_is_a_gap() {
    let lab = lab();
    let log = Arc::default();
    let peer = lab.agent(Arc::clone(&log)).await;
    lab.node("n1", Some(peer.clone()), &[("shop", "web", 1, "10.0.1.1")]);
    // Somebody else is at its address now.
    let other = Identity::generate("other").unwrap();
    let wrong = Peer { certificate: other.pem().to_owned(), ..peer };
    lab.node("n2", Some(wrong), &[("shop", "api", 2, "10.0.2.1")]);
    lab.node("n3", None, &[("db", "pg", 3, "10.0.3.1")]);
    let all = lab.json("/api/v1/endpoints").await;
    assert_eq!((all["endpoints"].as_array().unwrap().len(), &all["endpoints"][0]["node"]), (1, &json!("n1")));
    let messages: Vec<&str> = all["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["message"].as_str().unwrap_or_default())
        .collect();
    assert!(messages[1].contains("the agent of node n2 does not answer"), "{messages:?}");
    assert!(messages[2].contains("takes no connections"), "{messages:?}");
    // What concerns nobody there is not asked for.
    let of_db = lab.json("/api/v1/endpoints?namespace=db").await;
    assert_eq!(of_db["endpoints"], json!([]));

    assert_eq!(lab.json("/api/v1/endpoints/shop%2Fweb").await["node"], "n1");
    let path = "/api/v1/endpoints/shop%2Fweb/quarantine";
    let (status, text) = lab.ask(Method::PUT, path, "token-operator").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert_eq!(lab.ask(Method::DELETE, path, "token-operator").await.0, StatusCode::OK);
    assert_eq!(*log.lock().unwrap(), ["PUT", "DELETE"]);
    let history = lab.app.bus.history();
    let Event::Notice(notice) = &history[0].of else { panic!() };
    assert_eq!(notice.message, "shop/web was put into quarantine by operator");
    for (path, wanted) in [
        ("/api/v1/endpoints/shop%2Fnobody/quarantine", 404),
        ("/api/v1/endpoints/db%2Fpg/quarantine", 503),
        ("/api/v1/endpoints/x/quarantine?node=n9", 404),
    ] {
        let (status, text) = lab.ask(Method::PUT, path, "token-operator").await;
        assert_eq!(status.as_u16(), wanted, "{text}");
    }
    lab.node("n4", None, &[("shop", "web", 9, "10.0.4.1")]);
    assert_eq!(lab.ask(Method::PUT, path, "token-operator").await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn events_come_in_order_and_gaps_are_told() {
    let lab = lab();
    let peer = lab.agent(Arc::default()).await;
    lab.node("n1", Some(peer), &[("shop", "web", 1, "10.0.1.1")]);
    lab.app.bus.notice("n1", "of-the-hub", "now".into());
    let request = Request::get("/api/v1/events?history=10&node=n1")
        .header(header::AUTHORIZATION, "Bearer token-reader")
        .body(Body::empty())
        .unwrap();
    let response = lab.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    let mut text = String::new();
    while !text.contains("missing from here on") {
        let frame =
            tokio::time::timeout(Duration::from_secs(20), body.frame()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word}: {text}"));
    assert!(at("\"first\"") < at("\"second\"") && at("\"second\"") < at("of-the-hub"), "{text}");
    assert!(text.contains(r#""node":"n1""#) && text.contains("event: notice"), "{text}");
    assert!(text.contains("the agent of node n1 has ended its stream"), "{text}");
    assert_eq!(lab.app.streams.available_permits(), MAX_STREAMS - 1);
    drop(body);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if lab.app.streams.available_permits() == MAX_STREAMS
            && lab.app.followed.available_permits() == MAX_FOLLOWED
        {
            return;
        }
    }
    panic!("what was followed for a reader that is gone goes on");
}

#[tokio::test]
async fn ready_is_who_has_read_everything_once() {
    let lab = lab();
    let health = health_router(Arc::clone(&lab.app));
    let ask = async |router: &Router, path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        )
    };
    assert_eq!(ask(&health, "/readyz").await, (200, "ok".into()));
    assert_eq!(ask(&health, "/api/v1/map").await.0, 404, "nothing else is served there");
    let blank = Arc::new(App { world: World::default(), ..(*lab.app).clone() });
    blank.troubles.set("watch nodes", "RBAC gives no right to list nodes (403)".into(), true);
    let (status, text) = ask(&health_router(blank), "/readyz").await;
    assert_eq!(status, 503);
    assert!(
        text.contains("not read yet: endpointmaps, gatepolicies, namespaces, nodes; RBAC gives"),
        "{text}"
    );
}

#[test]
fn a_client_without_our_certificate_is_not_served_by_an_agent() {
    // The other direction is tested with the peers themselves.
    let (a, b) = (Identity::generate("a").unwrap(), Identity::generate("b").unwrap());
    assert!(client_config(Some(&a), b.certificate()).is_ok());
}
