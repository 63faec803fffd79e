//! Server-sent events, as far as the agent's stream uses them (the WHATWG's HTML standard, 9.2).

use std::collections::VecDeque;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use portcullis_policy::api::{Event, PacketRecord};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::ClientError;

/// What the stream told.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// An event.
    Event(Event),
    /// A packet of the monitor.
    Packet(Box<PacketRecord>),
    /// So many were lost, because this reader was too slow.
    Lost(u64),
}

/// Events as they come.
pub struct EventStream<'a> {
    runtime: &'a Runtime,
    body: Incoming,
    parser: Parser,
    ready: VecDeque<Message>,
}

impl<'a> EventStream<'a> {
    pub(super) fn new(runtime: &'a Runtime, body: Incoming) -> Self {
        Self { runtime, body, parser: Parser::default(), ready: VecDeque::new() }
    }

    /// Waits for the next event; none when the agent has ended the stream.
    pub fn next(&mut self) -> Result<Option<Received>, ClientError> {
        loop {
            while let Some(message) = self.ready.pop_front() {
                if let Some(received) = message.read()? {
                    return Ok(Some(received));
                }
            }
            match self.runtime.block_on(self.body.frame()) {
                // An agent that stops or is killed ends the stream, one way or the other.
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

/// One message: its type and its data.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: String,
    /// Its data.
    pub data: String,
}

#[derive(Deserialize)]
struct Lost {
    lost: u64,
}

impl Message {
    /// What it tells; nothing where it is of a kind that this version does not know.
    fn read(&self) -> Result<Option<Received>, ClientError> {
        let strange =
            |error: serde_json::Error| ClientError::Strange(format!("event {}: {error}", self.kind));
        match self.kind.as_str() {
            "drop" | "notice" | "action" => {
                serde_json::from_str(&self.data).map(|event| Some(Received::Event(event))).map_err(strange)
            }
            "packet" => serde_json::from_str(&self.data)
                .map(|packet| Some(Received::Packet(Box::new(packet))))
                .map_err(strange),
            "lost" => serde_json::from_str(&self.data)
                .map(|Lost { lost }| Some(Received::Lost(lost)))
                .map_err(strange),
            _ => Ok(None),
        }
    }
}

/// Puts messages together from pieces cut anywhere.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    message: Message,
}

impl Parser {
    /// Takes a piece; what is whole goes to `ready`.
    pub fn feed(&mut self, bytes: &[u8], ready: &mut VecDeque<Message>) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.line(String::from_utf8_lossy(&line).trim_end_matches('\r'), ready);
            } else {
                self.line.push(byte);
            }
        }
    }

    fn line(&mut self, line: &str, ready: &mut VecDeque<Message>) {
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            if !message.data.is_empty() {
                ready.push_back(message);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.message.kind),
            "data" => {
                if !self.message.data.is_empty() {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
            }
            // Comments (an empty field) keep the connection alive; ids and retry times are not used.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_from_any_pieces() {
        let text = ": keep-alive\n\nevent: lost\ndata: {\"lost\":7}\n\nevent:notice\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n";
        for size in 1..text.len() {
            let (mut parser, mut ready) = (Parser::default(), VecDeque::new());
            for piece in text.as_bytes().chunks(size) {
                parser.feed(piece, &mut ready);
            }
            assert_eq!(ready.len(), 2, "pieces of {size}");
            assert_eq!(ready[0].read().unwrap(), Some(Received::Lost(7)));
            assert_eq!(ready[1], Message { kind: "notice".into(), data: "{\"a\":\n1}".into() });
        }
    }

    #[test]
    fn unknown_kinds_are_passed_over_and_broken_ones_told() {
        let message = |kind: &str, data: &str| Message { kind: kind.into(), data: data.into() };
        assert!(message("flow", "{}").read().unwrap().is_none());
        assert!(message("drop", "{}").read().is_err());
        let notice = r#"{"kind":"notice","time":"t","topic":"bound","endpoint":null,"message":"m"}"#;
        assert!(matches!(message("notice", notice).read(), Ok(Some(Received::Event(Event::Notice(_))))));
    }
}
