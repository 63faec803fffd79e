//! An API server that does what a test tells it to, question by question. No sockets: time can stand still.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Empty};
use http_body_util::{Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use hyper::{Method, Request, Response, StatusCode, header};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tower::BoxError;

type Answered = UnsyncBoxBody<Bytes, BoxError>;

/// The server's side.
pub(crate) struct Script {
    questions: mpsc::UnboundedReceiver<Question>,
}

/// Somebody asks.
pub(crate) struct Question {
    pub method: Method,
    pub uri: String,
    pub accept: String,
    pub body: Value,
    answer: oneshot::Sender<Result<Response<Answered>, BoxError>>,
}

/// A watch that goes on.
pub(crate) struct Stream(mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>);

/// A client, and the server that it asks.
pub(crate) fn script() -> (Client, Script) {
    let (sender, questions) = mpsc::unbounded_channel();
    let service = tower::service_fn(move |request: Request<Body>| {
        let sender = sender.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let (answer, answered) = oneshot::channel();
            let accept = parts.headers.get(header::ACCEPT).map(|value| value.to_str().unwrap().to_owned());
            let question = Question {
                method: parts.method,
                uri: parts.uri.to_string(),
                accept: accept.unwrap_or_default(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
                answer,
            };
            // Without a server there is no answer, ever.
            if sender.send(question).is_err() {
                std::future::pending::<()>().await;
            }
            match answered.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        }
    });
    (Client::new(service, "default"), Script { questions })
}

impl Script {
    pub async fn next(&mut self) -> Question {
        self.questions.recv().await.unwrap()
    }

    /// Whether nobody asks for that long.
    pub async fn quiet(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.questions.recv()).await.is_err()
    }
}

impl Question {
    /// The value of a query's key.
    pub fn query(&self, key: &str) -> Option<&str> {
        let query = self.uri.split_once('?')?.1;
        query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }

    pub fn is_watch(&self) -> bool {
        self.query("watch") == Some("true")
    }

    pub fn json(self, value: &Value) {
        self.text(StatusCode::OK, &value.to_string());
    }

    /// A list of these, as of a version.
    pub fn list(self, version: &str, items: &[Value]) {
        self.json(&json!({"kind": "List", "metadata": {"resourceVersion": version}, "items": items}));
    }

    pub fn text(self, status: StatusCode, text: &str) {
        let body = Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(infallible).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        self.respond(Ok(response));
    }

    pub fn refuse(self, code: u16, reason: &str, message: &str) {
        let status = status(code, reason, message);
        self.text(StatusCode::from_u16(code).unwrap(), &status.to_string());
    }

    pub fn busy(self, seconds: u32) {
        let mut response = Response::new(Empty::new().map_err(infallible).boxed_unsync());
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        response.headers_mut().insert(header::RETRY_AFTER, seconds.to_string().parse().unwrap());
        self.respond(Ok(response));
    }

    /// There is no connection.
    pub fn fail(self) {
        self.respond(Err("connection refused".into()));
    }

    pub fn stream(self) -> Stream {
        let (sender, frames) = mpsc::unbounded_channel();
        let frames = stream::unfold(frames, |mut frames| async move { Some((frames.recv().await?, frames)) });
        self.respond(Ok(Response::new(StreamBody::new(frames).boxed_unsync())));
        Stream(sender)
    }

    fn respond(self, answer: Result<Response<Answered>, BoxError>) {
        _ = self.answer.send(answer);
    }
}

impl Stream {
    pub fn bytes(&self, text: &str) {
        self.0.send(Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes())))).unwrap();
    }

    pub fn event(&self, kind: &str, object: &Value) {
        self.bytes(&format!("{}\n", json!({"type": kind, "object": object})));
    }

    pub fn bookmark(&self, version: &str) {
        self.event("BOOKMARK", &json!({"kind": "Pod", "metadata": {"resourceVersion": version}}));
    }

    pub fn break_off(self) {
        self.0.send(Err("reset by peer".into())).unwrap();
    }
}

pub(crate) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

fn infallible(never: Infallible) -> BoxError {
    match never {}
}
