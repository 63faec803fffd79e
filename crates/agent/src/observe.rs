//! Kernel events, made readable and passed on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_abi::{DropEvent, DropReason};
use portcullis_datapath::{EventStream, monotonic_ns};
use portcullis_policy::api::{DropRecord, Event, PacketRecord};
use portcullis_policy::shield::rules::Protocol;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::answer::{Evidence, Trip};
use crate::attribution::Attribution;
use crate::control::Control as _;
use crate::core::Agent;
use crate::decode::decode;

/// Time between two looks at a workload's own addresses.
const LEARN_PAUSE: Duration = Duration::from_secs(1);

/// Turns kernel events into records, for as long as the agent runs. Endpoints that reached their threshold go
/// to whoever answers, before anything else is done.
pub async fn observe(
    agent: Arc<Agent>,
    mut events: EventStream,
    trips: mpsc::Sender<Trip>,
    evidence: Arc<Evidence>,
) -> std::io::Result<()> {
    let mut observer =
        Observer { agent, trips, evidence, attribution: Attribution::new(), learned: HashMap::new() };
    loop {
        let mut batch = Vec::new();
        events.drain(|event| batch.push(*event));
        for event in batch.iter().filter(|event| event.tripped != 0) {
            observer.trip(event);
        }
        if batch.is_empty() {
            events.wait().await?;
        } else {
            tokio::task::yield_now().await;
        }
        for event in &batch {
            observer.tell(event);
            // Endpoints' budgets bound what comes; other tasks get their turn all the same.
            tokio::task::yield_now().await;
        }
    }
}

struct Observer {
    agent: Arc<Agent>,
    trips: mpsc::Sender<Trip>,
    evidence: Arc<Evidence>,
    attribution: Attribution,
    learned: HashMap<String, Instant>,
}

impl Observer {
    /// Tells whoever answers that an endpoint reached its threshold.
    fn trip(&mut self, event: &DropEvent) {
        let Some(endpoint) = self.agent.note_trip(event.slot, event.timestamp_ns) else { return };
        let trip = Trip {
            endpoint,
            attempts: event.attempts,
            threshold: u32::from(event.threshold),
            timestamp_ns: event.timestamp_ns,
            cgroup: self.attribution.sender(event.cgroup_id, None).cgroup,
        };
        if let Err(TrySendError::Full(trip) | TrySendError::Closed(trip)) = self.trips.try_send(trip) {
            tracing::error!(
                endpoint = trip.endpoint,
                "an endpoint that reached its threshold is answered later"
            );
            self.agent.put_off_trip(&trip.endpoint);
        }
    }

    /// A packet for whoever looks at the monitor.
    fn show(&self, event: &DropEvent) {
        let decoded = decode(event, false);
        let signs = self.agent.shield().map(|shield| shield.signs()).unwrap_or_default();
        let sign = signs.places.get(&(event.netns, event.ifindex));
        let (source, destination) = decoded.addresses.unzip();
        let (source_port, destination_port) = decoded.ports.unzip();
        self.agent.bus().show(PacketRecord {
            time: wall_clock(event.timestamp_ns),
            container: sign.and_then(|sign| sign.container.clone()),
            interface: sign.map(|sign| sign.interface.clone()),
            ifindex: event.ifindex,
            netns: event.netns,
            source,
            destination,
            protocol: decoded.protocol.map(Protocol),
            source_port,
            destination_port,
            length: event.len,
            summary: decoded.summary,
        });
    }

    /// What the shield reports: of an interface, not of who sent it.
    fn tell_of_shield(&self, event: &DropEvent) {
        let decoded = decode(event, false);
        let signs = self.agent.shield().map(|shield| shield.signs()).unwrap_or_default();
        let sign = signs.places.get(&(event.netns, event.ifindex));
        // Numbers of rules count from 1 here.
        let rule = event.attempts.checked_sub(1).and_then(|number| u16::try_from(number).ok());
        let record = DropRecord {
            time: wall_clock(event.timestamp_ns),
            endpoint: sign.and_then(|sign| sign.container.clone()),
            interface: sign.map(|sign| sign.interface.clone()),
            ifindex: event.ifindex,
            netns: event.netns,
            reason: reason_text(event),
            verdict: if event.dropped == 1 { "dropped" } else { "logged" }.to_owned(),
            rule: rule.and_then(|number| signs.rules.get(&number).cloned()),
            claimed: decoded.claimed,
            bound: Vec::new(),
            sender: portcullis_policy::api::Sender::default(),
            length: event.len,
            summary: decoded.summary,
            frame: hex(event.frame.get(..event.captured as usize).unwrap_or(&event.frame)),
        };
        self.agent.bus().publish(Event::Drop(Box::new(record)));
    }

    fn tell(&mut self, event: &DropEvent) {
        match (event.slot, event.reason) {
            (DropEvent::SHIELD_SLOT, DropEvent::MONITOR_REASON) => return self.show(event),
            (DropEvent::SHIELD_SLOT, _) => return self.tell_of_shield(event),
            _ => {}
        }
        let suspect = self.agent.suspect(event.slot);
        let decoded = decode(event, suspect.as_ref().is_some_and(|suspect| suspect.layer3));
        let reason = DropReason::from_number(event.reason);
        let workload = suspect.as_ref().and_then(|suspect| suspect.workload);
        if let (Some(suspect), Some(reason)) = (&suspect, reason) {
            self.learn_if_due(&suspect.name, reason, decoded.claimed.address.as_deref());
        }
        let (name, interface, bound) = match suspect {
            Some(suspect) => (Some(suspect.name), Some(suspect.interface), suspect.bound),
            None => (None, self.agent.interface_name(event.netns, event.ifindex), Vec::new()),
        };
        let record = DropRecord {
            time: wall_clock(event.timestamp_ns),
            endpoint: name,
            interface,
            ifindex: event.ifindex,
            netns: event.netns,
            reason: reason_text(event),
            verdict: if event.dropped == 1 { "dropped" } else { "audited" }.to_owned(),
            rule: None,
            claimed: decoded.claimed,
            bound,
            sender: self.attribution.sender(event.cgroup_id, workload),
            length: event.len,
            summary: decoded.summary,
            frame: hex(event.frame.get(..event.captured as usize).unwrap_or(&event.frame)),
        };
        if let (1, Some(endpoint)) = (event.evidence, &record.endpoint) {
            self.evidence.keep(endpoint, event.timestamp_ns, &record);
        }
        self.agent.bus().publish(Event::Drop(Box::new(record)));
    }

    /// A link-local address that the kernel gave the workload after it was bound (stable privacy
    /// addresses, RFC 7217) looks forged until it is learned.
    fn learn_if_due(&mut self, name: &str, reason: DropReason, address: Option<&str>) {
        let unlearned = matches!(reason, DropReason::SpoofedIpv6 | DropReason::SpoofedNd)
            && address.is_some_and(|address| address.starts_with("fe80:"));
        let due = self.learned.get(name).is_none_or(|last| last.elapsed() >= LEARN_PAUSE);
        if unlearned && due {
            self.learned.retain(|_, last| last.elapsed() < LEARN_PAUSE);
            self.learned.insert(name.to_owned(), Instant::now());
            self.agent.learn_again(name);
        }
    }
}

/// RFC 3339 of a moment of the monotonic clock.
pub(crate) fn wall_clock(timestamp_ns: u64) -> String {
    let age = monotonic_ns().saturating_sub(timestamp_ns);
    let age = jiff::SignedDuration::from_nanos(i64::try_from(age).unwrap_or(i64::MAX));
    let now = jiff::Timestamp::now();
    now.checked_sub(age).unwrap_or(now).to_string()
}

fn reason_text(event: &DropEvent) -> String {
    let reason = DropReason::from_number(event.reason);
    reason.map_or_else(|| format!("reason-{}", event.reason), |reason| reason.name().to_owned())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
