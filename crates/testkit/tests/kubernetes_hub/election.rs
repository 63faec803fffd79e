//! Who leads.

use portcullis_testkit::{wait_for, wait_until};
use rustix::process::Signal;

use crate::cluster::{Cluster, Hub};

#[test]
fn of_three_one_leads_and_the_next_one_when_it_is_killed_or_stopped() {
    let cluster = Cluster::start();
    let mut hubs: Vec<Hub> = (0..3).map(|number| cluster.hub(number, &[])).collect();
    let leaders =
        |hubs: &[Hub]| -> Vec<usize> { (0..hubs.len()).filter(|at| cluster.leads(&hubs[*at])).collect() };
    let wait_leader = |hubs: &[Hub]| {
        wait_for("one to lead", || {
            let leaders = leaders(hubs);
            assert!(leaders.len() < 2, "{leaders:?} lead");
            leaders.first().copied()
        })
        .unwrap()
    };
    let first = wait_leader(&hubs);
    assert_eq!(cluster.holder(), hubs[first].name);
    wait_until("all to be ready", || {
        hubs.iter().all(|hub| cluster.plain(hub, "/readyz").is_some_and(|(status, _)| status == 200))
    })
    .unwrap();

    // Killed: the others wait for the whole lease.
    hubs.remove(first).process.kill9().unwrap();
    let second = wait_leader(&hubs);
    assert_eq!(cluster.holder(), hubs[second].name);

    // Stopped: it gives the lease back.
    let mut stopped = hubs.remove(second);
    stopped.process.signal(Signal::TERM).unwrap();
    assert!(stopped.process.wait().unwrap().success(), "{}", cluster.log(&stopped));
    assert_ne!(cluster.holder(), stopped.name);
    wait_leader(&hubs);
    assert_eq!(cluster.holder(), hubs[0].name);
}
