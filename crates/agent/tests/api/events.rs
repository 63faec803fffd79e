//! Streams of events, and drops of the past.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode, header};
use futures_util::{Stream, StreamExt};
use portcullis_agent::api::MAX_STREAMS;
use portcullis_policy::api::Event;
use serde_json::{Value, json};

use crate::fake::{CHANNEL, Fake, drop_of, notice_of};
use crate::{api, call, refused, send};

/// A client of the event stream.
struct Client {
    body: Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>,
}

impl Client {
    async fn open(api: &Router, query: &str) -> Self {
        let response = send(api, Method::GET, &format!("/api/v1/events{query}"), Body::empty()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: Box::pin(response.into_body().into_data_stream()) }
    }

    /// The next block, as it is on the wire.
    async fn block(&mut self) -> String {
        let bytes = self.body.next().await.unwrap().unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// The next event: its name and data.
    async fn event(&mut self) -> (String, Value) {
        let block = self.block().await;
        let (name, data) = block.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        (name.to_owned(), serde_json::from_str(data.strip_suffix("\n\n").unwrap()).unwrap())
    }
}

#[tokio::test]
async fn events_come_as_they_happen() {
    let fake = Fake::new();
    let mut client = Client::open(&api(&fake), "").await;
    let (drop, notice) = (drop_of("web", "spoofed-arp"), notice_of("web", "repaired"));
    fake.tell(drop.clone());
    fake.tell(notice.clone());
    for (event, name) in [(drop, "drop"), (notice, "notice")] {
        let (kind, data) = client.event().await;
        assert_eq!(kind, name);
        assert_eq!(data["kind"], name);
        assert_eq!(serde_json::from_value::<Event>(data).unwrap(), event);
    }
}

#[tokio::test]
async fn filters_hold_for_past_and_present() {
    let fake = Fake::new();
    let api = api(&fake);
    let wanted = |e: &(String, Value)| (e.1["endpoint"].clone(), e.1["reason"].clone());
    for round in 0..2 {
        fake.tell(drop_of("db", "spoofed-arp"));
        fake.tell(drop_of("web", if round == 0 { "vlan" } else { "spoofed-arp" }));
        fake.tell(notice_of("web", "bound"));
    }
    let mut by_endpoint = Client::open(&api, "?history=1&endpoint=web&kind=drop").await;
    let mut by_reason = Client::open(&api, "?history=9&reason=vlan").await;
    let mut notices = Client::open(&api, "?kind=notice").await;
    assert_eq!(wanted(&by_endpoint.event().await), (json!("web"), json!("spoofed-arp")));
    assert_eq!(wanted(&by_reason.event().await), (json!("web"), json!("vlan")));
    fake.tell(drop_of("db", "vlan"));
    fake.tell(drop_of("web", "malformed"));
    fake.tell(notice_of("db", "unbound"));
    assert_eq!(wanted(&by_endpoint.event().await), (json!("web"), json!("malformed")));
    assert_eq!(wanted(&by_reason.event().await), (json!("db"), json!("vlan")));
    assert_eq!(notices.event().await.1["topic"], "unbound");
}

#[tokio::test]
async fn history_comes_first_and_nothing_twice() {
    let fake = Fake::new();
    for n in 0..5 {
        fake.tell(notice_of("web", &format!("{n}")));
    }
    let mut client = Client::open(&api(&fake), "?history=3").await;
    fake.tell(notice_of("web", "5"));
    for expected in ["2", "3", "4", "5"] {
        assert_eq!(client.event().await.1["topic"], expected);
    }
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_lost() {
    let fake = Fake::new();
    let mut client = Client::open(&api(&fake), "").await;
    for n in 0..CHANNEL + 5 {
        fake.tell(notice_of("web", &n.to_string()));
    }
    assert_eq!(client.event().await, ("lost".to_owned(), json!({"lost": 5})));
    assert_eq!(client.event().await.1["topic"], "5");
}

#[tokio::test]
async fn an_id_stands_for_the_name() {
    let fake = Fake::with(&["web"]);
    let api = api(&fake);
    fake.tell(drop_of("db", "vlan"));
    fake.tell(drop_of("web", "vlan"));
    for (key, name) in [("ep0", "web"), ("web", "web"), ("db", "db")] {
        let (_, body) = call(&api, Method::GET, &format!("/api/v1/drops?endpoint={key}"), "").await;
        assert_eq!((body.as_array().unwrap().len(), &body[0]["endpoint"]), (1, &json!(name)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_is_kept_alive() {
    let fake = Fake::new();
    let mut client = Client::open(&api(&fake), "").await;
    let opened = tokio::time::Instant::now();
    assert_eq!(client.block().await, ": keep-alive\n\n");
    assert_eq!(opened.elapsed().as_secs(), Duration::from_secs(15).as_secs());
}

#[tokio::test]
async fn streams_are_bounded_and_free_their_place() {
    let fake = Fake::new();
    let api = api(&fake);
    let mut clients = Vec::new();
    for _ in 0..MAX_STREAMS {
        clients.push(Client::open(&api, "").await);
    }
    refused(&api, Method::GET, "/api/v1/events", "", 503, "unavailable").await;
    clients.pop();
    Client::open(&api, "").await;
}

#[tokio::test]
async fn unknown_filters_are_refused() {
    let fake = Fake::new();
    let api = api(&fake);
    let detail = refused(&api, Method::GET, "/api/v1/events?reason=spoof", "", 422, "invalid").await;
    assert!(detail.contains("spoofed-ipv4"), "{detail}");
    refused(&api, Method::GET, "/api/v1/drops?reason=", "", 422, "invalid").await;
    refused(&api, Method::GET, "/api/v1/events?kind=other", "", 400, "invalid").await;
    refused(&api, Method::GET, "/api/v1/events?history=-1", "", 400, "invalid").await;
    refused(&api, Method::GET, "/api/v1/drops?last=3", "", 400, "invalid").await;
}

#[tokio::test]
async fn drops_are_the_newest_that_match() {
    let fake = Arc::clone(&Fake::new());
    let api = api(&fake);
    for n in 0..150 {
        fake.tell(drop_of(if n % 2 == 0 { "web" } else { "db" }, "vlan"));
        fake.tell(notice_of("web", "bound"));
    }
    fake.tell(drop_of("web", "spoofed-nd"));
    let (status, body) = call(&api, Method::GET, "/api/v1/drops", "").await;
    assert_eq!((status, body.as_array().unwrap().len()), (StatusCode::OK, 100));
    let (_, body) = call(&api, Method::GET, "/api/v1/drops?limit=2&endpoint=web", "").await;
    let reasons: Vec<_> = body.as_array().unwrap().iter().map(|d| d["reason"].clone()).collect();
    assert_eq!(reasons, ["vlan", "spoofed-nd"]);
    let (_, body) = call(&api, Method::GET, "/api/v1/drops?limit=1000&reason=vlan", "").await;
    assert_eq!(body.as_array().unwrap().len(), 150);
    assert!(body.as_array().unwrap().iter().all(|d| d["kind"] == "drop"));
}
