//! Events of the hub itself, to whoever listens, and the newest of them for whoever comes later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_policy::api::{Event, NodeEvent, Notice};
use tokio::sync::broadcast;

/// Events that a slow reader may lag behind before it loses the oldest.
const BACKLOG: usize = 1024;
/// Events that are kept.
const HISTORY: usize = 1024;

/// Where events go.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sender: broadcast::Sender<Arc<NodeEvent>>,
    history: Mutex<VecDeque<Arc<NodeEvent>>>,
}

impl Default for Bus {
    fn default() -> Self {
        Self(Arc::new(Inner { sender: broadcast::channel(BACKLOG).0, history: Mutex::default() }))
    }
}

impl Bus {
    /// Tells everyone what concerns this node.
    pub fn publish(&self, node: &str, event: Event) {
        let event = Arc::new(NodeEvent { node: node.to_owned(), of: event });
        let mut history = self.0.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() >= HISTORY {
            history.pop_front();
        }
        history.push_back(Arc::clone(&event));
        drop(history);
        // An error means that nobody listens.
        _ = self.0.sender.send(event);
    }

    /// Tells everyone in one sentence.
    pub fn notice(&self, node: &str, topic: &str, message: String) {
        tracing::info!(node, topic, "{message}");
        let notice = Notice { time: crate::clock::wall(), topic: topic.to_owned(), endpoint: None, message };
        self.publish(node, Event::Notice(notice));
    }

    /// Events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<NodeEvent>> {
        self.0.sender.subscribe()
    }

    /// The newest events, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<Arc<NodeEvent>> {
        self.0.history.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
