//! `/api/v1/events` (server-sent events) and `/api/v1/drops`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::response::sse::{Event as SseEvent, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use portcullis_abi::DropReason;
use portcullis_policy::api::Event;
use portcullis_web::{EventKind, Kinds, Options, Refusal};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use utoipa::IntoParams;

use super::{App, MAX_STREAMS, Shared};

/// How many events of the past are looked through at most.
const HISTORY_LIMIT: usize = 1 << 16;

/// How many drops, or actions, are answered where the query does not say.
const DROPS_DEFAULT: usize = 100;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Send so many of the last matching events first.
    #[serde(default)]
    history: usize,
    /// Only events of this endpoint (its name, or the id while it is bound).
    endpoint: Option<String>,
    /// Only drops for this reason.
    reason: Option<String>,
    /// Only events of this kind: drop, notice or action; several with commas.
    #[param(value_type = Option<String>)]
    kind: Option<Kinds>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ActionsQuery {
    /// At most so many, the newest; 100 unless given.
    limit: Option<usize>,
    /// Only actions against this endpoint (its name, or the id while it is bound).
    endpoint: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DropsQuery {
    /// At most so many, the newest; 100 unless given.
    limit: Option<usize>,
    /// Only drops of this endpoint (its name, or the id while it is bound).
    endpoint: Option<String>,
    /// Only drops for this reason.
    reason: Option<String>,
}

/// Which events are wanted.
struct Filter {
    kinds: Option<Kinds>,
    endpoint: Option<String>,
    reason: Option<DropReason>,
}

impl Filter {
    fn new(
        app: &App,
        kinds: Option<Kinds>,
        endpoint: Option<String>,
        reason: Option<String>,
    ) -> Result<Self, Refusal> {
        let reason = match reason {
            None => None,
            Some(text) => Some(text.parse().map_err(|e| Refusal::invalid(format!("reason {text:?}: {e}")))?),
        };
        // Events name endpoints; those of one that is gone can still be asked for by its name.
        let endpoint = endpoint.map(|key| app.control.endpoint(&key).map_or(key, |found| found.name));
        Ok(Self { kinds, endpoint, reason })
    }

    fn passes(&self, event: &Event) -> bool {
        let (endpoint, reason) = match event {
            Event::Drop(drop) => (drop.endpoint.as_deref(), Some(drop.reason.as_str())),
            Event::Notice(notice) => (notice.endpoint.as_deref(), None),
            Event::Action(action) => (Some(action.endpoint.as_str()), None),
        };
        self.kinds.as_ref().is_none_or(|Kinds(wanted)| wanted.contains(&EventKind::of(event)))
            && self.endpoint.as_ref().is_none_or(|wanted| endpoint == Some(wanted.as_str()))
            && self.reason.is_none_or(|wanted| reason == Some(wanted.name()))
    }

    /// The newest `limit` events of `history` that pass, oldest first.
    fn newest(&self, mut history: Vec<Arc<Event>>, limit: usize) -> Vec<Arc<Event>> {
        history.retain(|event| self.passes(event));
        let surplus = history.len().saturating_sub(limit);
        history.drain(..surplus);
        history
    }
}

/// The newest drops, oldest first, as the event stream has them.
#[utoipa::path(get, path = "/api/v1/drops", operation_id = "listDrops", tag = "events", params(DropsQuery),
    responses((status = 200, body = Vec<Event>), (status = 422, response = super::openapi::Invalid)))]
pub(super) async fn drops(app: Shared, query: Options<DropsQuery>) -> Result<Response, Refusal> {
    let DropsQuery { limit, endpoint, reason } = query.0;
    let filter = Filter::new(&app, Some(Kinds(vec![EventKind::Drop])), endpoint, reason)?;
    let drops = filter.newest(app.control.history(HISTORY_LIMIT), limit.unwrap_or(DROPS_DEFAULT));
    Ok(Json(drops.iter().map(Arc::as_ref).collect::<Vec<&Event>>()).into_response())
}

/// The newest actions against repeat offenders, oldest first, as the event stream has them.
#[utoipa::path(get, path = "/api/v1/actions", operation_id = "listActions", tag = "events", params(ActionsQuery),
    responses((status = 200, body = Vec<Event>)))]
pub(super) async fn actions(app: Shared, query: Options<ActionsQuery>) -> Result<Response, Refusal> {
    let ActionsQuery { limit, endpoint } = query.0;
    let filter = Filter::new(&app, Some(Kinds(vec![EventKind::Action])), endpoint, None)?;
    let actions = filter.newest(app.control.history(HISTORY_LIMIT), limit.unwrap_or(DROPS_DEFAULT));
    Ok(Json(actions.iter().map(Arc::as_ref).collect::<Vec<&Event>>()).into_response())
}

/// Events as they happen: `event: drop`, `notice` or `action` with the event as JSON, `event: lost` with
/// `{"lost":N}` where this reader was too slow for N events.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "streamEvents", tag = "events", params(EventsQuery),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = Event),
        (status = 422, response = super::openapi::Invalid),
        (status = 503, response = super::openapi::Unavailable)))]
pub(super) async fn stream(
    app: Shared,
    query: Options<EventsQuery>,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Refusal> {
    let EventsQuery { history, endpoint, reason, kind } = query.0;
    let filter = Filter::new(&app, kind, endpoint, reason)?;
    let permit = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        Refusal::unavailable(format!("{MAX_STREAMS} event streams are open already; close one and try again"))
    })?;
    // Subscribed first, so that nothing falls between the past and the present.
    let live = app.control.subscribe();
    let past =
        if history == 0 { Vec::new() } else { filter.newest(app.control.history(HISTORY_LIMIT), history) };
    let follower = Follower::new(filter, past, live, permit);
    let events = stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(portcullis_web::keep_alive()))
}

/// One reader of events: first the past, then what comes.
struct Follower {
    filter: Filter,
    past: std::vec::IntoIter<Arc<Event>>,
    /// Events of the past that may come again, and how many live events may be such.
    overlap: (Vec<Arc<Event>>, usize),
    live: broadcast::Receiver<Arc<Event>>,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    fn new(
        filter: Filter,
        past: Vec<Arc<Event>>,
        live: broadcast::Receiver<Arc<Event>>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        // What came between subscribing and reading the past stands in both.
        let waiting = live.len();
        let shared = past[past.len().saturating_sub(waiting)..].to_vec();
        Self { filter, past: past.into_iter(), overlap: (shared, waiting), live, _permit: permit }
    }

    async fn next(&mut self) -> Option<SseEvent> {
        if let Some(event) = self.past.next() {
            return Some(render(&event));
        }
        loop {
            match self.live.recv().await {
                Ok(event) if self.told_already(&event) || !self.filter.passes(&event) => {}
                Ok(event) => return Some(render(&event)),
                Err(RecvError::Lagged(lost)) => {
                    return Some(portcullis_web::lost(lost));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn told_already(&mut self, event: &Arc<Event>) -> bool {
        let (shared, waiting) = &mut self.overlap;
        if *waiting == 0 {
            return false;
        }
        *waiting -= 1;
        let told = shared.iter().any(|past| Arc::ptr_eq(past, event));
        if *waiting == 0 {
            *shared = Vec::new();
        }
        told
    }
}

fn render(event: &Event) -> SseEvent {
    portcullis_web::message(EventKind::of(event).name(), event)
}
