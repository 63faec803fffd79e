//! What tells us to look: the runtime's events.
//!
//! containerd's own event service comes first, although the container runtime interface has one:
//! containerd 1.7 gives each of its CRI events to one subscriber only (containerd issue 7318), so that ours
//! would go missing for the kubelet. CRI-O has only the interface's, and only where its configuration says
//! so; without, it ends the stream at once.

use std::time::{Duration, Instant};

use prost::Message;
use tokio::sync::mpsc;

use super::rpc::{Connection, CriError};
use super::wire::{ContainerEvent, Envelope, Nothing, STOPPED, Subject, SubscribeRequest};

const CONTAINERD_EVENTS: &str = "containerd.services.events.v1.Events";
/// Topics of beginnings and of ends. Those of `/sandboxes` come from sandboxes that are no tasks (VMs).
const BEGINNINGS: [&str; 2] = ["/tasks/start", "/sandboxes/start"];
const ENDS: [&str; 4] = ["/tasks/exit", "/tasks/delete", "/sandboxes/exit", "/containers/delete"];
/// A stream that ends sooner and empty is none.
const SERVED: Duration = Duration::from_secs(1);

/// A sandbox, or a container in one, that something happened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// It began.
    Began(String),
    /// It ended, or is about to.
    Ended(String),
}

/// Why there are no more triggers.
#[derive(Debug)]
pub(super) enum End {
    /// The runtime tells of nothing: it has to be asked.
    NotServed,
    /// The stream broke. Something may have been missed.
    Broken(String),
}

/// Passes on what the runtime tells, until it ends or the receiver is gone.
///
/// A server in Go answers a subscription with its first event and not before: there is no telling a stream
/// that waits from one that hangs. Who uses this also asks from time to time.
pub(super) async fn watch(connection: Connection, triggers: mpsc::Sender<Trigger>) -> End {
    match containerd(&connection, &triggers).await {
        Err(error) if error.is_unimplemented() => {}
        Err(error) => return End::Broken(error.to_string()),
        Ok(_) => return End::Broken("the runtime ended its stream of events".into()),
    }
    let began = Instant::now();
    match interface(&connection, &triggers).await {
        Err(error) if error.is_unimplemented() => End::NotServed,
        Ok(0) if began.elapsed() < SERVED => End::NotServed,
        Err(error) => End::Broken(error.to_string()),
        Ok(_) => End::Broken("the runtime ended its stream of events".into()),
    }
}

/// containerd's own events; the number of them.
async fn containerd(connection: &Connection, triggers: &mpsc::Sender<Trigger>) -> Result<u64, CriError> {
    let filter = |topic: &&str| format!("namespace==k8s.io,topic==\"{topic}\"");
    let request = SubscribeRequest { filters: BEGINNINGS.iter().chain(&ENDS).map(filter).collect() };
    let mut stream = connection.stream_of::<_, Envelope>(CONTAINERD_EVENTS, "Subscribe", request).await?;
    let mut count = 0;
    while let Some(envelope) = stream.next("Subscribe").await? {
        count += 1;
        let Some(trigger) = trigger_of(&envelope) else { continue };
        if triggers.send(trigger).await.is_err() {
            break;
        }
    }
    Ok(count)
}

fn trigger_of(envelope: &Envelope) -> Option<Trigger> {
    // Filtered here too: a server that does not know the filters sends everything.
    if envelope.namespace != "k8s.io" {
        return None;
    }
    let topic = envelope.topic.as_str();
    let subject = || Some(Subject::decode(envelope.event.as_ref()?.value.as_slice()).ok()?.id);
    match topic {
        _ if BEGINNINGS.contains(&topic) => Some(Trigger::Began(subject()?)),
        _ if ENDS.contains(&topic) => Some(Trigger::Ended(subject()?)),
        _ => None,
    }
}

/// The interface's events; the number of them.
async fn interface(connection: &Connection, triggers: &mpsc::Sender<Trigger>) -> Result<u64, CriError> {
    const METHOD: &str = "GetContainerEvents";
    let mut stream = connection.stream::<_, ContainerEvent>(METHOD, Nothing {}).await?;
    let mut count = 0;
    while let Some(event) = stream.next(METHOD).await? {
        count += 1;
        let sandbox = event.pod_sandbox_status.map(|status| status.id).filter(|id| !id.is_empty());
        if sandbox.is_some_and(|sandbox| sandbox != event.container_id) {
            continue; // of a container: it has its sandbox's network
        }
        let began = event.container_event_type < STOPPED;
        let trigger = if began { Trigger::Began } else { Trigger::Ended };
        if triggers.send(trigger(event.container_id)).await.is_err() {
            break;
        }
    }
    Ok(count)
}
