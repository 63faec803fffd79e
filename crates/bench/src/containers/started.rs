//! From the carrier of a new container's interface to its binding in the kernel.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use portcullis_testkit::{
    Agent, Conflist, Containerd, Docker, Engine, Lab, NetworkOptions, Podman, RunOptions, wait_for,
};

use super::doors::{Anchors, Doors};
use super::{agent, findings, lab, median, most, source};
use crate::report::{Measure, Target};

const DOCKER: &str = "docker/start-to-bound";
const PODMAN: &str = "podman/start-to-bound";
const CRI: &str = "cri/start-to-bound";

/// Names of all measures here.
pub const NAMES: [&str; 3] = [DOCKER, PODMAN, CRI];

const STARTS: usize = 21;

/// Milliseconds of one start, to its binding.
struct Times {
    /// From its carrier. Podman and CRI runtimes tell of a container only when it runs, which is later by as
    /// much as they take to start it; until then its interface is held.
    since_up: f64,
    /// From the moment that the runtime said it runs; 0: it was bound already.
    since_start: f64,
}

/// Measures what is wanted.
pub fn measure(wants: &dyn Fn(&str) -> bool) -> Result<Vec<Measure>> {
    let mut measures = Vec::new();
    let mut add = |name, target, times: Vec<Times>| -> Result<()> {
        let since_up: Vec<f64> = times.iter().map(|times| times.since_up).collect();
        let since_start = times.iter().map(|times| times.since_start).collect();
        measures.push(Measure::alone(&format!("{name}-max"), most(&since_up), "ms", None));
        measures.push(Measure::alone(&format!("{name}-after-start"), median(since_start)?, "ms", None));
        measures.push(Measure::alone(name, median(since_up)?, "ms", target));
        Ok(())
    };
    if wants(DOCKER) {
        let lab = lab()?;
        let docker = Docker::start(lab.host())?;
        add(DOCKER, Some(Target::AtMost(20.0)), containers(&lab, "docker", docker.api())?)?;
    }
    if wants(PODMAN) {
        let lab = lab()?;
        let podman = Podman::start(lab.host())?;
        add(PODMAN, None, containers(&lab, "podman", podman.api())?)?;
    }
    if wants(CRI) {
        add(CRI, None, pods()?)?;
    }
    Ok(measures)
}

/// Containers one after the other; each stays.
fn containers(lab: &Lab, kind: &str, api: &Engine) -> Result<Vec<Times>> {
    api.network_create("blue", &NetworkOptions::bridge(&["10.177.1.0/24", "fd77:1::/64"]))?;
    let agent = agent(lab, &source(kind, api.socket()))?;
    one_by_one(lab, &agent, |number| {
        api.run(&format!("web-{number}"), &RunOptions::new().network("blue", &[])).map(drop)
    })
}

fn pods() -> Result<Vec<Times>> {
    let lab = lab()?;
    let network = Conflist::bridge("pods", "cni0", &["10.178.0.0/24", "fd78::/64"]);
    let containerd = Containerd::start(lab.host(), &network)?;
    let agent = agent(&lab, &source("cri", &containerd.socket()))?;
    one_by_one(&lab, &agent, |number| containerd.run_pod(&format!("web-{number}"), &[]).map(drop))
}

/// Starts one after the other, each when the one before is bound. The first has its network's bridge come up
/// along with it and is not counted.
fn one_by_one(lab: &Lab, agent: &Agent, start: impl Fn(usize) -> Result<()>) -> Result<Vec<Times>> {
    let doors = Doors::watch(lab.host(), Anchors::open(agent.bpffs())?)?;
    let mut times = Vec::new();
    for number in 0..=STARTS {
        start(number)?;
        let started = Instant::now();
        let (_, door) = wait_for("a container to be bound", || doors.bound().get(number).copied())
            .with_context(|| findings(agent))?;
        let bound = door.bound.context("just found bound")?;
        times.push(Times {
            since_up: milliseconds(bound.saturating_duration_since(door.up)),
            since_start: milliseconds(bound.saturating_duration_since(started)),
        });
    }
    Ok(times.split_off(1))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
