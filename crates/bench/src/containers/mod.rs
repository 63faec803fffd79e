//! Containers: how soon they are bound, how many can be followed, how fast the answer comes.
//!
//! Runtimes are real ones, each in a lab of its own. Where a figure needs more than a real one does on a small
//! machine, a scripted Docker API tells of real namespaces with real pairs on a real bridge; the measure's name
//! says so.

mod answer;
mod churn;
mod doors;
mod many;
mod plugin;
mod pods;
mod proxy;
mod scripted;
mod started;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use portcullis_testkit::{Agent, AgentOptions, Lab};

use crate::report::Measure;

/// Names of all measures here.
pub fn names() -> Vec<&'static str> {
    [&started::NAMES[..], &many::NAMES, &churn::NAMES, &answer::NAMES].concat()
}

/// Measures what is wanted.
pub fn measure(wants: impl Fn(&str) -> bool) -> Result<Vec<Measure>> {
    if !names().iter().any(|name| wants(name)) {
        return Ok(Vec::new());
    }
    if std::env::var_os("PORTCULLIS_BIN").is_none() {
        bail!("PORTCULLIS_BIN does not name the agent's binary: run this as ./dev bench");
    }
    let mut measures = Vec::new();
    for measure in [started::measure, many::measure, churn::measure, answer::measure] {
        measures.extend(measure(&wants)?);
    }
    // Who reads a time wants to know who else was at work.
    eprintln!("load average: {}", fs::read_to_string("/proc/loadavg")?.trim());
    Ok(measures)
}

/// A lab whose bridges are the runtimes'.
fn lab() -> Result<Lab> {
    Lab::builder().without_outside().build()
}

/// The configuration of a source.
fn source(kind: &str, socket: &Path) -> String {
    format!("[[source]]\nkind = \"{kind}\"\nsocket = \"{}\"\n", socket.display())
}

/// An agent with this configuration.
fn agent(lab: &Lab, config: &str) -> Result<Agent> {
    Agent::start_with(lab, &AgentOptions { config: Some(config.to_owned()), ..AgentOptions::default() })
}

/// What there is to see where something never comes.
fn findings(agent: &Agent) -> String {
    let (status, map) = agent.api("GET", "/api/v1/map", None).unwrap_or_default();
    format!("the agent's map ({status}): {map:#}\nits log:\n{}", agent.log())
}

fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("nothing was measured")
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}
