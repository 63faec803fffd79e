//! `/api/v1/events`: the agents' events and the hub's own, as one stream.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::{Event as SseEvent, Sse};
use futures_util::stream::{self, Stream};
use portcullis_policy::api::NodeEvent;
use portcullis_web::{EventKind, Kinds, Options, Refusal, keep_alive, lost, message};
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::{MAX_STREAMS, Shared, map};
use crate::gather::{Feed, Wanted, follow};

/// The most of the past that is told.
const MOST_HISTORY: usize = 10_000;
/// Between the agents and a slow reader.
const BACKLOG: usize = 1024;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Only of this node.
    node: Option<String>,
    /// Only of pods of this namespace.
    namespace: Option<String>,
    /// Only of this endpoint (`namespace/pod`).
    endpoint: Option<String>,
    /// Only drops for this reason.
    reason: Option<String>,
    /// Only events of this kind: drop, notice or action; several with commas.
    #[param(value_type = Option<String>)]
    kind: Option<Kinds>,
    /// Send so many of the last matching events first.
    #[serde(default)]
    history: usize,
}

/// Events as they happen: `event: drop`, `notice` or `action` with the event as JSON, its node beside it; `event: lost`
/// with `{"lost":N}` where this reader was too slow for N events. Notices with the topic `gap` tell of nodes that are
/// not heard, `gap-over` that they are again.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "streamEvents", tag = "events", params(EventsQuery),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = NodeEvent),
        (status = 404, response = super::openapi::NotFound),
        (status = 503, response = super::openapi::Unavailable)))]
pub(super) async fn stream(
    app: Shared,
    query: Options<EventsQuery>,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Refusal> {
    let EventsQuery { node, namespace, endpoint, reason, kind, history } = query.0;
    map::nodes(&app, node.as_deref())?;
    let permit = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        Refusal::unavailable(format!("{MAX_STREAMS} event streams are open already; close one and try again"))
    })?;
    let history = history.min(MOST_HISTORY);
    let wanted = Wanted { node, namespace, endpoint, reason, kinds: kind, history };
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let sources = (app.world.clone(), app.peers.clone(), app.bus.clone());
    tokio::spawn(follow(sources, wanted, Arc::clone(&app.followed), sender));
    let events = stream::unfold((receiver, permit), |(mut receiver, permit)| async {
        let feed = receiver.recv().await?;
        Some((Ok(render(&feed)), (receiver, permit)))
    });
    Ok(Sse::new(events).keep_alive(keep_alive()))
}

fn render(feed: &Feed) -> SseEvent {
    match feed {
        Feed::Event(event) => message(EventKind::of(&event.of).name(), event),
        Feed::Lost(count) => lost(*count),
    }
}
