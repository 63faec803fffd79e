//! A node with many containers: how long a full resync takes, and what the agent needs for it.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portcullis_policy::api::Event;
use portcullis_testkit::{
    Agent, AgentOptions, Docker, EventStream, Lab, NetworkOptions, RunOptions, wait_for,
};

use super::doors::Anchors;
use super::pods::{BRIDGE, Inside, Pods};
use super::proxy::Proxy;
use super::scripted::Scripted;
use super::{findings, lab, median, source};
use crate::agent::resident_mb;
use crate::report::{Measure, Target};

const RESYNC: &str = "containers/resync-250";
const FIRST: &str = "containers/first-sync-250";
const RESYNC_SCRIPTED: &str = "containers/resync-250-scripted";
const FIRST_SCRIPTED: &str = "containers/first-sync-250-scripted";
const MEMORY: &str = "agent/rss-containers-250";

/// Names of all measures here.
pub const NAMES: [&str; 5] = [RESYNC, FIRST, RESYNC_SCRIPTED, FIRST_SCRIPTED, MEMORY];

const CONTAINERS: usize = 250;
const RESYNCS: usize = 7;
/// Requests that the runtime has to work on at a time while its containers are started.
const STARTERS: usize = 3;
/// What an agent does after it has bound something, such as saving, is over by then.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// Seconds and megabytes of one agent.
struct Figures {
    first: f64,
    resync: f64,
    memory: f64,
}

/// Measures what is wanted.
pub fn measure(wants: &dyn Fn(&str) -> bool) -> Result<Vec<Measure>> {
    let mut measures = Vec::new();
    let mut add = |name, value, unit, target| {
        if wants(name) {
            measures.push(Measure::alone(name, value, unit, target));
        }
    };
    if [RESYNC, FIRST].into_iter().any(wants) {
        let figures = real()?;
        add(RESYNC, figures.resync, "s", Some(Target::AtMost(1.0)));
        add(FIRST, figures.first, "s", None);
    }
    if [RESYNC_SCRIPTED, FIRST_SCRIPTED, MEMORY].into_iter().any(wants) {
        let figures = scripted()?;
        add(RESYNC_SCRIPTED, figures.resync, "s", Some(Target::AtMost(1.0)));
        add(FIRST_SCRIPTED, figures.first, "s", None);
        add(MEMORY, figures.memory, "MB", Some(Target::AtMost(30.0)));
    }
    Ok(measures)
}

/// Of a real Docker daemon.
fn real() -> Result<Figures> {
    let lab = lab()?;
    let docker = Docker::start(lab.host())?;
    let api = docker.api();
    api.network_create("many", &NetworkOptions::bridge(&["10.190.0.0/16", "fd90::/64"]))?;
    eprintln!("starting {CONTAINERS} containers (minutes)");
    let started = Instant::now();
    thread::scope(|scope| {
        let starters: Vec<_> = (0..STARTERS)
            .map(|starter| {
                scope.spawn(move || {
                    (starter..CONTAINERS).step_by(STARTERS).try_for_each(|number| {
                        let options = RunOptions::new().network("many", &[]).label("tier", "front");
                        api.run(&format!("web-{number}"), &options).map(drop)
                    })
                })
            })
            .collect();
        starters.into_iter().try_for_each(|starter| match starter.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    eprintln!("started in {:.0} s", started.elapsed().as_secs_f64());
    let _inside = Inside::enter(lab.host())?;
    let proxy = Proxy::start(lab.directory().join("docker.sock"), api.socket())?;
    figures(&lab, proxy.socket(), || proxy.cut())
}

/// Of a scripted one.
fn scripted() -> Result<Figures> {
    let lab = lab()?;
    let pods = Pods::make(&lab, CONTAINERS)?;
    let _inside = Inside::enter(lab.host())?;
    let docker = Scripted::start(lab.directory().join("docker.sock"), BRIDGE)?;
    pods.all.iter().for_each(|pod| docker.run(pod));
    figures(&lab, docker.socket(), || docker.break_streams())
}

fn figures(lab: &Lab, socket: &Path, cut: impl Fn()) -> Result<Figures> {
    let options = AgentOptions { config: Some(source("docker", socket)), ..AgentOptions::default() };
    let mut agent = Agent::prepared(lab, &options)?;
    let started = Instant::now();
    agent.spawn()?;
    wait_for("all containers to be bound", || {
        Anchors::open(agent.bpffs()).is_ok_and(|anchors| anchors.bound() == CONTAINERS).then_some(())
    })
    .with_context(|| findings(&agent))?;
    let first = started.elapsed().as_secs_f64();
    agent.wait_ready()?;
    let events = agent.events()?;
    connected(&agent, &events)?;
    let mut resyncs = Vec::new();
    for _ in 0..RESYNCS {
        thread::sleep(Duration::from_millis(500));
        let broken = Instant::now();
        cut();
        connected(&agent, &events)?;
        resyncs.push(broken.elapsed().as_secs_f64());
    }
    thread::sleep(SETTLE_TIME);
    let memory = resident_mb(agent.pid().context("the agent does not run")?)?;
    let status = agent.status()?;
    ensure!(status.endpoints.active as usize == CONTAINERS, "not all are bound: {}", findings(&agent));
    Ok(Figures { first, resync: median(resyncs)?, memory })
}

/// Waits for the source to have been read in full.
fn connected(agent: &Agent, events: &EventStream) -> Result<()> {
    let is_it = |event: &Event| match event {
        Event::Notice(notice) => notice.topic == "source" && notice.message.ends_with("is connected"),
        _ => false,
    };
    events.wait_for("the source to be connected", is_it).map(drop).with_context(|| findings(agent))
}
