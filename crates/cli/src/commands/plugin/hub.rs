//! A hub as the plugin asks it: HTTP over TLS that pins its certificate, on whatever stream leads there.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use portcullis_kubernetes::peer::client_config;
use portcullis_policy::api::{NodeEvent, Problem};
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::client::sse::{Message, Parser};
use crate::client::{ClientError, encode as encode_text};
use crate::failure::Failure;

/// An answer, whole. The map of the largest clusters takes some seconds.
const PATIENCE: Duration = Duration::from_secs(120);
const CONNECTING: Duration = Duration::from_secs(15);
/// The past has been told when nothing came for so long. (The hub itself waits a second and a half for its agents.)
pub const PAST: Duration = Duration::from_millis(2500);

/// A connection with a hub.
pub struct Hub {
    send: SendRequest<Empty<Bytes>>,
    token: String,
}

impl Hub {
    /// Speaks to the hub that has this certificate, and to no other.
    pub async fn connect<S>(stream: S, certificate: &CertificateDer<'static>, token: &str) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connector = TlsConnector::from(client_config(None, certificate)?);
        // Nobody asks for the name: the certificate is known.
        let name = ServerName::try_from("portcullis-hub")?;
        let connecting = async {
            let stream = connector.connect(name, stream).await?;
            anyhow::Ok(http1::handshake(TokioIo::new(stream)).await?)
        };
        let connected = timeout(CONNECTING, connecting).await;
        let (send, connection) = connected
            .map_err(|_| anyhow::anyhow!("it does not answer within {} s", CONNECTING.as_secs()))??;
        tokio::spawn(connection);
        Ok(Self { send, token: token.to_owned() })
    }

    /// Asks for an object.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        self.send(Method::GET, path).await
    }

    /// Asks anything that answers with an object.
    pub async fn send<T: DeserializeOwned>(&mut self, method: Method, path: &str) -> Result<T> {
        let answer = async {
            let response = self.open(method, path).await?;
            let (head, body) = response.into_parts();
            anyhow::Ok((head.status, body.collect().await?.to_bytes()))
        };
        let answer = timeout(PATIENCE, answer).await;
        let (status, body) = answer.map_err(|_| {
            Failure::unreachable(format!("the hub does not answer {path} within {} s", PATIENCE.as_secs()))
        })??;
        if !status.is_success() {
            return Err(refused(status.as_u16(), &body));
        }
        Ok(serde_json::from_slice(&body).map_err(|error| ClientError::Strange(error.to_string()))?)
    }

    /// Follows events.
    pub async fn follow(mut self, path: &str) -> Result<Stream> {
        let response = timeout(CONNECTING, self.open(Method::GET, path)).await??;
        let status = response.status();
        if !status.is_success() {
            let body = response.into_body().collect().await?.to_bytes();
            return Err(refused(status.as_u16(), &body));
        }
        Ok(Stream {
            body: response.into_body(),
            parser: Parser::default(),
            ready: VecDeque::new(),
            _hub: self,
        })
    }

    async fn open(&mut self, method: Method, path: &str) -> Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "portcullis-hub")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Empty::new())?;
        Ok(self.send.send_request(request).await?)
    }
}

fn refused(status: u16, body: &[u8]) -> anyhow::Error {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ClientError::Refused(problem).into(),
        Err(_) => ClientError::Strange(format!("HTTP {status} without an explanation")).into(),
    }
}

/// What the stream told.
pub enum Received {
    /// An event.
    Event(Box<NodeEvent>),
    /// So many were lost.
    Lost(u64),
}

/// Events as they come.
pub struct Stream {
    body: Incoming,
    parser: Parser,
    ready: VecDeque<Message>,
    /// The connection ends with it.
    _hub: Hub,
}

#[derive(Deserialize)]
struct Lost {
    lost: u64,
}

impl Stream {
    /// The next event; none when the hub has ended the stream, or, with patience, when nothing came for so long.
    pub async fn next(&mut self, patience: Option<Duration>) -> Result<Option<Received>> {
        loop {
            while let Some(message) = self.ready.pop_front() {
                if let Some(received) = read(&message)? {
                    return Ok(Some(received));
                }
            }
            let frame = match patience {
                Some(patience) => match timeout(patience, self.body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => return Ok(None),
                },
                None => self.body.frame().await,
            };
            match frame {
                None | Some(Err(_)) => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.parser.feed(bytes, &mut self.ready);
                    }
                }
            }
        }
    }
}

fn read(message: &Message) -> Result<Option<Received>> {
    let strange = |error: serde_json::Error| ClientError::Strange(format!("event {}: {error}", message.kind));
    Ok(match message.kind.as_str() {
        "drop" | "notice" | "action" => {
            let event: NodeEvent = serde_json::from_str(&message.data).map_err(strange)?;
            Some(Received::Event(Box::new(event)))
        }
        "lost" => {
            let Lost { lost } = serde_json::from_str(&message.data).map_err(strange)?;
            Some(Received::Lost(lost))
        }
        _ => None,
    })
}

/// A query of those that are given.
pub fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = String::new();
    for (key, value) in pairs {
        if let Some(value) = value {
            let sign = if query.is_empty() { '?' } else { '&' };
            query.push_str(&format!("{sign}{key}={}", encode_text(value)));
        }
    }
    query
}

/// One part of a path.
pub fn encode(text: &str) -> String {
    encode_text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_have_what_is_given() {
        assert_eq!(query(&[("a", None), ("b", None)]), "");
        assert_eq!(query(&[("a", None), ("b", Some("x y")), ("c", Some("1"))]), "?b=x%20y&c=1");
    }
}
