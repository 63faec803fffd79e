//! Results: for people and for programs, in the form of `./dev bench`.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::content::Sizes;
use crate::fleet::Told;
use crate::hub::{Peering, Store5000};
use crate::ledger::{Bytes, Kind, Rate, Who, number};
use crate::plan::{BEGINS, Happening, Plan};
use crate::surroundings::{Anyhow, Estimate, Job};

/// A measure, as `--json` writes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measure {
    /// `scale/normal/api-requests-per-second`.
    pub name: String,
    /// Of ours.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it is compared with.
    pub reference: Option<&'static str>,
    /// Of that.
    pub reference_value: Option<f64>,
    /// `value` by `reference_value`.
    pub ratio: Option<f64>,
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Measure {
    fn alone(name: String, value: f64, unit: &'static str) -> Self {
        Self { name, value: round(value), unit, reference: None, reference_value: None, ratio: None }
    }

    fn beside(name: String, value: f64, unit: &'static str, reference: &'static str, other: f64) -> Self {
        Self {
            reference: Some(reference),
            reference_value: Some(round(other)),
            ratio: (other > 0.0).then(|| round(value / other)),
            ..Self::alone(name, value, unit)
        }
    }
}

const MB: f64 = 1e6;

/// What a plan came to.
#[must_use]
pub fn of_plan(name: &str, plan: &Plan, told: &Told) -> Vec<Measure> {
    let seconds = usize::try_from(plan.time.as_secs()).unwrap_or(1);
    let replaced = replaced(plan);
    let anyhow = Anyhow::new(plan.nodes, replaced);
    let job = Job::new(f64::from(plan.nodes) * f64::from(plan.pods));
    let named = |what: &str| format!("scale/{name}/{what}");
    let ledger = &told.ledger;
    let all = ledger.requests(|_| true).rate(seconds);
    let writes = ledger.requests(is_write).rate(seconds);
    let bytes = |of: Bytes| ledger.bytes_of(of).rate(seconds);
    // The estimate knows of nothing but pods that come and go.
    let estimate = Estimate::new(plan, &Sizes::measured());
    let reckoned = |what: &str, wanted: &dyn Fn(&Kind) -> bool, estimate: f64| {
        let mean = ledger.requests(wanted).rate(seconds).mean;
        match plan.happening {
            Happening::Nothing => Measure::beside(named(what), mean, "1/s", "estimate", estimate),
            _ => Measure::alone(named(what), mean, "1/s"),
        }
    };
    let mut measures = vec![
        Measure::beside(named("api-requests-per-second"), all.mean, "1/s", "kubelet-leases", anyhow.leases),
        Measure::alone(named("api-requests-p99"), number(all.p99), "1/s"),
        Measure::alone(named("api-requests-peak"), number(all.peak), "1/s"),
        Measure::beside(named("api-writes-per-second"), writes.mean, "1/s", "cluster-writes", anyhow.writes),
        Measure::alone(named("api-writes-peak"), number(writes.peak), "1/s"),
        reckoned("map-writes-per-second", &|kind| *kind == WRITE, estimate.writes),
        reckoned("watches-per-second", &|kind| kind.verb == "watch", Estimate::watches(plan.nodes)),
        Measure::beside(
            named("etcd"),
            bytes(Bytes::Etcd).mean / MB,
            "MB/s",
            "cluster-etcd",
            anyhow.etcd / MB,
        ),
        Measure::alone(named("etcd-peak"), number(bytes(Bytes::Etcd).peak) / MB, "MB/s"),
        Measure::alone(named("etcd-at-rest"), number(told.at_rest) / MB, "MB"),
        Measure::beside(
            named("answered"),
            bytes(Bytes::Answered).mean / MB,
            "MB/s",
            "r5-lists-all-pods",
            job.bytes / MB,
        ),
        Measure::alone(named("to-hubs"), bytes(Bytes::ToHubs).mean / MB, "MB/s"),
        Measure::alone(named("to-hubs-peak"), number(bytes(Bytes::ToHubs).peak) / MB, "MB/s"),
        Measure::alone(named("policies-to-agents"), bytes(Bytes::ToAgents).mean / MB, "MB/s"),
        Measure::alone(named("pods-to-agents"), bytes(Bytes::OfPods).mean / MB, "MB/s"),
        Measure::alone(named("watch-events-per-second"), ledger.watch_events().rate(seconds).mean, "1/s"),
        Measure::alone(
            named("kubernetes-events-per-second"),
            ledger.kubernetes_events().rate(seconds).mean,
            "1/s",
        ),
        Measure::alone(
            named("kubernetes-events-peak"),
            number(ledger.kubernetes_events().rate(seconds).peak),
            "1/s",
        ),
        Measure::alone(named("map-age-p50"), part(&told.ages, 0.5), "s"),
        Measure::alone(named("map-age-p99"), part(&told.ages, 0.99), "s"),
        Measure::alone(named("nodes-wrong-at-the-end"), f64::from(told.wrong), "nodes"),
    ];
    if let Some((_, back)) = plan.away() {
        let from = usize::try_from(back.as_secs()).unwrap_or(0);
        let herd = ledger.requests(|_| true).peak_within(from, from + 60);
        let writes = ledger.requests(is_write).peak_within(from, from + 60);
        measures.push(Measure::alone(named("herd-peak"), number(herd), "1/s"));
        measures.push(Measure::alone(named("herd-writes-peak"), number(writes), "1/s"));
        let written = ledger.requests(|kind| *kind == WRITE).within(from, from + 120);
        measures.push(Measure::alone(named("herd-map-writes"), number(written), "writes"));
    }
    if matches!(plan.happening, Happening::Policy | Happening::Rollout) {
        let from = usize::try_from(BEGINS.as_secs()).unwrap_or(0);
        let written = ledger.requests(|kind| *kind == WRITE).within(from, seconds);
        measures.push(Measure::alone(named("map-writes"), number(written), "writes"));
    }
    measures
}

/// Pods that are replaced in a second.
fn replaced(plan: &Plan) -> f64 {
    let pods = f64::from(plan.nodes) * f64::from(plan.pods);
    let rolling = match plan.happening {
        Happening::Rolling(time) => pods / time.as_secs_f64(),
        _ => 0.0,
    };
    pods * plan.churn / 60.0 + rolling
}

const WRITE: Kind = Kind::agent("patch", "endpointmaps/status");

fn is_write(kind: &Kind) -> bool {
    matches!(kind.verb, "patch" | "create" | "update" | "delete")
}

/// The value below which this part of all is.
#[must_use]
pub fn part(sorted: &[f64], part: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = (number(sorted.len() as u64) * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// What a hub came to.
#[must_use]
pub fn of_hub(store: &Store5000, peering: &Peering, nodes: u32) -> Vec<Measure> {
    let named = |what: &str| format!("scale/hub/{what}");
    let probes = f64::from(nodes) / 30.0;
    vec![
        Measure::alone(named("memory"), store.resident_mb, "MB"),
        Measure::alone(named("memory-while-listing"), store.relisting_mb, "MB"),
        Measure::alone(named("decode-an-update"), store.decode_us, "us"),
        Measure::alone(named("put-an-update"), store.put_us, "us"),
        Measure::alone(named("look-for-offenders"), store.offenders_us, "us"),
        Measure::alone(named("sum-up-policies"), store.sum_ms, "ms"),
        Measure::alone(named("read-everything"), store.list_s, "s"),
        Measure::alone(named("probes-per-second"), probes, "1/s"),
        Measure::alone(named("connection"), peering.connection_kb, "kB"),
        Measure::alone(
            named("connections-of-all-agents"),
            peering.connection_kb * f64::from(nodes) / 1000.0,
            "MB",
        ),
        Measure::alone(named("first-probe"), peering.first_us, "us"),
        Measure::alone(named("probe"), peering.next_us, "us"),
        Measure::alone(named("probing-cpu"), peering.next_us * probes / 1e4, "%"),
    ]
}

/// Requests by kind: mean and peak.
#[must_use]
pub fn kinds(plan: &Plan, told: &Told) -> Table {
    let seconds = usize::try_from(plan.time.as_secs()).unwrap_or(1);
    let mut table = blank(&["REQUEST", "MEAN/s", "P99", "PEAK"]);
    let mut row = |title: &str, rate: Rate| {
        table.add_row([
            title.to_owned(),
            format!("{:.2}", rate.mean),
            rate.p99.to_string(),
            rate.peak.to_string(),
        ]);
    };
    for (kind, series) in told.ledger.kinds() {
        row(&kind.title(), series.rate(seconds));
    }
    row("agents", told.ledger.requests(|kind| kind.who == Who::Agent).rate(seconds));
    row("hubs", told.ledger.requests(|kind| kind.who == Who::Hub).rate(seconds));
    right(&mut table, &[1, 2, 3]);
    table
}

/// The measures for people.
#[must_use]
pub fn table(measures: &[Measure]) -> Table {
    let mut table = blank(&["MEASURE", "VALUE", "UNIT", "REFERENCE", "RATIO"]);
    for measure in measures {
        let reference = match (measure.reference, measure.reference_value) {
            (Some(name), Some(value)) => format!("{name} {value:.2}"),
            _ => "-".to_owned(),
        };
        table.add_row([
            measure.name.clone(),
            format!("{:.2}", measure.value),
            measure.unit.to_owned(),
            reference,
            measure.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3} ×")),
        ]);
    }
    right(&mut table, &[1, 4]);
    table
}

fn blank(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.iter().copied());
    table
}

fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
