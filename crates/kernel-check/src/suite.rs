//! The published suite by test run: verdicts, and counters exactly.

use anyhow::{Context, Result, bail};
use portcullis_abi::{Counters, DropReason, Mode};
use portcullis_datapath::{Gate, Settings};
use portcullis_probe::cases::{Case, Expect, Identity, SendVia, suite};

use crate::Report;
use crate::kernel::{Action, BINDING, Kernel, endpoint};

/// Cases whose frames some kernel does not take for a test run: runts, super-packets.
const MOST_REFUSED: usize = 12;
const ETHERNET_LEN: usize = 14;

/// Runs every case, in enforce mode, in audit mode and without Ethernet headers.
pub fn check(report: &mut Report) {
    let identity = Identity::default();
    let cases = suite(&identity);
    let mut refused = Vec::new();
    match opened(&identity, "suite", Mode::Enforce) {
        Err(error) => {
            report.check("suite", || Err(error));
        }
        Ok(mut kernel) => {
            for case in &cases {
                report.check(case.id, || {
                    if !one(&mut kernel, case)? {
                        refused.push(case.id);
                    }
                    Ok(())
                });
            }
        }
    }
    report.check("suite-refused", || {
        println!("the kernel refused test runs of: {}", refused.join(" "));
        if refused.len() > MOST_REFUSED {
            bail!("{} cases are not taken for test runs: {}", refused.len(), refused.join(" "));
        }
        Ok(())
    });
    report.check("audit", || audit(&identity, &cases));
    report.check("layer3", || layer3(&identity, &cases));
}

fn opened(identity: &Identity, name: &str, mode: Mode) -> Result<Kernel> {
    let kernel = Kernel::open(name, Settings::default())?;
    let nodes: Vec<_> =
        [identity.node4.map(|node| node.mapped()), identity.node6].into_iter().flatten().collect();
    kernel.opened.tables.set_nodes(&nodes)?;
    kernel.bind(&endpoint(identity, mode), &[], &[])?;
    Ok(kernel)
}

/// `false` where the kernel does not take the case's frames.
fn one(kernel: &mut Kernel, case: &Case) -> Result<bool> {
    let gso_size = if matches!(case.via, SendVia::Gso { .. }) { 1400 } else { 0 };
    let mut taken = true;
    for frame in &case.frames {
        let before = kernel.counters()?;
        let Some(action) = kernel.try_run(Gate::Ethernet, frame, gso_size)? else {
            taken = false;
            continue;
        };
        let (want, expected) = owed(case, before, frame.len() as u64);
        let mut after = kernel.counters()?;
        (after.unsampled, after.lost, after.mild) = (before.unsampled, before.lost, before.mild);
        // An odd but honest frame also counts its reason.
        if case.expect.is_pass() {
            after.reasons = before.reasons;
        }
        if action != want {
            bail!("{}: {action:?} instead of {:?}", case.title, case.expect);
        }
        if after != expected {
            bail!("{}: counters are {after:?} instead of {expected:?}", case.title);
        }
    }
    Ok(taken)
}

fn owed(case: &Case, before: Counters, len: u64) -> (Action, Counters) {
    let mut expected = before;
    match case.expect {
        Expect::Pass => {
            expected.allowed.packets += 1;
            expected.allowed.bytes += len;
            (Action::Next, expected)
        }
        Expect::Drop(reason) => {
            expected.dropped.packets += 1;
            expected.dropped.bytes += len;
            expected.reasons[usize::from(reason.number())] += 1;
            (Action::Drop, expected)
        }
    }
}

/// Audit mode passes and counts exactly what enforce mode would drop, and events tell of it.
fn audit(identity: &Identity, cases: &[Case]) -> Result<()> {
    let mut kernel = opened(identity, "audit", Mode::Audit)?;
    let mut forged = 0;
    let mut honest = 0;
    for case in cases {
        for frame in &case.frames {
            let Some(action) = kernel.try_run(Gate::Ethernet, frame, 0)? else { continue };
            if action != Action::Next {
                bail!("{} was dropped", case.id);
            }
            if case.expect.is_pass() { honest += 1 } else { forged += 1 }
        }
    }
    let counters = kernel.counters()?;
    // Without its GSO mark a super-packet's lengths may be wrong: those pass on the other side.
    let super_packets = cases.iter().filter(|case| matches!(case.via, SendVia::Gso { .. })).count() as u64;
    let seen = (counters.allowed.packets, counters.audited.packets);
    if seen.0 + seen.1 != honest + forged || seen.1.abs_diff(forged) > super_packets {
        bail!("{seen:?} allowed and audited instead of {honest} and {forged}");
    }
    if counters.dropped.packets != 0 {
        bail!("{} were dropped", counters.dropped.packets);
    }
    let mut problems = Vec::new();
    let mut events = 0;
    kernel.opened.events.drain(|event| {
        events += 1;
        if event.dropped != 0 || event.slot != BINDING || DropReason::from_number(event.reason).is_none() {
            problems.push(format!("{event:?}"));
        }
    });
    if let Some(problem) = problems.first() {
        bail!("an event is wrong: {problem}");
    }
    let due: u64 = counters.reasons.iter().sum();
    if events == 0 || events + counters.unsampled + counters.lost != due {
        bail!("{events} events, {} sampled out, {} lost, of {due}", counters.unsampled, counters.lost);
    }
    Ok(())
}

/// What remains of the suite where frames begin with an IP header. Test runs give every program
/// an Ethernet header, so what it must say of that is `malformed`, unless it happens to look like IP.
fn layer3(identity: &Identity, cases: &[Case]) -> Result<()> {
    let mut kernel = opened(identity, "layer3", Mode::Enforce)?;
    let honest = cases.iter().find(|case| case.expect.is_pass()).context("no honest case")?;
    let frame = honest.frames.first().context("no frame")?;
    let action = kernel.try_run(Gate::Layer3, frame, 0)?.context("refused")?;
    let counters = kernel.counters()?;
    let malformed = counters.reasons[usize::from(DropReason::Malformed.number())];
    if action != Action::Drop || malformed != 1 {
        bail!("an Ethernet frame came to {action:?}, {malformed} malformed");
    }
    // An Ethernet destination that reads as the start of an IPv4 header.
    for case in cases.iter().filter(|case| case.group == "ipv4") {
        for packet in case.frames.iter().filter_map(|frame| frame.get(ETHERNET_LEN..)) {
            let Some(action) = kernel.try_run(Gate::Layer3, packet, 0)? else { continue };
            let spoofed = case.expect == Expect::Drop(DropReason::SpoofedIpv4);
            if case.expect.is_pass() && action != Action::Next || spoofed && action != Action::Drop {
                bail!("{}: {action:?} without its Ethernet header", case.id);
            }
        }
    }
    Ok(())
}
