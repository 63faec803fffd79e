//! What must hold whatever a cluster does, at a size that takes seconds. All time is virtual.

use std::time::Duration;

use portcullis_simulation::content::{Detail, Sizes};
use portcullis_simulation::fleet::{self, Told};
use portcullis_simulation::followers::{self, Followed};
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
    let plan = Plan { churn: 0.05, nodes: 20, ..small() };
    let (one, other) = (fleet::run(&plan, &[]), fleet::run(&plan, &[]));
    assert_eq!(one.writes, other.writes);
    assert_ne!(one.writes, fleet::run(&Plan { seed: 2, ..plan }, &[]).writes);
}

#[test]
fn traffic_does_not_change_what_is_asked() {
    let brief = || Plan { nodes: 10, time: seconds(300), ..small() };
    for plan in [brief(), Plan { churn: 0.05, ..brief() }, brief().with(Happening::Outage(seconds(60)))] {
        let calm = fleet::run(&plan, &[]);
        for traffic in [0.2, 2.0] {
            let busy = fleet::run(&Plan { traffic, ..plan.clone() }, &[]);
            assert_eq!(calm.writes, busy.writes, "each write, at the same time");
            let all = |told: &Told| told.ledger.requests(|_| true);
            assert_eq!(all(&calm), all(&busy));
        }
    }
}

#[test]
fn whole_maps_are_written_when_slim_ones_are() {
    let slim = Plan { nodes: 4, churn: 0.05, ..small() };
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
        let plan = Plan { nodes: 12, ..plan };
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
    let times: Vec<f64> = told.writes[0].iter().map(|(at, _)| *at).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] > 0.999), "{times:?}");
    // A burst of 25, one a second then; and the hub's, for each pod at most that it has to wait and that it was ended.
    assert!(told.ledger.kubernetes_events().within(60, 120) <= 25 + 60 + 2 * u64::from(PODS));
}

#[test]
fn statuses_of_policies_are_summed_up() {
    let plan = Plan { churn: 0.1, time: seconds(300), nodes: 30, ..small().with(Happening::Forging(30)) };
    let told = fleet::run(&plan, &[]);
    let statuses = told.ledger.requests(|kind| kind.resource == "gatepolicies/status").total();
    // Once in half a minute for each policy, and once for each pod that was ended.
    assert!(statuses <= 300 / 30 * 5 + 30, "{statuses}");
}

/// How many of all requests after an outage come within one second.
fn herd(plan: &Plan, followed: &Followed, back: usize) -> (f64, u64) {
    let mut told = fleet::run(plan, &followed.cuts);
    told.ledger.merge(&followed.ledger);
    let all = told.ledger.requests(|_| true);
    let within = all.within(back, back + 60);
    (all.peak_within(back, back + 60) as f64 / within as f64, within)
}

#[test]
fn a_herd_after_an_outage_is_spread() {
    // Enough nodes for chance to even out; half a minute's jitter would be about 1/25 in each second.
    let plan = Plan { nodes: 100, time: seconds(360), ..small().with(Happening::Outage(seconds(240))) };
    let (share, within) = herd(&plan, &followers::run(&plan).unwrap(), 300);
    assert!(within > 100, "everybody is back within a minute: {within}");
    assert!(share < 0.15, "{share} of all requests of the first minute come within one second");
}

#[test]
fn watches_are_opened_again_as_reckoned() {
    let plan = Plan { nodes: 60, ..small() };
    let followed = followers::run(&plan).unwrap();
    let asked = followed.ledger.requests(|kind| kind.verb == "watch").total() as f64;
    let reckoned = plan.time.as_secs_f64() * Estimate::watches(plan.nodes);
    assert!((0.85..1.15).contains(&(asked / reckoned)), "{asked} {reckoned}");
    assert!(followed.cuts.is_empty());
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
    for (churn, pods, nodes) in [(0.001, 110, 200), (0.01, 110, 60), (0.01, 30, 100), (0.1, 110, 10)] {
        for interval in [10, 30] {
            let plan = Plan { churn, pods, nodes, interval: seconds(interval), ..small() };
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
