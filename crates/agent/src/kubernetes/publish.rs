//! Gives the node's map to whoever writes it to the API server, whenever there may be something new.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use portcullis_kubernetes::crd::{AgentInfo, EndpointMapStatus, MOST_OFFENDERS, Offender};
use portcullis_kubernetes::publish::{self, PublishConfig};
use portcullis_policy::api::{Event, SourceState, SourceStatus};
use portcullis_policy::model::Owner;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::{Shared, content, lock};
use crate::control::Control;
use crate::core::KUBERNETES;

/// The map is put together at most this often.
const PAUSE: Duration = Duration::from_millis(500);
/// And at least this often: an event may have been lost.
const ANYWAY: Duration = Duration::from_secs(30);
/// After a start the map of before stands for as long, unless somebody tells of pods.
const SILENCE: Duration = Duration::from_secs(20);

/// Publishes for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut book = Book::default();
    let patience = Instant::now() + SILENCE;
    let (offers, offered) = watch::channel(None);
    let client = super::client(&shared, |why| tracing::debug!(why, "no client yet")).await;
    let config = PublishConfig {
        client,
        node: shared.section.node.clone(),
        interval: shared.section.publish_interval.duration(),
    };
    let told = |trouble: Option<String>| match trouble {
        Some(why) => tracing::warn!(why, "the node's map cannot be published; it is tried again"),
        None => tracing::debug!("the node's map was published"),
    };
    let writing = publish::run(config, offered, told);
    tokio::pin!(writing);
    let mut events = shared.agent.bus().subscribe();
    let mut news = shared.news.subscribe();
    let mut is_due = false;
    loop {
        if !is_due {
            tokio::select! {
                () = &mut writing => return,
                () = something(&mut events, &mut news) => {}
            }
        }
        is_due = false;
        if !has_spoken(&shared) && Instant::now() < patience {
            continue;
        }
        offers.send_replace(Some(Arc::new(book.content(&shared))));
        tokio::select! {
            () = &mut writing => return,
            due = pause(&mut events) => is_due = due,
        }
    }
}

/// Waits a little, so that many changes are put together once, but for no pod that is to be ended. Whether something came meanwhile.
async fn pause(events: &mut broadcast::Receiver<Arc<Event>>) -> bool {
    let over = tokio::time::sleep(PAUSE);
    tokio::pin!(over);
    let mut something = false;
    loop {
        tokio::select! {
            () = &mut over => return something,
            event = events.recv() => match event.as_deref() {
                Ok(Event::Drop(_)) => {}
                Ok(Event::Action(_)) => return true,
                Ok(Event::Notice(notice)) if notice.topic == "quarantined" => return true,
                _ => something = true,
            },
        }
    }
}

/// Whether somebody has told of this node's pods: before, the map would be empty for no reason.
fn has_spoken(shared: &Shared) -> bool {
    let is_heard =
        |source: &SourceStatus| matches!(source.kind, Owner::Cri | Owner::Kubernetes) && source.resyncs > 0;
    shared.agent.map().sources.iter().any(is_heard)
}

/// Until there may be something new.
async fn something(events: &mut broadcast::Receiver<Arc<Event>>, news: &mut watch::Receiver<()>) {
    let anyway = tokio::time::sleep(ANYWAY);
    tokio::pin!(anyway);
    loop {
        tokio::select! {
            () = &mut anyway => return,
            _ = news.changed() => return,
            event = events.recv() => match event.as_deref() {
                // Traffic is no news: what a node writes must not grow with it.
                Ok(Event::Drop(_)) => {}
                _ => return,
            },
        }
    }
}

/// What stays the same from one map to the next.
#[derive(Default)]
struct Book {
    conditions: Vec<Condition>,
    /// Offenders as they were reported first: what is counted on meanwhile is no news.
    offenders: HashMap<String, Offender>,
}

impl Book {
    fn content(&mut self, shared: &Shared) -> EndpointMapStatus {
        let agent = &shared.agent;
        let (map, endpoints, status) = (agent.map(), agent.endpoints(), agent.summary());
        let rows = content::rows(&map, &endpoints);
        let offenders = self.offenders(shared);
        self.conditions = self.conditions(shared, &map.sources);
        EndpointMapStatus {
            agent: AgentInfo {
                version: status.version,
                pod: std::env::var("POD_NAME").ok(),
                started: Some(status.started),
                peer: shared.peer.clone(),
            },
            published: None,
            summary: content::summary(&rows, offenders.len()),
            endpoints: rows,
            offenders,
            policies: lock(&shared.applied).clone(),
            conditions: self.conditions.clone(),
        }
    }

    fn offenders(&mut self, shared: &Shared) -> Vec<Offender> {
        let now: Vec<Offender> = shared.agent.offences().iter().filter_map(content::offender).collect();
        self.offenders.retain(|uid, _| now.iter().any(|offender| offender.uid == *uid));
        let mut known: Vec<Offender> = now
            .into_iter()
            .map(|offender| self.offenders.entry(offender.uid.clone()).or_insert(offender).clone())
            .collect();
        known.sort_by(|a, b| a.time.cmp(&b.time).then_with(|| a.uid.cmp(&b.uid)));
        known.dedup_by(|a, b| a.uid == b.uid);
        // The first come first; the rest is told when there is room.
        known.truncate(MOST_OFFENDERS);
        known
    }

    fn conditions(&self, shared: &Shared, sources: &[SourceStatus]) -> Vec<Condition> {
        let now = Timestamp::now();
        let ready = shared.agent.ready().err().map(|why| ("NotInPlace", why));
        let pods = sources.iter().find(|source| source.name == KUBERNETES);
        let pods = pods.filter(|source| source.state == SourceState::Failing);
        let pods = pods.and_then(|source| source.message.clone());
        let api: Vec<String> = pods.into_iter().chain(lock(&shared.policies_trouble).clone()).collect();
        let api = (!api.is_empty()).then(|| ("Failing", api.join("; ")));
        let others: Vec<_> = sources.iter().filter(|source| source.name != KUBERNETES).cloned().collect();
        let made = [
            ("Ready", ready, ("GateInPlace", "the gate is in place")),
            ("ApiAccess", api, ("Following", "pods and gate policies are followed")),
            (
                "Runtimes",
                content::runtimes_trouble(&others),
                ("Connected", "the node's container runtime is followed"),
            ),
        ];
        made.into_iter()
            .map(|(kind, trouble, good)| content::condition(&self.conditions, kind, trouble, good, now))
            .collect()
    }
}
