//! The answer in the kernel itself: attempts are counted, and over the threshold the next frame is dropped.

use anyhow::{Result, bail};
use portcullis_abi::{
    DropEvent, DropReason, Endpoint, HELD_BINDING, Ipv4, Ipv6, Mode, Response, UNBOUND_SLOT,
};
use portcullis_datapath::{Anchor, Gate, Settings};
use portcullis_probe::cases::Identity;

use crate::Report;
use crate::bindings::{own4, tcp4, udp6};
use crate::kernel::{Action, BINDING, Kernel, LOOPBACK, endpoint};

const DAY_MS: u32 = 86_400_000;
const FOREIGN4: Ipv4 = Ipv4([10, 0, 0, 77]);
/// A link-local address that nobody is known by.
const STRAY6: Ipv6 = Ipv6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7]);

/// All of it.
pub fn check(report: &mut Report) {
    let identity = Identity::default();
    for threshold in [1, 10, 100, 10_000] {
        report.check(&format!("threshold-{threshold}"), || reaches(&identity, threshold));
    }
    report.check("threshold-report", || only_reports(&identity, Mode::Enforce, Response::Report));
    report.check("threshold-audit", || only_reports(&identity, Mode::Audit, Response::Quarantine));
    report.check("noise", || noise(&identity));
    report.check("held", || held(&identity));
}

fn bound(name: &str, entry: &Endpoint) -> Result<Kernel> {
    // No budget of events: what reached the threshold is told all the same.
    let kernel = Kernel::open(name, Settings { event_rate: 0, event_burst: 0, ..Settings::default() })?;
    kernel.bind(entry, &[], &[])?;
    Ok(kernel)
}

fn told(kernel: &mut Kernel) -> Vec<u8> {
    let mut told = Vec::new();
    kernel.opened.events.drain(|event| told.push(event.tripped));
    told
}

fn reaches(identity: &Identity, threshold: u16) -> Result<()> {
    let entry = endpoint(identity, Mode::Enforce).with_threshold(threshold, DAY_MS, Response::Quarantine);
    let mut kernel = bound(&format!("threshold-{threshold}"), &entry)?;
    let honest = tcp4(identity, identity.mac, own4(identity)?);
    let forged = tcp4(identity, identity.mac, FOREIGN4);
    for _ in 1..threshold {
        kernel.expect("a forged frame", &forged, Action::Drop)?;
    }
    kernel.expect("an honest frame before", &honest, Action::Next)?;
    kernel.expect("the last forged frame", &forged, Action::Drop)?;
    kernel.expect("an honest frame after", &honest, Action::Drop)?;
    if kernel.try_run(Gate::Quarantine, &honest, 0)? != Some(Action::Drop) {
        bail!("frames to it pass");
    }
    let told = told(&mut kernel);
    if told != [DropEvent::QUARANTINED] {
        bail!("events tell {told:?}");
    }
    let conduct = kernel.opened.tables.conduct(BINDING)?;
    if !conduct.is_quarantined() || conduct.outstanding() != u64::from(threshold) {
        bail!("the table tells {conduct:?}");
    }
    kernel.opened.tables.forgive(BINDING)?;
    if !kernel.opened.tables.set_quarantine(BINDING, false) {
        bail!("the binding is gone");
    }
    kernel.expect("an honest frame when forgiven", &honest, Action::Next)
}

fn only_reports(identity: &Identity, mode: Mode, response: Response) -> Result<()> {
    let entry = endpoint(identity, mode).with_threshold(5, DAY_MS, response);
    let mut kernel = bound(&format!("report-{mode}"), &entry)?;
    let honest = tcp4(identity, identity.mac, own4(identity)?);
    let forged = tcp4(identity, identity.mac, FOREIGN4);
    let fate = if mode == Mode::Enforce { Action::Drop } else { Action::Next };
    for _ in 0..50 {
        kernel.expect("a forged frame", &forged, fate)?;
        kernel.expect("an honest frame", &honest, Action::Next)?;
    }
    let told = told(&mut kernel);
    if told != [DropEvent::TRIPPED] {
        bail!("events tell {told:?}");
    }
    let attempts = kernel.counters()?.attempts();
    if attempts != 50 {
        bail!("{attempts} attempts were counted");
    }
    Ok(())
}

fn noise(identity: &Identity) -> Result<()> {
    let entry = endpoint(identity, Mode::Enforce).with_threshold(1, DAY_MS, Response::Quarantine);
    let mut kernel = bound("noise", &entry)?;
    let honest = tcp4(identity, identity.mac, own4(identity)?);
    let stray = udp6(identity, identity.mac, STRAY6);
    for source in [Ipv4::UNSPECIFIED, Ipv4([169, 254, 7, 7]), Ipv4([127, 0, 0, 1])] {
        kernel.expect("noise", &tcp4(identity, identity.mac, source), Action::Drop)?;
    }
    kernel.expect("a stray link-local address", &stray, Action::Drop)?;
    kernel.expect("an honest frame", &honest, Action::Next)?;
    kernel.opened.tables.set_identity(STRAY6, true)?;
    kernel.expect("a neighbour's link-local address", &stray, Action::Drop)?;
    kernel.expect("an honest frame after that", &honest, Action::Drop)
}

fn held(identity: &Identity) -> Result<()> {
    let mut kernel = Kernel::open("held", Settings::default())?;
    let anchor = Anchor { netns: kernel.opened.datapath.primary(), ifindex: LOOPBACK };
    kernel.opened.tables.point(anchor, HELD_BINDING)?;
    let frame = tcp4(identity, identity.mac, own4(identity)?);
    kernel.expect("from it", &frame, Action::Drop)?;
    if kernel.try_run(Gate::Quarantine, &frame, 0)? != Some(Action::Drop) {
        bail!("frames to it pass");
    }
    let counters = kernel.opened.tables.counters(UNBOUND_SLOT)?;
    if counters.reasons[usize::from(DropReason::Unbound.number())] != 2 {
        bail!("it is not counted as unbound: {counters:?}");
    }
    kernel.opened.tables.point(anchor, 0)?;
    kernel.expect("let go", &frame, Action::Next)
}
