//! `/metrics`: counters for Prometheus, computed at each scrape.
//!
//! Labels are words of fixed lists: never a pod's or a node's name, which would be as many as the cluster is large.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use portcullis_kubernetes::crd::TerminationMethod;
use portcullis_web::metrics::{counter, gauge};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::api::App;
use crate::clock::now;
use crate::map::{Digest, NodeMap};

/// The registry; it holds no counts.
#[derive(Debug)]
pub struct Metrics(pub Registry);

impl Metrics {
    /// Metrics of a hub.
    #[must_use]
    pub fn new(app: &Arc<App>) -> Self {
        let mut registry = Registry::with_prefix("portcullis");
        registry.register_collector(Box::new(Snapshot(Arc::clone(app))));
        Self(registry)
    }
}

struct Snapshot(Arc<App>);

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let app = &*self.0;
        nodes(&mut encoder, app)?;
        endpoints(&mut encoder, app)?;
        frames(&mut encoder, app)?;
        terminations(&mut encoder, app)?;
        requests(&mut encoder, app)?;
        let help = "Whether this hub leads: only the leader ends pods.";
        let metric = encoder.encode_descriptor("hub_leader", help, None, MetricType::Gauge)?;
        ConstGauge::new(u64::from(app.leadership.is_certain(now()))).encode(metric)?;
        let help = "Pods over their threshold that wait to be ended.";
        let metric = encoder.encode_descriptor("hub_offenders", help, None, MetricType::Gauge)?;
        ConstGauge::new(u64::try_from(app.counters.offenders()).unwrap_or(0)).encode(metric)?;
        let help = "Things that are wrong with this hub now; its status says what.";
        let metric = encoder.encode_descriptor("hub_warnings", help, None, MetricType::Gauge)?;
        ConstGauge::new(u64::try_from(app.troubles.all().len()).unwrap_or(0)).encode(metric)?;
        let help = "Always 1; the label tells the version of the hub.";
        let mut metric = encoder.encode_descriptor("build_info", help, None, MetricType::Gauge)?;
        gauge(&mut metric, &[("version", env!("CARGO_PKG_VERSION"))], 1)
    }
}

fn nodes(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let totals = app.liveness.count(&app.world.map());
    let help = "Nodes by how their agent stands.";
    let mut metric = encoder.encode_descriptor("cluster_nodes", help, None, MetricType::Gauge)?;
    for (state, count) in [("present", totals.present), ("away", totals.away), ("missing", totals.missing)] {
        gauge(&mut metric, &[("state", state)], u64::from(count))?;
    }
    Ok(())
}

fn endpoints(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let standing = {
        let map = app.world.map();
        Digest::sum(map.maps().map(|map: &NodeMap| &map.digest)).1
    };
    let help = "Rows of all nodes' maps, by mode and state.";
    let mut metric = encoder.encode_descriptor("cluster_endpoints", help, None, MetricType::Gauge)?;
    for ((mode, state), count) in standing {
        gauge(&mut metric, &[("mode", mode), ("state", state)], count)?;
    }
    Ok(())
}

fn frames(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let totals = app.liveness.totals();
    let help = "Frames of all endpoints of all nodes that this hub has asked, by verdict.";
    let mut metric = encoder.encode_descriptor("cluster_packets", help, None, MetricType::Counter)?;
    let verdicts = [("allowed", totals.allowed), ("dropped", totals.dropped), ("audited", totals.audited)];
    for (verdict, count) in verdicts {
        counter(&mut metric, &[("verdict", verdict)], count)?;
    }
    let help = "Frames of all endpoints of all nodes that this hub has asked, by what was wrong with them.";
    let mut metric = encoder.encode_descriptor("cluster_violations", help, None, MetricType::Counter)?;
    for (reason, count) in &totals.reasons {
        counter(&mut metric, &[("reason", reason.as_str())], *count)?;
    }
    Ok(())
}

/// Every pair of the deeds is there from the start, so that a rate sees the first one.
fn terminations(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for method in [TerminationMethod::Delete, TerminationMethod::Evict] {
        let method = crate::reaper::method_name(method);
        for outcome in ["done", "gone", "failed", "blocked"] {
            counts.insert((method, outcome), 0);
        }
    }
    for (pair, count) in app.counters.terminations() {
        counts.insert(pair, count);
    }
    let help = "Pods over their threshold, by how they were (not) ended: for the method none, the outcome is why not.";
    let mut metric = encoder.encode_descriptor("hub_terminations", help, None, MetricType::Counter)?;
    for ((method, outcome), count) in counts {
        counter(&mut metric, &[("method", method), ("outcome", outcome)], count)?;
    }
    Ok(())
}

fn requests(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let help = "Answers of the API, by route and HTTP status.";
    let mut metric = encoder.encode_descriptor("hub_requests", help, None, MetricType::Counter)?;
    for ((route, status), count) in app.counters.requests() {
        let status = status.to_string();
        counter(&mut metric, &[("route", route.as_str()), ("status", status.as_str())], count)?;
    }
    Ok(())
}

/// So that a test may look at it without a scrape.
#[cfg(test)]
pub fn text(app: &Arc<App>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    _ = prometheus_client::encoding::text::encode(&mut text, &Metrics::new(app).0);
    text
}
