//! Dropping on a real device: live frames through a pair of interfaces in a namespace.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use portcullis_datapath::Namespace;
use portcullis_datapath::shield::{Ground, Program, Spot, XdpMode};
use portcullis_policy::shield::{Listing, Prefix4};
use serde_json::Value;

use super::{HANDFUL, Kernel, frame};
use crate::measure::median;
use crate::report::{Measure, Target};

pub const NAME: &str = "shield/veth-drop";
/// A program that drops everything without a look.
const REFERENCE: &str = "xdp-drop";

const ROUNDS: usize = 15;
/// Frames of a round: about a tenth of a second.
const FRAMES: u32 = 300_000;

/// Nanoseconds for each frame that is sent, arrives and is dropped, beside a program that drops everything.
pub fn measure(kernel: &Kernel) -> Result<Measure> {
    let pair = Pair::new()?;
    let (from, to) = (pair.index("s0")?, pair.index("s1")?);
    let namespace = Namespace::open(&pair.path())?;
    let profile = kernel.profile(1)?;
    let listed = HANDFUL.map(|address| (Prefix4::of(address, 32), Listing::BLOCK));
    kernel.publish(profile, &listed.collect())?;
    let spot = |ifindex| Spot { ifindex, ground: Ground::Xdp(Some(XdpMode::Native)) };
    let mut shield = kernel.shield.borrow_mut();
    // The sending side's queues take frames of a test run only with a program on it.
    let sender = shield.attach_program(&namespace, spot(from), profile, Program::Empty)?;
    let bytes = frame(HANDFUL.start);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (program, times) in [(Program::Xdp, &mut ours), (Program::Drop, &mut theirs)] {
            let placed = shield.attach_program(&namespace, spot(to), profile, program)?;
            let before = pair.received("s1")?;
            let started = Instant::now();
            shield.run_live(&namespace, Program::Send, &bytes, from, FRAMES)?;
            let elapsed = started.elapsed().as_secs_f64();
            let arrived = pair.received("s1")?.saturating_sub(before);
            ensure!(arrived > u64::from(FRAMES / 10), "only {arrived} of {FRAMES} frames have arrived");
            times.push(elapsed * 1e9 / arrived as f64);
            shield.detach(placed);
        }
    }
    shield.detach(sender);
    Ok(Measure::beside(NAME, median(ours), REFERENCE, median(theirs), Some(Target::Ratio(1.1))))
}

/// A namespace with a pair of interfaces, gone when this is dropped.
struct Pair {
    namespace: String,
}

impl Pair {
    fn new() -> Result<Self> {
        let pair = Self { namespace: format!("bench-shield-{}", std::process::id()) };
        ip(&["netns", "add", &pair.namespace])?;
        pair.ip(&["link", "add", "s0", "type", "veth", "peer", "name", "s1"])?;
        pair.ip(&["link", "set", "s0", "up"])?;
        pair.ip(&["link", "set", "s1", "up"])?;
        Ok(pair)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.namespace)
    }

    fn ip(&self, arguments: &[&str]) -> Result<String> {
        ip(&[&["-n", &self.namespace], arguments].concat())
    }

    fn link(&self, name: &str) -> Result<Value> {
        let mut links: Vec<Value> = serde_json::from_str(&self.ip(&["-j", "-s", "link", "show", name])?)?;
        links.pop().context("no such link")
    }

    fn index(&self, name: &str) -> Result<u32> {
        let index = self.link(name)?["ifindex"].as_u64().context("no index")?;
        Ok(u32::try_from(index)?)
    }

    /// Packets that have arrived, those that a program dropped among them.
    fn received(&self, name: &str) -> Result<u64> {
        self.link(name)?["stats64"]["rx"]["packets"].as_u64().context("no count of packets")
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.namespace]) {
            eprintln!("cannot remove the namespace {}: {error:#}", self.namespace);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(arguments).output().context("cannot start ip")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), errors.trim());
    Ok(String::from_utf8(output.stdout)?)
}
