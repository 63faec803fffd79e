//! What not every kernel has, and what is shown.

use std::num::NonZeroU32;

use anyhow::{Context, Result, bail, ensure};
use portcullis_abi::DropEvent;
use portcullis_abi::shield::guard::GuardConfig;
use portcullis_abi::shield::rules::TICKS_PER_NS;
use portcullis_datapath::shield::{EventBudget, Profile, Program, Shield};
use portcullis_datapath::{Features, Settings};

use super::Fort;
use super::frames::{Asked, SYN, UDP, Wrap};
use crate::Report;
use crate::kernel::{Kernel, base};

const ACK: u8 = 16;
const SENT: i32 = 3;
const PASSED: i32 = 2;

pub fn check(report: &mut Report) {
    report.check("shield-cookies", cookies);
    report.check("shield-monitor", monitor);
}

/// A plain TCP segment with an option for the segment size.
fn segment(port: u16, sequence: u32, acknowledged: u32, flags: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 9, 10, 0, 0, 1]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 80]);
    frame.extend(sequence.to_be_bytes());
    frame.extend(acknowledged.to_be_bytes());
    frame.extend([0x60, flags, 0x72, 0x10, 0, 0, 0, 0, 2, 4, 5, 0xb4]);
    frame
}

/// A SYN of a flood is answered where the kernel makes cookies, and dropped elsewhere.
fn cookies() -> Result<()> {
    const HOUR_TICKS: u64 = 3_600_000_000_000 * TICKS_PER_NS;
    let mut fort = Fort::open("shield-cookies")?;
    let guard =
        GuardConfig { syn_cost: HOUR_TICKS, syn_burst: HOUR_TICKS, cookies: 1, ..GuardConfig::default() };
    fort.shield.configure(fort.profile, EventBudget { per_second: 0, burst: 0 }, Some(guard))?;
    let mut run = |frame: &[u8]| fort.shield.test(fort.profile, Program::Xdp, frame, 1);
    ensure!(run(&segment(1, 7, 0, SYN))?.action == PASSED, "a SYN within the limit does not pass");
    let answer = run(&segment(2, 7, 0, SYN))?;
    if !Features::detect().syn_cookies {
        println!("no SYN cookies for programs");
        ensure!(answer.action == 1, "a SYN over the limit comes to {}", answer.action);
        return Ok(());
    }
    ensure!(answer.action == SENT, "a SYN over the limit comes to {}", answer.action);
    let tcp = answer.frame.get(34..58).context("the answer is short")?;
    ensure!(tcp.get(8..14) == Some(&[0, 0, 0, 8, 0x60, 0x12]), "no SYN-ACK: {tcp:02x?}");
    let cookie = tcp.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let cookie = cookie.context("no cookie")?;
    ensure!(run(&segment(2, 8, cookie.wrapping_add(1), ACK))?.action == PASSED, "the ACK does not pass");
    ensure!(run(&segment(3, 7, 0, SYN))?.action == PASSED, "who has proved that it is real does not pass");
    Ok(())
}

fn monitor() -> Result<()> {
    let base = base("shield-monitor");
    let mut gate = Kernel::at(&base, Settings::default())?;
    let shield = Shield::beside(&base, &gate.opened.datapath)?;
    let profile = Profile::new(5).context("there are fewer firewalls than that")?;
    let mut fort = Fort { shield, profile, base };
    fort.shield.monitor(profile, NonZeroU32::new(1))?;
    let frames = [Asked::new("10.0.0.9", UDP, 80), Asked::new("2001:db8::9", UDP, 80).wrapped(Wrap::Tagged)];
    for frame in frames.map(Asked::frame) {
        fort.expect("a frame that is shown", &frame, false)?;
    }
    let (mut shown, mut others) = (0, 0);
    gate.opened.events.drain(|event| match (event.reason, event.dropped, event.slot) {
        (DropEvent::MONITOR_REASON, 0, DropEvent::SHIELD_SLOT) => shown += 1,
        _ => others += 1,
    });
    match (shown, others) {
        (4, 0) => Ok(()),
        _ => bail!("{shown} frames were shown, of four on two hooks, and there were {others} other events"),
    }
}
