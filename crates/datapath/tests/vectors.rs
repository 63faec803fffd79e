//! The published suite through the loaded kernel programs, by test run. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic")]

mod common;

use portcullis_abi::Mode;
use portcullis_probe::cases::{Expect, Identity, SendVia, suite};

use common::{BINDING, DROP, Kernel, NEXT, endpoint};

/// Test runs take frames of more than an Ethernet header.
fn runnable(frame: &[u8]) -> bool {
    frame.len() > 14
}

#[test]
fn every_case_gets_the_verdict_it_is_owed_and_moves_only_its_counters() {
    let identity = Identity::default();
    let mut kernel = Kernel::open("suite");
    let nodes: Vec<_> =
        [identity.node4.map(|node| node.mapped()), identity.node6].into_iter().flatten().collect();
    kernel.opened.tables.set_nodes(&nodes).unwrap();
    kernel.bind(&endpoint(&identity, Mode::Enforce));
    let (mut wrong, mut refused) = (Vec::new(), Vec::new());
    for case in suite(&identity) {
        for frame in case.frames.iter().filter(|frame| runnable(frame)) {
            let before = kernel.counters();
            let Some(action) = kernel.try_run(frame, matches!(case.via, SendVia::Gso { .. })) else {
                refused.push(case.id);
                continue;
            };
            let mut expected = before;
            let want = match case.expect {
                Expect::Pass => {
                    expected.allowed.packets += 1;
                    expected.allowed.bytes += frame.len() as u64;
                    NEXT
                }
                Expect::Drop(reason) => {
                    expected.dropped.packets += 1;
                    expected.dropped.bytes += frame.len() as u64;
                    expected.reasons[usize::from(reason.number())] += 1;
                    DROP
                }
            };
            let mut after = kernel.counters();
            (after.unsampled, after.lost, after.mild) = (before.unsampled, before.lost, before.mild);
            // An odd but honest frame also counts its reason.
            if case.expect.is_pass() {
                after.reasons = before.reasons;
            }
            if action != want || after != expected {
                wrong.push(format!("{}: {:?} — action {action}, {:?}", case.id, case.expect, after));
            }
        }
    }
    assert!(refused.len() <= 8, "the kernel refused test runs of {refused:?}");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn audit_passes_and_counts_what_enforce_would_drop() {
    let identity = Identity::default();
    let mut kernel = Kernel::open("audit");
    kernel.bind(&endpoint(&identity, Mode::Audit));
    let mut drops = 0;
    for case in suite(&identity).iter().filter(|case| !case.expect.is_pass()) {
        for frame in case.frames.iter().filter(|frame| runnable(frame)) {
            let node_case = case.expect.reason() == Some(portcullis_abi::DropReason::Tunnel);
            let Some(action) = kernel.try_run(frame, false) else { continue };
            assert_eq!(action, NEXT, "{}", case.id);
            drops += u64::from(!node_case);
        }
    }
    let counters = kernel.counters();
    assert_eq!(counters.audited.packets, drops);
    assert_eq!(counters.dropped.packets, 0);
    let mut events = 0;
    kernel.opened.events.drain(|event| {
        assert_eq!(event.dropped, 0);
        assert!(event.reason > 0);
        events += 1;
    });
    assert!(events > 0);
    assert_eq!(events as u64 + counters.unsampled + counters.lost, counters.reasons.iter().sum::<u64>());
}

#[test]
fn an_unbound_interface_does_what_the_setting_says_and_quarantine_drops_all() {
    let identity = Identity::default();
    let honest = suite(&identity).into_iter().find(|case| case.expect.is_pass()).unwrap().frames.remove(0);
    let mut kernel = Kernel::open("unbound");
    assert_eq!(kernel.run(&honest, false), NEXT);
    kernel.bind(&endpoint(&identity, Mode::Audit));
    assert!(kernel.opened.tables.set_quarantine(BINDING, true));
    assert_eq!(kernel.run(&honest, false), DROP);
    assert!(kernel.opened.tables.set_quarantine(BINDING, false));
    assert_eq!(kernel.run(&honest, false), NEXT);
}

#[test]
fn every_program_is_accepted() {
    let mut kernel = Kernel::open("report");
    for program in kernel.opened.datapath.report().unwrap() {
        println!("{} {} {}", program.name, program.verified_instructions, program.jited_len);
    }
}
