//! From the carrier of a new container's interface to its binding in the kernel.

use anyhow::{Context, Result};
use portcullis_testkit::{
    Agent, Conflist, Containerd, Docker, Engine, Lab, NetworkOptions, Podman, RunOptions, wait_for,
};

use super::doors::{Anchors, Door, Doors};
use super::{agent, findings, lab, median, most, source};
use crate::report::{Measure, Target};

const DOCKER: &str = "docker/start-to-bound";
const PODMAN: &str = "podman/start-to-bound";
const CRI: &str = "cri/start-to-bound";

/// Names of all measures here.
pub const NAMES: [&str; 3] = [DOCKER, PODMAN, CRI];

const STARTS: usize = 21;

/// Measures what is wanted.
pub fn measure(wants: &dyn Fn(&str) -> bool) -> Result<Vec<Measure>> {
    let mut measures = Vec::new();
    let mut add = |name, target, milliseconds: Vec<f64>| -> Result<()> {
        measures.push(Measure::alone(&format!("{name}-max"), most(&milliseconds), "ms", None));
        measures.push(Measure::alone(name, median(milliseconds)?, "ms", target));
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
        add(PODMAN, Some(Target::AtMost(20.0)), containers(&lab, "podman", podman.api())?)?;
    }
    if wants(CRI) {
        add(CRI, Some(Target::AtMost(20.0)), pods()?)?;
    }
    Ok(measures)
}

/// Containers one after the other; each stays.
fn containers(lab: &Lab, kind: &str, api: &Engine) -> Result<Vec<f64>> {
    api.network_create("blue", &NetworkOptions::bridge(&["10.177.1.0/24", "fd77:1::/64"]))?;
    let agent = agent(lab, &source(kind, api.socket()))?;
    one_by_one(lab, &agent, |number| {
        api.run(&format!("web-{number}"), &RunOptions::new().network("blue", &[])).map(drop)
    })
}

fn pods() -> Result<Vec<f64>> {
    let lab = lab()?;
    let network = Conflist::bridge("pods", "cni0", &["10.178.0.0/24", "fd78::/64"]);
    let containerd = Containerd::start(lab.host(), &network)?;
    let agent = agent(&lab, &source("cri", &containerd.socket()))?;
    one_by_one(&lab, &agent, |number| containerd.run_pod(&format!("web-{number}"), &[]).map(drop))
}

/// Starts one after the other, each when the one before is bound. The first has its network's bridge come up
/// along with it and is not counted.
fn one_by_one(lab: &Lab, agent: &Agent, start: impl Fn(usize) -> Result<()>) -> Result<Vec<f64>> {
    let doors = Doors::watch(lab.host(), Anchors::open(agent.bpffs())?)?;
    for number in 0..=STARTS {
        start(number)?;
        wait_for("a container to be bound", || (doors.bound().len() > number).then_some(()))
            .with_context(|| findings(agent))?;
    }
    Ok(doors.bound().iter().skip(1).filter_map(|(_, door)| Door::milliseconds(door)).collect())
}
