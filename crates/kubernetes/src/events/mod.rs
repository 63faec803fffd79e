//! Kubernetes Events on pods: what `kubectl describe pod` shows of us.
//!
//! A pod that forges does so thousands of times in a second, and Events lie in etcd. So there is one object for each pod and
//! reason, made at once, and its count grows: once a minute at first, every five minutes later. A node makes no more than one
//! write a second, after a burst of 25. When is decided by [`Book`], which is pure.
//!
//! Events of core/v1, not of events.k8s.io/v1: there the note may not change any more, and `kubectl describe` of 1.20 shows no
//! age of them.

mod book;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::Method;
use jiff::Timestamp;
use kube::Client;
use portcullis_policy::model::Mode;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub use book::{Book, Next, Outcome, Post};

use crate::rest::{Doing, MERGE, Trouble, encode, send};

/// Notes that wait; more are dropped and counted.
const QUEUE: usize = 256;

/// A pod that something is said of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// Something that is said of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// It sent what it must not.
    Spoofed {
        /// Packets by hostile reason, in all: numbers that only grow.
        counts: BTreeMap<String, u64>,
        /// What became of them.
        mode: Mode,
    },
    /// It is cut off.
    Quarantined(String),
    /// It is not any more.
    Released(String),
}

/// Says things of pods. Never waits.
#[derive(Clone, Debug)]
pub struct Reporter {
    notes: mpsc::Sender<(PodRef, Note)>,
    lost: Arc<AtomicU64>,
}

impl Reporter {
    /// It sent what it must not. `counts` are packets by hostile reason, in all; call it as often as you like.
    pub fn spoofed(&self, pod: &PodRef, counts: &BTreeMap<String, u64>, mode: Mode) {
        self.say(pod, Note::Spoofed { counts: counts.clone(), mode });
    }

    /// It is cut off. The note says why.
    pub fn quarantined(&self, pod: &PodRef, note: &str) {
        self.say(pod, Note::Quarantined(note.to_owned()));
    }

    /// It is not cut off any more. The note says why.
    pub fn released(&self, pod: &PodRef, note: &str) {
        self.say(pod, Note::Released(note.to_owned()));
    }

    /// How many notes were lost, since more came than could be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn say(&self, pod: &PodRef, note: Note) {
        if self.notes.try_send((pod.clone(), note)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What writes them. [`Writer::run`] has to run somewhere.
pub struct Writer {
    client: Client,
    book: Book,
    notes: mpsc::Receiver<(PodRef, Note)>,
    lost: Arc<AtomicU64>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writer").field("book", &self.book).finish_non_exhaustive()
    }
}

/// A reporter, and what writes what it says. `node` is who says it.
#[must_use]
pub fn reporter(client: Client, node: &str) -> (Reporter, Writer) {
    let (sender, notes) = mpsc::channel(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    let writer = Writer { client, book: Book::new(node), notes, lost: Arc::clone(&lost) };
    (Reporter { notes: sender, lost }, writer)
}

impl Writer {
    /// Writes until all reporters are dropped. What fails is tried again for a while; `told` hears of it, in one sentence.
    pub async fn run(mut self, mut told: impl FnMut(Option<String>) + Send) {
        loop {
            let due = match self.book.next(Instant::now().into_std()) {
                Next::Post(post) => {
                    let outcome = write(&self.client, &post, &mut told).await;
                    let lost = self.book.done(outcome, Instant::now().into_std());
                    self.lost.fetch_add(lost, Ordering::Relaxed);
                    continue;
                }
                Next::At(due) => Some(due),
                Next::Idle => None,
            };
            let waiting = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = waiting => {}
                note = self.notes.recv() => match note {
                    Some((pod, note)) => {
                        let lost = self.book.tell(pod, note, Instant::now().into_std(), Timestamp::now());
                        self.lost.fetch_add(lost, Ordering::Relaxed);
                    }
                    None => return,
                },
            }
        }
    }
}

async fn write(client: &Client, post: &Post, told: &mut impl FnMut(Option<String>)) -> Outcome {
    let of = |verb| Doing { verb, resource: "events", role: "ClusterRole portcullis-agent" };
    let path = format!("/api/v1/namespaces/{}/events", encode(&post.namespace));
    let sent = if post.create {
        send(client, (Method::POST, &path, "application/json"), &post.object, of("create")).await
    } else {
        let path = format!("{path}/{}", encode(&post.name));
        send(client, (Method::PATCH, &path, MERGE), &post.object, of("patch")).await
    };
    match sent {
        Ok(_) => {
            told(None);
            Outcome::Written
        }
        Err(trouble) if trouble.is_not_found() => Outcome::Missing,
        Err(Trouble { status: Some(409), .. }) => Outcome::Exists,
        Err(trouble) => {
            // A namespace that is on its way out takes nothing in any more, which is nobody's trouble.
            let ending = trouble.why.contains("being terminated");
            let hopeless = matches!(trouble.status, Some(400 | 403 | 422)) || ending;
            if !ending {
                told(Some(trouble.why));
            }
            if hopeless { Outcome::Refused } else { Outcome::Failed { retry_after: trouble.retry_after } }
        }
    }
}

#[cfg(test)]
mod tests;
