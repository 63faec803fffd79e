//! Second to fourth act: the gate goes up, holds, and holds without its agent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use portcullis_policy::api::Endpoint;
use portcullis_testkit::{Agent, Flood, Lab, OUTSIDE_V4, OUTSIDE_V6, Pace, PingStream, Pings, wait_until};

use crate::attack::{self, Kind, Watch};
use crate::interrupt::Interrupt;
use crate::screen::{Screen, number};
use crate::{NAMES, lab};

/// How long mallory goes on while no agent runs.
const UNATTENDED: Duration = Duration::from_secs(2);
/// How often the table is drawn: on a terminal, elsewhere.
const REDRAW: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    /// Forged frames sent.
    pub sent: u64,
    /// Of these, arrived.
    pub arrived: u64,
    /// Honest pings.
    pub pings: PingTotals,
    /// Forged frames sent while no agent ran.
    pub sent_unattended: u64,
    /// Of these, arrived.
    pub arrived_unattended: u64,
    /// What the gate counted as dropped from mallory.
    pub dropped: u64,
    /// And from the others.
    pub dropped_others: u64,
}

/// Sums over all pings.
#[derive(Default)]
pub struct PingTotals {
    /// Sent.
    pub sent: u64,
    /// Answered.
    pub received: u64,
}

impl PingTotals {
    /// Whether there were some, and all were answered.
    pub fn none_lost(&self) -> bool {
        self.sent > 0 && self.sent == self.received
    }
}

impl Outcome {
    /// Whether exactly what was forged was counted, and against its sender.
    pub fn counts_exact(&self) -> bool {
        self.dropped == self.sent && self.dropped_others == 0
    }
}

/// Shows all of it.
pub fn show(screen: &Screen, interrupt: &Interrupt, time: Duration) -> Result<Outcome> {
    let lab = lab()?;
    let mut agent = go_up(screen, &lab)?;
    let outcome = play(screen, interrupt, time, &lab, &mut agent);
    if outcome.is_err() && !interrupt.came() {
        screen.title("What the agent said", "");
        screen.text(&agent.log());
    }
    outcome
}

fn play(
    screen: &Screen,
    interrupt: &Interrupt,
    time: Duration,
    lab: &Lab,
    agent: &mut Agent,
) -> Result<Outcome> {
    interrupt.check()?;
    let kinds = attack::kinds(lab)?;
    let watch = Watch::start(lab, &kinds)?;
    let pings = honest(lab)?;
    let mallory = lab.container(3).namespace();
    let pace = Pace { per_second: 1000, time: Duration::MAX, ..Pace::default() };
    let flood = Flood::start(mallory, "eth0", attack::frames(&kinds), pace)?;
    let mut outcome = Outcome::default();

    screen.title("3  The same forgeries, while everybody works", "live, as the gate counts");
    live(screen, interrupt, agent, &flood, &watch, time)?;
    unattended(screen, interrupt, agent, &flood, &watch, &mut outcome)?;

    outcome.sent = flood.stop()?;
    for stream in pings {
        let Pings { sent, received } = stream.stop()?;
        outcome.pings.sent += sent;
        outcome.pings.received += received;
    }
    let endpoints = settled(agent, outcome.sent)?;
    let arrived = watch.stop()?;
    outcome.arrived = arrived.iter().sum();
    for endpoint in &endpoints {
        let dropped = endpoint.counters.dropped.packets;
        if endpoint.name == "mallory" {
            outcome.dropped += dropped
        } else {
            outcome.dropped_others += dropped
        }
    }
    by_kind(screen, &kinds, &arrived, outcome.sent);
    agent.stop()?;
    Ok(outcome)
}

/// Starts the agent and binds the containers, as a person would.
fn go_up(screen: &Screen, lab: &Lab) -> Result<Agent> {
    screen.title("2  The gate goes up", "what a person types");
    screen.blank();
    screen.command("portcullis agent &");
    let agent = Agent::start(lab)?;
    for (container, name) in lab.containers().iter().zip(NAMES) {
        let (interface, addresses) = (container.host_interface(), container.addresses());
        screen.command(&format!(
            "portcullis endpoint bind {name} --interface {interface} --address {addresses}"
        ));
        agent.bind(name, container, &[])?;
    }
    Ok(agent)
}

/// Everybody talks to somebody, mallory too.
fn honest(lab: &Lab) -> Result<Vec<PingStream>> {
    let (web, db, mallory) = (lab.container(1), lab.container(2), lab.container(3));
    let (to_web, to_db6) = (web.ipv4().to_string(), db.ipv6().to_string());
    Ok(vec![
        web.ping_stream(OUTSIDE_V4)?,
        web.ping_stream(&to_db6)?,
        db.ping_stream(&to_web)?,
        db.ping_stream(OUTSIDE_V6)?,
        mallory.ping_stream(OUTSIDE_V4)?,
        mallory.ping_stream("fd77::1")?,
    ])
}

fn live(
    screen: &Screen,
    interrupt: &Interrupt,
    agent: &Agent,
    flood: &Flood,
    watch: &Watch,
    time: Duration,
) -> Result<()> {
    let every = if screen.is_terminal() { REDRAW.0 } else { REDRAW.1 };
    let end = Instant::now() + time;
    let mut drawn = 0;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut lines = table(screen, &agent.endpoints()?);
        lines.push(format!(
            "  forged {} · arrived {}{}",
            number(flood.sent()),
            number(watch.total()),
            if left.is_zero() {
                String::new()
            } else {
                screen.heading(&format!("   {} s to go", left.as_secs() + 1))
            },
        ));
        screen.redraw(drawn, &lines);
        drawn = lines.len();
        if left.is_zero() {
            return Ok(());
        }
        interrupt.sleep(every.min(left))?;
    }
}

/// The counters, one line an endpoint, and below it its reasons.
fn table(screen: &Screen, endpoints: &[Endpoint]) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        screen.heading(&format!("  {:<9} {:>9} {:>9}   by reason", "endpoint", "allowed", "dropped")),
    ];
    for endpoint in endpoints {
        let counters = &endpoint.counters;
        let reasons = counters.reasons.iter().filter(|(_, n)| **n > 0);
        let reasons: Vec<String> = reasons.map(|(name, n)| format!("{name} {}", number(*n))).collect();
        // Two a line: a line that a terminal breaks could not be drawn over.
        let mut parts = reasons.chunks(2).map(|part| part.join(" · "));
        let allowed = number(counters.allowed.packets);
        let dropped = number(counters.dropped.packets);
        let first = parts.next().unwrap_or_default();
        lines.push(
            format!("  {:<9} {allowed:>9} {dropped:>9}   {first}", endpoint.name).trim_end().to_owned(),
        );
        lines.extend(parts.map(|part| format!("{:34}{part}", "")));
    }
    lines
}

/// Kills the agent, lets mallory go on, and starts it again.
fn unattended(
    screen: &Screen,
    interrupt: &Interrupt,
    agent: &mut Agent,
    flood: &Flood,
    watch: &Watch,
    outcome: &mut Outcome,
) -> Result<()> {
    screen.title("4  The agent is killed", "the gate is in the kernel and needs nobody");
    screen.blank();
    screen.command("kill -9 $(pidof portcullis)");
    let before = (flood.sent(), watch.total());
    let counted = agent.endpoint("mallory")?.counters.dropped.packets;
    agent.kill9()?;
    interrupt.sleep(UNATTENDED)?;
    outcome.sent_unattended = flood.sent() - before.0;
    outcome.arrived_unattended = watch.total() - before.1;
    screen.text(&format!(
        "  {} forged frames in {} s without an agent, {} arrived",
        number(outcome.sent_unattended),
        UNATTENDED.as_secs(),
        number(outcome.arrived_unattended),
    ));
    screen.command("portcullis agent &");
    agent.restart()?;
    let now = agent.endpoint("mallory")?.counters.dropped.packets;
    screen.text(&format!(
        "  the new agent took over what it found: mallory's dropped frames went on from {} to {}",
        number(counted),
        number(now),
    ));
    Ok(())
}

/// The endpoints once everything that was sent was counted, or with what is missing.
fn settled(agent: &Agent, sent: u64) -> Result<Vec<Endpoint>> {
    let dropped = || Some(agent.endpoint("mallory").ok()?.counters.dropped.packets);
    // Too few counted is a result, to be shown, not an error.
    let _missing = wait_until("all frames to be counted", || dropped().is_none_or(|n| n >= sent));
    agent.endpoints().context("reading the counters")
}

fn by_kind(screen: &Screen, kinds: &[Kind], arrived: &[u64], sent: u64) {
    screen.title("What was forged, and what became of it", "");
    screen.blank();
    screen.row("forged by mallory", "sent", "arrived", "dropped as");
    let frames: u64 = kinds.iter().map(|kind| kind.frames.len() as u64).sum();
    let mut at = 0;
    for (kind, arrived) in kinds.iter().zip(arrived) {
        // The flood sends all frames in turn: whole rounds, and the first few of the last one.
        let own = kind.frames.len() as u64;
        let of_kind = sent / frames * own + (sent % frames).saturating_sub(at).min(own);
        at += own;
        screen.row(kind.title, &number(of_kind), &number(*arrived), kind.reason);
    }
}
