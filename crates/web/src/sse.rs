//! Events as a stream (server-sent events).

use std::time::Duration;

use axum::response::sse::{Event as SseEvent, KeepAlive};
use serde::Serialize;

/// A comment keeps proxies and clients from giving up on a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Comments in between, for quiet streams.
pub fn keep_alive() -> KeepAlive {
    KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive")
}

/// A message of this kind with an object as JSON.
pub fn message<T: Serialize>(kind: &str, object: &T) -> SseEvent {
    match serde_json::to_string(object) {
        Ok(data) => SseEvent::default().event(kind).data(data),
        // Cannot happen with these types; if it does, the reader is told instead of cut off.
        Err(error) => SseEvent::default().comment(format!("an event could not be written: {error}")),
    }
}

/// The message that a reader was too slow for so many events.
pub fn lost(count: u64) -> SseEvent {
    SseEvent::default().event("lost").data(format!(r#"{{"lost":{count}}}"#))
}
