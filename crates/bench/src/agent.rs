//! The agent: how fast it binds, and what it takes when nothing happens.
//!
//! Interfaces are real, in a lab of their own; the gate is on every one of them before a time is
//! taken. Of the many endpoints a thousand have their interface, the others are declared ahead: ten
//! thousand pairs would keep the kernel busy for minutes when they are deleted.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use portcullis_testkit::{Agent, AgentOptions, Lab, wait_until};
use serde_json::{Value, json};

use crate::report::{Measure, Target};

const BIND: &str = "agent/bind-10000-on-1000-interfaces";
const MEMORY: &str = "agent/rss-250";
const IDLE: &str = "agent/cpu-idle-250";

const MANY: usize = 10_000;
const MANY_REAL: usize = 1000;
const SOME: usize = 250;
/// How long nothing happens.
const IDLE_TIME: Duration = Duration::from_secs(20);
/// What an agent does after it has bound something, such as saving, is not idling.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// Names of all measures here.
pub const NAMES: [&str; 3] = [BIND, MEMORY, IDLE];

/// Measures what is wanted.
pub fn measure(wants: impl Fn(&str) -> bool) -> Result<Vec<Measure>> {
    if !NAMES.iter().any(|name| wants(name)) {
        return Ok(Vec::new());
    }
    if std::env::var_os("PORTCULLIS_BIN").is_none() {
        bail!("PORTCULLIS_BIN does not name the agent's binary: run this as ./dev bench");
    }
    let mut measures = Vec::new();
    if wants(MEMORY) || wants(IDLE) {
        let (resident_mb, busy_percent) = quiet()?;
        if wants(MEMORY) {
            measures.push(Measure::alone(MEMORY, resident_mb, "MB", Some(Target::AtMost(20.0))));
        }
        if wants(IDLE) {
            measures.push(Measure::alone(IDLE, busy_percent, "%", Some(Target::AtMost(0.1))));
        }
    }
    if wants(BIND) {
        measures.push(Measure::alone(BIND, bind_many()?, "s", Some(Target::AtMost(1.0))));
    }
    Ok(measures)
}

/// Megabytes resident and percent of one CPU, with some endpoints and nothing to do.
fn quiet() -> Result<(f64, f64)> {
    let (_lab, agent) = prepared(SOME)?;
    bind(&agent, SOME, SOME)?;
    thread::sleep(SETTLE_TIME);
    let pid = agent.pid().context("the agent does not run")?;
    let (before, started) = (busy(pid)?, Instant::now());
    thread::sleep(IDLE_TIME);
    let busy_percent = (busy(pid)? - before).as_secs_f64() / started.elapsed().as_secs_f64() * 100.0;
    Ok((resident_mb(pid)?, busy_percent))
}

/// Seconds from the request until every interface is guarded.
fn bind_many() -> Result<f64> {
    let (lab, agent) = prepared(MANY_REAL)?;
    let started = Instant::now();
    let bound = bind(&agent, MANY, MANY_REAL);
    let elapsed = started.elapsed();
    // All at once: one by one, each waits for a grace period of the kernel.
    lab.remove_pairs(0, MANY_REAL)?;
    bound.map(|()| elapsed.as_secs_f64())
}

fn prepared(interfaces: usize) -> Result<(Lab, Agent)> {
    let mut lab = Lab::builder().without_outside().build()?;
    lab.add_pairs("bulk", 0, interfaces)?;
    let config = format!("[limits]\nendpoints = {}\n", MANY + 100);
    let agent = Agent::start_with(&lab, &AgentOptions { config: Some(config), ..AgentOptions::default() })?;
    Ok((lab, agent))
}

/// Binds `count` endpoints with one request and waits until the `real` interfaces are guarded.
fn bind(agent: &Agent, count: usize, real: usize) -> Result<()> {
    let path = "/api/v1/endpoints?allow_missing=true";
    let (status, answer) = agent.api("POST", path, Some(&specs(0..count)))?;
    if status != 200 && status != 201 {
        bail!("the agent refused to bind: {answer}");
    }
    wait_until("all endpoints to be bound", || {
        agent.status().is_ok_and(|status| {
            (status.endpoints.total as usize, status.endpoints.active as usize) == (count, real)
        })
    })
}

fn specs(range: Range<usize>) -> Value {
    let spec = |k: usize| {
        let address = format!("10.128.{}.{}", (k + 1) / 256, (k + 1) % 256);
        json!({"name": format!("e{k}"), "interface": {"name": format!("b{k}")}, "addresses": [address]})
    };
    Value::Array(range.map(spec).collect())
}

/// Time on a CPU of all threads that the process has now.
pub fn busy(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the agent ended")? {
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        total += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// Megabytes of a process that are in memory.
pub fn resident_mb(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(Path::new(&path)).context("the agent ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS")?;
    Ok(kilobytes / 1000.0)
}
