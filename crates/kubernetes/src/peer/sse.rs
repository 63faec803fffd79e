//! Server-sent events, as agents send them.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::PeerError;
use super::http::{Driver, chain};

/// Agents say something every 15 s, be it only that they are there.
const SILENCE: Duration = Duration::from_secs(60);
/// One event.
const MOST_BYTES: usize = 256 << 10;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its `event` field; empty: it has none.
    pub kind: String,
    /// Its `id` field; empty: it has none.
    pub id: String,
    /// Its data.
    pub data: String,
}

/// A stream of events.
pub struct Events {
    address: String,
    path: String,
    body: Incoming,
    _driver: Driver,
    read: BytesMut,
    parser: Parser,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Events").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Events {
    pub(super) fn new(address: String, path: String, body: Incoming, driver: Driver) -> Self {
        Self { address, path, body, _driver: driver, read: BytesMut::new(), parser: Parser::default() }
    }

    /// The next event; none: the peer has ended the stream. May be dropped at any point without losing one.
    ///
    /// # Errors
    /// If the connection broke, went silent, or carries something else.
    pub async fn next(&mut self) -> Result<Option<SseEvent>, PeerError> {
        loop {
            while let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end);
                self.read.advance(1);
                if let Some(event) = self.parser.line(&line) {
                    return Ok(Some(event));
                }
            }
            if self.read.len() + self.parser.event.data.len() > MOST_BYTES {
                return Err(PeerError::TooLong {
                    address: self.address.clone(),
                    what: self.path.clone(),
                    limit: MOST_BYTES,
                });
            }
            let silent = |_| PeerError::Silent {
                address: self.address.clone(),
                what: self.path.clone(),
                patience: SILENCE,
            };
            match timeout(SILENCE, self.body.frame()).await.map_err(silent)? {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.read.extend_from_slice(bytes);
                    }
                }
                Some(Err(error)) => {
                    return Err(PeerError::Broken {
                        address: self.address.clone(),
                        what: self.path.clone(),
                        why: chain(&error),
                    });
                }
            }
        }
    }
}

/// The event that is being read.
#[derive(Debug, Default)]
struct Parser {
    event: SseEvent,
    begun: bool,
}

impl Parser {
    /// Takes a line; an empty one ends an event.
    fn line(&mut self, line: &[u8]) -> Option<SseEvent> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.begun).then_some(event);
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.kind),
            "id" => value.clone_into(&mut self.event.id),
            "data" => {
                if self.begun {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.begun = true;
            }
            _ => {} // a comment, or a field of a later version
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_line_by_line() {
        let text = ": still here\n\nevent: violation\nid: 7\ndata: {\"a\":1}\r\n\ndata:x\ndata: y\nretry: 3\n\nevent: bare\n\n";
        let mut parser = Parser::default();
        let events: Vec<SseEvent> =
            text.split('\n').filter_map(|line| parser.line(line.as_bytes())).collect();
        let first = SseEvent { kind: "violation".into(), id: "7".into(), data: "{\"a\":1}".into() };
        let second = SseEvent { data: "x\ny".into(), ..SseEvent::default() };
        assert_eq!(events, [first, second]);
    }
}
