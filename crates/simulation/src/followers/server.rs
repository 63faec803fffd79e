//! An API server with next to nothing in it, which counts.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::{Request, Response, Uri};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::ledger::{self, Kind, Ledger, Who};
use crate::plan::Plan;

/// An answer takes this.
const ANSWER: Duration = Duration::from_millis(10);
/// Between two bookmarks.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// Metadata of a Node, and of a namespace.
const NODE_SIZE: u64 = 2500;
const NAMESPACE_SIZE: u64 = 700;
/// A pod as JSON, with its managed fields.
pub const POD_SIZE: u64 = 8000;

type Answer = Response<StreamBody<Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>> + Send>>>>;

/// The server; shared.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    zero: Instant,
    away: Option<(Instant, Instant)>,
    nodes: u64,
    pods: u64,
    map: u64,
    ledger: Mutex<Ledger>,
}

impl Server {
    pub fn new(plan: &Plan, zero: Instant) -> Self {
        let away = plan.away().map(|(from, to)| (zero + from, zero + to));
        let map = crate::content::Sizes::measured().object(plan.pods as usize, 0);
        let (nodes, pods) = (u64::from(plan.nodes), u64::from(plan.pods));
        Self(Arc::new(Inner { zero, away, nodes, pods, map, ledger: Mutex::default() }))
    }

    /// A client of it.
    pub fn client(&self, who: Who) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            let asked = request.uri().clone();
            async move { server.answer(who, asked).await }
        });
        Client::new(service, "default")
    }

    pub fn ledger(&self) -> Ledger {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn away(&self) -> bool {
        let now = Instant::now();
        self.0.away.is_some_and(|(from, to)| now >= from && now < to)
    }

    async fn answer(&self, who: Who, uri: Uri) -> io::Result<Answer> {
        let at = Instant::now().checked_duration_since(self.0.zero);
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        if self.away() {
            self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner).failed(at);
            return Err(refused());
        }
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let watches = query.contains("watch=true");
        let kind = kind(who, path, watches, query);
        {
            let mut ledger = self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.request(at, kind);
            if !watches {
                ledger.bytes(at, ledger::Bytes::Answered, self.size(kind, query));
            }
        }
        sleep(ANSWER).await;
        if self.away() {
            return Err(refused());
        }
        let body: Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>> + Send>> = if watches {
            Box::pin(self.watch(seconds(query)))
        } else {
            let page = Bytes::from(self.list(path, query).to_string());
            Box::pin(futures_util::stream::once(async move { Ok(Frame::data(page)) }))
        };
        Ok(Response::new(StreamBody::new(body)))
    }

    /// Bookmarks, until time is up or the server goes away.
    fn watch(&self, time: Duration) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + use<> {
        let end = Instant::now() + time;
        let away = self.0.away.map(|(from, _)| from).filter(|from| *from > Instant::now());
        let end = away.map_or(end, |away| end.min(away));
        futures_util::stream::unfold((), move |()| async move {
            let next = Instant::now() + BOOKMARKS;
            sleep_until(next.min(end)).await;
            if next >= end {
                return None;
            }
            let bookmark = json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "1000"}}});
            Some((Ok(Frame::data(Bytes::from(format!("{bookmark}\n")))), ()))
        })
    }

    fn list(&self, path: &str, query: &str) -> serde_json::Value {
        let mut metadata = json!({"resourceVersion": "1000"});
        let page = parameter(query, "continue").and_then(|page| page.parse::<u64>().ok()).unwrap_or(0);
        let limit = parameter(query, "limit").and_then(|limit| limit.parse::<u64>().ok()).unwrap_or(500);
        let whole = path.ends_with("/endpointmaps") || path.ends_with("/nodes");
        if whole && !query.contains("metadata.name") && (page + 1) * limit < self.0.nodes {
            metadata["continue"] = (page + 1).to_string().into();
        }
        let items = if path.ends_with("/gatepolicies") && !query.contains("metadata.name") {
            // By the labels of namespaces: so agents follow these, too.
            let spec = json!({"namespaceSelector": {"matchLabels": {"tier": "front"}}, "mode": "enforce"});
            json!([{"metadata": {"name": "front", "generation": 1, "resourceVersion": "1"}, "spec": spec}])
        } else {
            json!([])
        };
        json!({"metadata": metadata, "items": items})
    }

    /// About how large the answer would be.
    fn size(&self, kind: Kind, query: &str) -> u64 {
        if kind.verb == "version" {
            return 100;
        }
        let of_page = |all: u64| {
            let limit = parameter(query, "limit").and_then(|limit| limit.parse().ok()).unwrap_or(500);
            all.min(limit)
        };
        match kind.resource {
            "pods" => self.0.pods * POD_SIZE,
            "endpointmaps" => of_page(self.0.nodes) * self.0.map,
            "nodes" => of_page(self.0.nodes) * NODE_SIZE,
            "namespaces" => 120 * NAMESPACE_SIZE,
            "gatepolicies" => crate::content::POLICIES.len() as u64 * 3000,
            _ => 3000,
        }
    }
}

fn kind(who: Who, path: &str, watches: bool, query: &str) -> Kind {
    let resource = match path.rsplit('/').next().unwrap_or_default() {
        "pods" => "pods",
        "gatepolicies" => "gatepolicies",
        "namespaces" => "namespaces",
        "nodes" => "nodes",
        "endpointmaps" => "endpointmaps",
        _ => "configmaps",
    };
    let verb = match (watches, query.contains("portcullis-asks-for-the-version")) {
        (true, _) => "watch",
        (false, true) => "version",
        (false, false) => "list",
    };
    Kind { who, verb, resource }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn seconds(query: &str) -> Duration {
    let seconds = parameter(query, "timeoutSeconds").and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(300))
}
