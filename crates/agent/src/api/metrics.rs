//! `/metrics`: counters for Prometheus, computed from [`Control`]'s snapshots at each scrape.
//!
//! Labels are bounded by what operators and runtimes declare (endpoints, their namespaces and pods, sources)
//! and by fixed lists (verdicts, reasons, states): never anything that a frame can choose. Labels of
//! containers are none of them: whoever starts a container chooses those.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::http::HeaderMap;
use portcullis_abi::DropReason;
use portcullis_policy::api::{
    ActionOutcome, Counters, Endpoint, EndpointState, SourceState, SourceStatus, Status,
};
use portcullis_policy::guard::Response;
use portcullis_policy::model::Mode;
use portcullis_web::Refusal;
use portcullis_web::metrics::{counter, gauge};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::Shared;
use crate::control::Control;
use crate::shield::Signs;

/// The registry; it holds no counts.
pub(super) struct Metrics(Registry);

impl Metrics {
    /// Metrics over `control`.
    pub(super) fn new(control: Arc<dyn Control>) -> Self {
        let mut registry = Registry::with_prefix("portcullis");
        registry.register_collector(Box::new(Snapshot { control }));
        Self(registry)
    }
}

/// Counters for Prometheus: OpenMetrics to whoever accepts it, else the older text format.
#[utoipa::path(get, path = "/metrics", operation_id = "getMetrics", tag = "health",
    responses((status = 200, description = "Prometheus text or OpenMetrics",
        content((String = "text/plain"), (String = "application/openmetrics-text")))))]
pub(super) async fn serve(app: Shared, headers: HeaderMap) -> Result<axum::response::Response, Refusal> {
    portcullis_web::metrics::answer(&app.metrics.0, &headers)
}

type ActionCount = (Response, ActionOutcome, u64);

/// Computes everything anew at each scrape.
struct Snapshot {
    control: Arc<dyn Control>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let endpoints = self.control.endpoints();
        packets(&mut encoder, &endpoints)?;
        bytes(&mut encoder, &endpoints)?;
        spoof_attempts(&mut encoder, &endpoints)?;
        unreported(&mut encoder, &endpoints)?;
        states(&mut encoder, &endpoints)?;
        // The endpoints may be many: gone before the status is made.
        drop(endpoints);
        actions(&mut encoder, &self.control.actions())?;
        let status = self.control.summary();
        sources(&mut encoder, &status.sources)?;
        if let Some(shield) = self.control.shield() {
            shield_counts(&mut encoder, &shield.signs())?;
        }
        agent(&mut encoder, &status)
    }
}

/// An endpoint's own labels.
fn labels(endpoint: &Endpoint) -> [(&'static str, &str); 3] {
    [
        ("endpoint", &endpoint.name),
        ("namespace", endpoint.workload.namespace.as_deref().unwrap_or("")),
        ("pod", endpoint.workload.pod.as_deref().unwrap_or("")),
    ]
}

/// Which verdict frames with this reason got. The kernel counts verdicts and reasons apart; they
/// meet exactly as long as an endpoint has not changed its mode, afterwards the reasons follow
/// the present mode (so that what rises now rises under the verdict it gets now).
fn verdict_of(reason: &str, endpoint: &Endpoint) -> &'static str {
    let Counters { dropped, audited, .. } = &endpoint.counters;
    if reason == DropReason::IcmpQuote.name() {
        return "noticed";
    }
    match (dropped.packets, audited.packets) {
        (0, 0) => "noticed",
        (_, 0) => "dropped",
        (0, _) => "audited",
        _ if endpoint.mode == Mode::Enforce || endpoint.state == EndpointState::Quarantined => "dropped",
        _ => "audited",
    }
}

fn packets(encoder: &mut DescriptorEncoder<'_>, endpoints: &[Endpoint]) -> fmt::Result {
    let help = "Frames from an endpoint, by verdict and, where there is one, reason.";
    let mut metric = encoder.encode_descriptor("packets", help, None, MetricType::Counter)?;
    for endpoint in endpoints {
        let [name, namespace, pod] = labels(endpoint);
        let allowed = [name, namespace, pod, ("verdict", "allowed"), ("reason", "")];
        counter(&mut metric, &allowed, endpoint.counters.allowed.packets)?;
        for (reason, count) in &endpoint.counters.reasons {
            // The list of reasons is fixed; whatever else stood here would be an unbounded label.
            if *count == 0 || reason.parse::<DropReason>().is_err() {
                continue;
            }
            let verdict = ("verdict", verdict_of(reason, endpoint));
            counter(&mut metric, &[name, namespace, pod, verdict, ("reason", reason)], *count)?;
        }
    }
    Ok(())
}

fn bytes(encoder: &mut DescriptorEncoder<'_>, endpoints: &[Endpoint]) -> fmt::Result {
    let help = "Bytes from an endpoint, from the Ethernet header on, by verdict.";
    let mut metric = encoder.encode_descriptor("bytes", help, None, MetricType::Counter)?;
    for endpoint in endpoints {
        let [name, namespace, pod] = labels(endpoint);
        let Counters { allowed, dropped, audited, .. } = &endpoint.counters;
        for (verdict, count) in [("allowed", allowed), ("dropped", dropped), ("audited", audited)] {
            counter(&mut metric, &[name, namespace, pod, ("verdict", verdict)], count.bytes)?;
        }
    }
    Ok(())
}

fn spoof_attempts(encoder: &mut DescriptorEncoder<'_>, endpoints: &[Endpoint]) -> fmt::Result {
    let help = "Hostile attempts: frames that claimed an identity or a role that is not the endpoint's.";
    let mut metric = encoder.encode_descriptor("spoof_attempts", help, None, MetricType::Counter)?;
    for endpoint in endpoints {
        counter(&mut metric, &[("endpoint", endpoint.name.as_str())], endpoint.attempts)?;
    }
    Ok(())
}

fn unreported(encoder: &mut DescriptorEncoder<'_>, endpoints: &[Endpoint]) -> fmt::Result {
    let help = "Counted frames that no event told of, because events are sampled.";
    let mut metric = encoder.encode_descriptor("unreported_packets", help, None, MetricType::Counter)?;
    for endpoint in endpoints {
        counter(&mut metric, &[("endpoint", endpoint.name.as_str())], endpoint.counters.unreported)?;
    }
    Ok(())
}

fn states(encoder: &mut DescriptorEncoder<'_>, endpoints: &[Endpoint]) -> fmt::Result {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for endpoint in endpoints {
        *counts.entry((mode_name(endpoint.mode), state_name(endpoint.state))).or_default() += 1;
    }
    let help = "Endpoints by mode and state.";
    let mut metric = encoder.encode_descriptor("endpoints", help, None, MetricType::Gauge)?;
    for ((mode, state), count) in counts {
        gauge(&mut metric, &[("mode", mode), ("state", state)], count)?;
    }
    Ok(())
}

/// Every pair is there from the start, so that a rate sees the first one.
fn actions(encoder: &mut DescriptorEncoder<'_>, counts: &[ActionCount]) -> fmt::Result {
    let help = "Answers to endpoints over their threshold, by what was to be done and what came of it.";
    let mut metric = encoder.encode_descriptor("actions", help, None, MetricType::Counter)?;
    for response in Response::ALL {
        for outcome in ActionOutcome::ALL {
            let of = |(r, o, _): &&ActionCount| (r, o) == (response, outcome);
            let count = counts.iter().find(of).map_or(0, |(.., count)| *count);
            counter(&mut metric, &[("response", response.name()), ("outcome", outcome.name())], count)?;
        }
    }
    Ok(())
}

fn sources(encoder: &mut DescriptorEncoder<'_>, sources: &[SourceStatus]) -> fmt::Result {
    let help = "Whether a source of containers is connected: read, and followed.";
    let mut metric = encoder.encode_descriptor("source_up", help, None, MetricType::Gauge)?;
    for source in sources {
        let up = source.state == SourceState::Connected;
        gauge(&mut metric, &[("source", source.name.as_str())], u64::from(up))?;
    }
    let help = "Containers that a source tells of now.";
    let mut metric = encoder.encode_descriptor("containers", help, None, MetricType::Gauge)?;
    for source in sources {
        gauge(&mut metric, &[("source", source.name.as_str())], u64::from(source.containers))?;
    }
    Ok(())
}

fn shield_counts(encoder: &mut DescriptorEncoder<'_>, signs: &Signs) -> fmt::Result {
    let help = "Entries of the shield's blocklist, of all sources.";
    let metric = encoder.encode_descriptor("blocklist_entries", help, None, MetricType::Gauge)?;
    ConstGauge::new(i64::try_from(signs.entries).unwrap_or(i64::MAX)).encode(metric)?;
    let help = "Places where the shield stands now.";
    let metric = encoder.encode_descriptor("shield_places", help, None, MetricType::Gauge)?;
    ConstGauge::new(i64::try_from(signs.places.len()).unwrap_or(i64::MAX)).encode(metric)?;
    let help = "Frames that the shield has dropped, by reason.";
    let mut metric = encoder.encode_descriptor("shield_dropped_packets", help, None, MetricType::Counter)?;
    for (reason, packets) in &signs.counters.reasons {
        counter(&mut metric, &[("reason", reason.as_str())], *packets)?;
    }
    let help = "Bytes of these frames, from the Ethernet header on.";
    let metric = encoder.encode_descriptor("shield_dropped_bytes", help, None, MetricType::Counter)?;
    ConstCounter::new(signs.counters.dropped.bytes).encode(metric)
}

fn agent(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let help = "Events that were due and lost.";
    let metric = encoder.encode_descriptor("events_lost", help, None, MetricType::Counter)?;
    ConstCounter::new(status.events_lost).encode(metric)?;
    let help = "Repairs of hooks, pins and tables since the agent started.";
    let metric = encoder.encode_descriptor("repairs", help, None, MetricType::Counter)?;
    ConstCounter::new(status.repairs).encode(metric)?;
    let help = "Entries in use, by kernel map.";
    let mut metric = encoder.encode_descriptor("map_entries", help, None, MetricType::Gauge)?;
    gauge(&mut metric, &[("map", "endpoints")], u64::from(in_kernel(status)))?;
    let help = "Room for entries, by kernel map.";
    let mut metric = encoder.encode_descriptor("map_capacity", help, None, MetricType::Gauge)?;
    gauge(&mut metric, &[("map", "endpoints")], u64::from(status.endpoints.capacity))?;
    let help = "Always 1; the label tells the version of the agent.";
    let mut metric = encoder.encode_descriptor("build_info", help, None, MetricType::Gauge)?;
    gauge(&mut metric, &[("version", status.version.as_str())], 1)
}

/// Waiting and failed endpoints have no entry.
fn in_kernel(status: &Status) -> u32 {
    status.endpoints.active.saturating_add(status.endpoints.quarantined)
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Audit => "audit",
        Mode::Off => "off",
    }
}

fn state_name(state: EndpointState) -> &'static str {
    match state {
        EndpointState::Active => "active",
        EndpointState::Waiting => "waiting",
        EndpointState::Quarantined => "quarantined",
        EndpointState::Bypassed => "bypassed",
        EndpointState::Failed => "failed",
    }
}
