//! What must hold whatever a cluster does, at a size that takes seconds. All time is virtual.

use std::time::Duration;

use portcullis_simulation::content::{Detail, Sizes};
use portcullis_simulation::fleet::{self, Told};
use portcullis_simulation::followers;
use portcullis_simulation::ledger::{Bytes, Kind};
use portcullis_simulation::plan::{Happening, Plan};
use portcullis_simulation::report::part;
use portcullis_simulation::surroundings::Estimate;

const NODES: u32 = 60;
const PODS: u32 = 30;
const WRITE: Kind = Kind::agent("patch", "endpointmaps/status");

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn small() -> Plan {
    Plan::quiet(NODES, PODS)
}

fn writes(told: &Told) -> u64 {
    told.ledger.requests(|kind| *kind == WRITE).total()
}

/// All that can happen.
fn stories() -> Vec<Plan> {
    vec![
        small(),
        Plan { churn: 0.05, ..small() },
        small().with(Happening::Rolling(seconds(300))),
        small().with(Happening::Reboots(0.2, seconds(120))),
        small().with(Happening::Outage(seconds(300))),
        small().with(Happening::Forging(20)),
        small().with(Happening::Flooding),
        small().with(Happening::Policy),
        small().with(Happening::Rollout),
        Plan { capacity: Some(5), churn: 0.02, ..small() },
    ]
}

#[test]
fn the_same_seed_gives_the_same() {
    let plan = Plan { churn: 0.05, ..small() };
    let (one, other) = (fleet::run(&plan, &[]), fleet::run(&plan, &[]));
    assert_eq!(one.writes, other.writes);
    assert_ne!(one.writes, fleet::run(&Plan { seed: 2, ..plan }, &[]).writes);
}

#[test]
fn traffic_does_not_change_what_is_asked() {
    for plan in [small(), Plan { churn: 0.05, ..small() }, small().with(Happening::Outage(seconds(60)))] {
        let calm = fleet::run(&plan, &[]);
        for traffic in [1.0, 20.0] {
            let busy = fleet::run(&Plan { traffic, ..plan.clone() }, &[]);
            assert_eq!(calm.writes, busy.writes, "each write, at the same time");
            let all = |told: &Told| told.ledger.requests(|_| true);
            assert_eq!(all(&calm), all(&busy));
        }
    }
}

#[test]
fn whole_maps_are_written_when_slim_ones_are() {
    let slim = Plan { nodes: 10, churn: 0.05, ..small() };
    let whole = Plan { detail: Detail::Whole, ..slim.clone() };
    assert_eq!(fleet::run(&slim, &[]).writes, fleet::run(&whole, &[]).writes);
}

#[test]
fn no_node_writes_twice_within_an_interval_but_for_offenders() {
    for plan in stories() {
        let interval = plan.interval.as_secs_f64();
        let anew = matches!(plan.happening, Happening::Rollout | Happening::Reboots(..));
        let told = fleet::run(&plan, &[]);
        let mut close = 0;
        for pair in told.writes.iter().flat_map(|writes| writes.windows(2)) {
            let [(first, pressing_before), (second, pressing)] = pair else { panic!() };
            let apart = second - first;
            // Times are sums of fractions.
            let least = if *pressing || *pressing_before { 1.0 } else { interval } - 1e-3;
            // Who is started anew knows nothing of the write before.
            if apart < least {
                assert!(anew, "{:?}: {apart}", plan.happening);
                close += 1;
            }
        }
        assert!(close <= u64::from(plan.nodes), "{:?}: {close}", plan.happening);
        let most = f64::from(NODES) * (plan.time.as_secs_f64() / interval + 1.0);
        let pressing = told.writes.iter().flatten().filter(|(_, pressing)| *pressing).count();
        assert!((writes(&told) as f64) < most + pressing as f64);
    }
}

#[test]
fn the_last_state_is_always_written() {
    for plan in stories() {
        let followed = followers::run(&plan).unwrap();
        let told = fleet::run(&plan, &followed.cuts);
        assert_eq!(told.wrong, 0, "{:?}", plan.happening);
    }
}

#[test]
fn offenders_are_told_at_once() {
    let told = fleet::run(&small().with(Happening::Forging(NODES)), &[]);
    let pressing = told.writes.iter().flatten().filter(|(at, pressing)| *pressing && *at > 960.0 - 1e-6);
    let early = pressing.filter(|(at, _)| *at < 961.1).count();
    assert_eq!(early, NODES as usize);
}

#[test]
fn a_flooding_node_writes_once_a_second_at_most() {
    let plan = Plan { churn: 0.0, ..small().with(Happening::Flooding) };
    let told = fleet::run(&plan, &[]);
    let mine = told.ledger.requests(|kind| *kind == WRITE);
    assert!(mine.rate(600).peak <= 2, "{:?}", mine.rate(600));
    // A burst of 25, one a second then, and the hub's.
    assert!(told.ledger.kubernetes_events().within(60, 120) < 25 + 60 + u64::from(PODS));
}

/// How many of all requests after an outage come within one second.
fn herd(plan: &Plan, back: usize) -> (f64, u64) {
    let followed = followers::run(plan).unwrap();
    let mut told = fleet::run(plan, &followed.cuts);
    told.ledger.merge(&followed.ledger);
    let all = told.ledger.requests(|_| true);
    let within = all.within(back, back + 60);
    (all.peak_within(back, back + 60) as f64 / within as f64, within)
}

#[test]
fn a_herd_after_an_outage_is_spread() {
    // Enough nodes for chance to even out; half a minute's jitter would be about 1/25 in each second.
    let plan = Plan { nodes: 300, ..small().with(Happening::Outage(seconds(300))) };
    let (share, within) = herd(&plan, 360);
    assert!(within > 300, "everybody is back within a minute: {within}");
    assert!(share < 0.15, "{share} of all requests of the first minute come within one second");
}

#[test]
fn a_server_that_is_busy_is_not_pressed() {
    let plan = Plan { capacity: Some(2), churn: 0.05, nodes: 200, ..small() };
    let told = fleet::run(&plan, &[]);
    let asked = writes(&told) + told.ledger.failures().total();
    // Everything that it takes is given to it, and what it turns away stays of the same order.
    assert!(writes(&told) > 600, "{}", writes(&told));
    assert!(asked < 20 * writes(&told), "{asked}");
    assert!(told.ledger.requests(|kind| *kind == WRITE).rate(600).peak <= 2);
}

#[test]
fn the_estimate_holds() {
    let sizes = Sizes::measured();
    for (churn, pods) in [(0.001, 110), (0.01, 110), (0.01, 30), (0.05, 30), (0.2, 110)] {
        for interval in [10, 30] {
            let plan = Plan { churn, pods, nodes: 300, interval: seconds(interval), ..small() };
            let told = fleet::run(&plan, &[]);
            let estimate = Estimate::new(&plan, &sizes);
            let time = plan.time.as_secs_f64();
            let real = writes(&told) as f64 / time;
            let ratio = real / estimate.writes;
            assert!(
                (0.8..1.2).contains(&ratio),
                "churn {churn}, {pods} pods, {interval} s: {real} {}",
                estimate.writes
            );
            let etcd = told.ledger.bytes_of(Bytes::Etcd).total() as f64 / time;
            assert!((0.75..1.25).contains(&(etcd / estimate.etcd)), "{etcd} {}", estimate.etcd);
            assert!((0.95..1.05).contains(&(told.at_rest as f64 / estimate.at_rest)));
            // A map is as old as its last wait.
            assert!(part(&told.ages, 0.5) <= 1.0 + interval as f64, "{}", part(&told.ages, 0.5));
        }
    }
}
