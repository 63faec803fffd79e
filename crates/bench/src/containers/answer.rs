//! From the frame that reached the threshold to what becomes of its sender.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use portcullis_abi::{Ipv4, Mac};
use portcullis_policy::api::{Action, ActionOutcome, Event};
use portcullis_testkit::{
    Agent, Docker, Engine, EventStream, FORGED, Forgery, Lab, Listener, NetworkOptions, Podman, RunOptions,
    forge_udp4, tagged_payload, wait_until,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{agent, findings, lab, median, most, source};
use crate::report::{Measure, Target};

const DOCKER: &str = "answer/threshold-to-terminated";
const PODMAN: &str = "answer/threshold-to-terminated-podman";
const QUARANTINE: &str = "answer/threshold-to-quarantine";

/// Names of all measures here.
pub const NAMES: [&str; 3] = [DOCKER, PODMAN, QUARANTINE];

const ROUNDS: usize = 10;
/// Frames that claim nothing wrong, sent right behind the one that reaches the threshold.
const AFTERWARDS: usize = 500;
/// As by default.
const THRESHOLD: usize = 10;
const HONEST: &[u8] = b"an honest frame of a benchmark";
/// An end of waiting.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Measures what is wanted.
pub fn measure(wants: &dyn Fn(&str) -> bool) -> Result<Vec<Measure>> {
    let mut measures = Vec::new();
    let mut terminated = |name: &str, kind, lab: &Lab, api: &Engine| -> Result<()> {
        let times = terminations(lab, kind, api)?;
        let [gone, told] = [0, 1].map(|which| times.iter().map(|time| time[which]).collect::<Vec<f64>>());
        measures.push(Measure::alone(&format!("{name}-max"), most(&gone), "ms", None));
        measures.push(Measure::alone(&format!("{name}-told"), median(told)?, "ms", None));
        measures.push(Measure::alone(name, median(gone)?, "ms", Some(Target::AtMost(250.0))));
        Ok(())
    };
    if wants(DOCKER) {
        let lab = lab()?;
        let docker = Docker::start(lab.host())?;
        terminated(DOCKER, "docker", &lab, docker.api())?;
    }
    if wants(PODMAN) {
        let lab = lab()?;
        let podman = Podman::start(lab.host())?;
        terminated(PODMAN, "podman", &lab, podman.api())?;
    }
    if wants(QUARANTINE) {
        let (passed, told) = quarantines()?;
        let name = format!("{QUARANTINE}-told");
        measures.push(Measure::alone(QUARANTINE, passed as f64, "frames", Some(Target::AtMost(0.0))));
        measures.push(Measure::alone(&name, median(told)?, "ms", None));
    }
    Ok(measures)
}

fn config(kind: &str, api: &Engine, response: &str) -> String {
    let policy = "[[policy]]\nname = \"strict\"\nmatch = { name = \"mallory*\" }\n";
    format!(
        "[answer]\nattempts = {THRESHOLD}\nterminations_per_minute = 600\n{}{policy}response = \"{response}\"\n",
        source(kind, api.socket())
    )
}

fn network(api: &Engine) -> Result<()> {
    api.network_create("blue", &NetworkOptions::bridge(&["10.177.1.0/24", "fd77:1::/64"]))
}

/// Of each container the milliseconds until its process was gone, and until the agent said so.
fn terminations(lab: &Lab, kind: &str, api: &Engine) -> Result<Vec<[f64; 2]>> {
    network(api)?;
    let agent = agent(lab, &config(kind, api, "terminate"))?;
    let events = agent.events()?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("mallory-{round}");
        // First it is quiet, so that its process can be watched.
        let script = "sleep 2; exec /bin/forger forge eth0 ipv4 0 1000";
        api.run(&name, &RunOptions::new().network("blue", &[]).command(&["/bin/sh", "-c", script]))?;
        let process = watched(api.pid(&name)?)?;
        let gone = end_of(&process).with_context(|| findings(&agent))?;
        let action = action(&agent, &events, &name)?;
        let threshold: Timestamp = action.threshold_time.parse().context("the time of the threshold")?;
        times.push([gone.duration_since(threshold).as_secs_f64() * 1000.0, action.took_ms]);
        api.remove(&name)?;
    }
    Ok(times)
}

fn watched(pid: u32) -> Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id")?;
    pidfd_open(pid, PidfdFlags::empty()).context("watching the container's process")
}

fn end_of(process: &OwnedFd) -> Result<Timestamp> {
    match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&PATIENCE))? {
        0 => bail!("the container was never terminated"),
        _ => Ok(Timestamp::now()),
    }
}

fn action(agent: &Agent, events: &EventStream, endpoint: &str) -> Result<Action> {
    let of_it = |event: &Event| matches!(event, Event::Action(action) if action.endpoint == endpoint);
    match events.wait_for("an action", of_it).with_context(|| findings(agent))? {
        Event::Action(action) if action.outcome == ActionOutcome::Done => Ok(*action),
        other => bail!("not what was to happen: {other:?}"),
    }
}

/// Frames that passed behind the threshold, and the milliseconds until each quarantine was told.
fn quarantines() -> Result<(u64, Vec<f64>)> {
    let lab = lab()?;
    let docker = Docker::start(lab.host())?;
    let api = docker.api();
    network(api)?;
    let agent = agent(&lab, &config("docker", api, "quarantine"))?;
    let events = agent.events()?;
    for name in ["mallory", "far"] {
        api.run(name, &RunOptions::new().network("blue", &[]))?;
        let bound = || agent.endpoint(name).is_ok();
        wait_until("a container to be bound", bound).with_context(|| findings(&agent))?;
    }
    let socket = api.namespace("mallory")?.socket("eth0")?;
    let far = api.namespace("far")?;
    let mac: Mac = api.mac("mallory", "blue")?.parse().ok().context("a MAC")?;
    let address = api.addresses("mallory", "blue")?.first().cloned().context("an address")?;
    let address: std::net::Ipv4Addr = address.parse()?;
    let everybody = (Mac([0xff; 6]), Ipv4([10, 177, 1, 255]));
    let honest = forge_udp4((mac, Ipv4(address.octets())), everybody, HONEST);
    let (mut passed, mut told) = (0, Vec::new());
    for _ in 0..ROUNDS {
        let listener = Listener::start(&far, "eth0", tagged_payload(HONEST))?;
        let forged = Listener::start(&far, "eth0", tagged_payload(FORGED))?;
        socket.send(&honest)?;
        listener.wait_for(1)?;
        for _ in 0..THRESHOLD {
            socket.send(&Forgery::Ipv4.frame(mac))?;
        }
        for _ in 0..AFTERWARDS {
            socket.send(&honest)?;
        }
        told.push(action(&agent, &events, "mallory")?.took_ms);
        std::thread::sleep(Duration::from_millis(100));
        passed += listener.stop()? - 1 + forged.stop()?;
        agent.cli_ok(&["endpoint", "release", "mallory"])?;
    }
    ensure!(told.len() == ROUNDS, "{} of {ROUNDS} quarantines", told.len());
    Ok((passed, told))
}
