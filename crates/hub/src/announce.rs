//! Events on objects: what `kubectl describe` shows.
//!
//! They are written as core/v1 Events with times and counts, since that is what every `kubectl describe` reads well
//! (events.k8s.io/v1 forbids these fields, and 1.20 then shows `<unknown>`). The same again is counted in the same
//! Event. Never does anything wait for them: what cannot be queued or written is counted as lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

use crate::clock::{Moment, now};
use crate::dice;
use crate::troubles::{Asking, Troubles};

const COMPONENT: &str = "portcullis-hub";
const CONTROLLER: &str = "portcullis.dev/hub";
/// What the API server takes.
const MOST_MESSAGE: usize = 1000;
const QUEUE: usize = 512;
/// Events are kept by the API server for an hour; then a new one is made.
const REMEMBERED: Duration = Duration::from_secs(3000);
const PATIENCE: Duration = Duration::from_secs(10);
/// At most so many at once, and so many a second then.
const BURST: f64 = 50.0;
const RATE: f64 = 5.0;

/// An object that something is said about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subject {
    /// `v1`, ….
    pub api_version: String,
    /// `Pod`, ….
    pub kind: String,
    /// Its namespace; empty: it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// Something to be said.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// Of what.
    pub subject: Subject,
    /// Whether somebody should look.
    pub warning: bool,
    /// In one word.
    pub reason: &'static str,
    /// In one sentence.
    pub message: String,
}

/// Where announcements go.
#[derive(Clone, Debug)]
pub struct Announcer {
    queue: mpsc::Sender<Announcement>,
    lost: Arc<AtomicU64>,
}

impl Announcer {
    /// One, and what is to be given to [`run`].
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Announcement>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Self { queue, lost: Arc::default() }, receiver)
    }

    /// Says it, some time soon.
    pub fn say(&self, announcement: Announcement) {
        if self.queue.try_send(announcement).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// An Event that was made.
struct Made {
    name: String,
    count: i32,
    at: Moment,
}

/// Writes what is announced, for ever.
pub async fn run(
    client: Client,
    instance: String,
    announcer: Announcer,
    mut queue: mpsc::Receiver<Announcement>,
    troubles: Troubles,
) {
    let mut made: HashMap<(Subject, &'static str), Made> = HashMap::new();
    let (mut tokens, mut refilled) = (BURST, now());
    while let Some(announcement) = queue.recv().await {
        let present = now();
        tokens = BURST.min(tokens + RATE * present.saturating_sub(refilled).as_secs_f64());
        refilled = present;
        if tokens < 1.0 {
            tokio::time::sleep(Duration::from_secs_f64((1.0 - tokens) / RATE)).await;
        }
        tokens -= 1.0;
        made.retain(|_, made| present.saturating_sub(made.at) < REMEMBERED);
        let key = (announcement.subject.clone(), announcement.reason);
        let written =
            tokio::time::timeout(PATIENCE, write(&client, &instance, &announcement, made.remove(&key)));
        let asking = Asking { verb: "create", resource: "events", role: "ClusterRole portcullis-hub" };
        match written.await {
            Ok(Ok(event)) => {
                made.insert(key, event);
                troubles.clear("events");
            }
            Ok(Err(error)) => {
                announcer.lost.fetch_add(1, Ordering::Relaxed);
                troubles.set("events", asking.failed(&error), false);
            }
            Err(_) => {
                announcer.lost.fetch_add(1, Ordering::Relaxed);
                troubles.set("events", asking.silent(PATIENCE), false);
            }
        }
    }
}

async fn write(
    client: &Client,
    instance: &str,
    announcement: &Announcement,
    before: Option<Made>,
) -> Result<Made, kube::Error> {
    let Announcement { subject, warning, reason, message } = announcement;
    let message: String = message.chars().take(MOST_MESSAGE).collect();
    // Events about what has no namespace are kept in `default`.
    let namespace = if subject.namespace.is_empty() { "default" } else { &subject.namespace };
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let time = jiff::Timestamp::now();
    if let Some(before) = before {
        let (count, whole) = (before.count.saturating_add(1), Time(time));
        let patch = json!({"count": count, "lastTimestamp": whole, "message": message});
        match api.patch(&before.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => return Ok(Made { count, ..before }),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let stem: String = subject.name.chars().take(200).collect();
    let name = format!("{stem}.{:08x}{:08x}", dice::word(), dice::word());
    let event = Event {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.into()),
            ..Default::default()
        },
        involved_object: ObjectReference {
            api_version: Some(subject.api_version.clone()),
            kind: Some(subject.kind.clone()),
            namespace: Some(subject.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(subject.name.clone()),
            uid: Some(subject.uid.clone()).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        },
        type_: Some(if *warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some((*reason).to_owned()),
        message: Some(message),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: None }),
        first_timestamp: Some(Time(time)),
        last_timestamp: Some(Time(time)),
        count: Some(1),
        event_time: None::<MicroTime>,
        reporting_component: Some(CONTROLLER.into()),
        reporting_instance: Some(instance.chars().take(128).collect()),
        ..Event::default()
    };
    api.create(&PostParams::default(), &event).await?;
    Ok(Made { name, count: 1, at: now() })
}
