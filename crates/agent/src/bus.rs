//! Events to whoever listens, and the newest of them for whoever comes later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_policy::api::{Event, Notice};
use tokio::sync::broadcast;

/// Events that a slow subscriber may lag behind before it loses the oldest.
const BACKLOG: usize = 1024;

/// Where events go.
#[derive(Debug)]
pub struct Bus {
    sender: broadcast::Sender<Arc<Event>>,
    history: Mutex<VecDeque<Arc<Event>>>,
    history_len: usize,
}

impl Bus {
    /// A bus that remembers the newest `history_len` events.
    #[must_use]
    pub fn new(history_len: usize) -> Self {
        let (sender, _) = broadcast::channel(BACKLOG);
        Self { sender, history: Mutex::default(), history_len }
    }

    /// Tells everyone.
    pub fn publish(&self, event: Event) {
        let event = Arc::new(event);
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() >= self.history_len {
            history.pop_front();
        }
        if self.history_len > 0 {
            history.push_back(Arc::clone(&event));
        }
        drop(history);
        // An error means that nobody listens.
        let _nobody = self.sender.send(event);
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

/// The time now as RFC 3339.
#[must_use]
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}
