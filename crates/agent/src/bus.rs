//! Events to whoever listens, and the newest of them for whoever comes later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_policy::api::{ActionOutcome, Event, Notice, PacketRecord};
use portcullis_policy::guard::Response;
use tokio::sync::broadcast;

/// Events that a slow subscriber may lag behind before it loses the oldest.
const BACKLOG: usize = 1024;
/// Actions that outlast other events in the history, as long as these are not the larger part of it.
const KEPT_ACTIONS: usize = 128;

/// Where events go.
#[derive(Debug)]
pub struct Bus {
    sender: broadcast::Sender<Arc<Event>>,
    /// What the shield's monitor shows: to whoever looks, and forgotten.
    packets: broadcast::Sender<Arc<PacketRecord>>,
    history: Mutex<VecDeque<Arc<Event>>>,
    actions: Mutex<Vec<(Response, ActionOutcome, u64)>>,
    history_len: usize,
}

impl Bus {
    /// A bus that remembers the newest `history_len` events.
    #[must_use]
    pub fn new(history_len: usize) -> Self {
        let (sender, _) = broadcast::channel(BACKLOG);
        let (packets, _) = broadcast::channel(BACKLOG);
        Self { sender, packets, history: Mutex::default(), actions: Mutex::default(), history_len }
    }

    /// Tells everyone.
    pub fn publish(&self, event: Event) {
        if let Event::Action(action) = &event {
            self.count(action.response, action.outcome);
        }
        let event = Arc::new(event);
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() >= self.history_len {
            let oldest = expendable(&history);
            history.remove(oldest);
        }
        if self.history_len > 0 {
            history.push_back(Arc::clone(&event));
        }
        drop(history);
        // An error means that nobody listens.
        let _nobody = self.sender.send(event);
    }

    /// Shows a packet to whoever looks.
    pub fn show(&self, packet: PacketRecord) {
        // An error means that nobody looks any more.
        let _nobody = self.packets.send(Arc::new(packet));
    }

    /// Packets from now on.
    #[must_use]
    pub fn packets(&self) -> broadcast::Receiver<Arc<PacketRecord>> {
        self.packets.subscribe()
    }

    /// Actions that were told, by what was to be done and what came of it.
    #[must_use]
    pub fn actions(&self) -> Vec<(Response, ActionOutcome, u64)> {
        self.actions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counted here and not by a subscriber: one that lags behind would lose some.
    fn count(&self, response: Response, outcome: ActionOutcome) {
        let mut actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        match actions.iter_mut().find(|(r, o, _)| (*r, *o) == (response, outcome)) {
            Some((.., count)) => *count += 1,
            None => actions.push((response, outcome, 1)),
        }
    }

    /// Tells everyone, and the log.
    pub fn notice(&self, topic: &str, endpoint: Option<&str>, message: impl Into<String>) {
        let message = message.into();
        tracing::info!(topic, endpoint, "{message}");
        self.publish(Event::Notice(Notice {
            time: now(),
            topic: topic.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            message,
        }));
    }

    /// Events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }

    /// The newest events, oldest first.
    #[must_use]
    pub fn history(&self, limit: usize) -> Vec<Arc<Event>> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.iter().skip(history.len().saturating_sub(limit)).cloned().collect()
    }
}

/// The event that makes room for a further one. Whoever forges must not be able to push out what was done
/// about it: that goes only when there is too much of it.
fn expendable(history: &VecDeque<Arc<Event>>) -> usize {
    let mere = |event: &Arc<Event>| !matches!(**event, Event::Action(_));
    history.iter().take(KEPT_ACTIONS.min(history.len() / 2) + 1).position(mere).unwrap_or(0)
}

/// The time now as RFC 3339.
#[must_use]
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(n: u32) -> Event {
        Event::Notice(Notice { time: now(), topic: "t".into(), endpoint: None, message: n.to_string() })
    }

    fn action() -> Event {
        let action = serde_json::json!({"time": "", "endpoint": "web", "workload": {}, "response": "report",
            "outcome": "done", "message": "", "attempts": 1, "threshold": 1, "window": "1s", "reasons": {},
            "frames": [], "threshold_time": "", "took_ms": 0.0});
        Event::Action(Box::new(serde_json::from_value(action).unwrap()))
    }

    #[test]
    fn a_flood_does_not_push_actions_out() {
        let bus = Bus::new(10);
        for n in 0..3 {
            bus.publish(action());
            bus.publish(notice(n));
        }
        (0..100).for_each(|n| bus.publish(notice(n)));
        let history = bus.history(100);
        let actions = history.iter().filter(|event| matches!(***event, Event::Action(_))).count();
        assert_eq!((history.len(), actions), (10, 3));
        (0..100).for_each(|_| bus.publish(action()));
        assert_eq!(bus.history(100).len(), 10);
        Bus::new(0).publish(action());
    }
}
