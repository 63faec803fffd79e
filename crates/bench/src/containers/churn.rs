//! Containers that come and go, twenty a second: whose binding outlives them, and who is without one.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portcullis_testkit::{Agent, Lab, Namespace};

use super::doors::Anchors;
use super::plugin::Plugin;
use super::pods::{BRIDGE, Inside, Pod};
use super::scripted::Scripted;
use super::{agent, findings, lab, source};
use crate::report::{Measure, Target};

const DOCKER: &str = "containers/churn-20-scripted";
const PLUGIN: &str = "cni/churn-20";

/// Names of all measures here.
pub const NAMES: [&str; 2] = [DOCKER, PLUGIN];

const EVERY: Duration = Duration::from_millis(50);
const STARTS: usize = 200;
/// Each lives as long as it takes to start so many others.
const LIVES: usize = 20;
/// By then nothing of a container may be left.
const FORGET_WITHIN: Duration = Duration::from_millis(100);

/// How containers come and go.
trait Runtime: Sync {
    /// When this returns, the container runs.
    fn start(&self, host: &Namespace, pod: &Pod) -> Result<()>;
    /// Ends it; gives when it had ended.
    fn end(&self, host: &Namespace, pod: &Pod) -> Result<Instant>;
}

impl Runtime for Scripted {
    fn start(&self, host: &Namespace, pod: &Pod) -> Result<()> {
        pod.make()?;
        self.connect(pod);
        pod.plug(host)?;
        self.run(pod);
        Ok(())
    }

    fn end(&self, host: &Namespace, pod: &Pod) -> Result<Instant> {
        let ended = Instant::now();
        self.end(pod);
        pod.unplug(host)?;
        self.remove(pod);
        pod.unmake()?;
        Ok(ended)
    }
}

impl Runtime for Plugin {
    fn start(&self, host: &Namespace, pod: &Pod) -> Result<()> {
        pod.make()?;
        pod.plug(host)?;
        self.add(host, pod)
    }

    fn end(&self, host: &Namespace, pod: &Pod) -> Result<Instant> {
        let ended = Instant::now();
        self.del(host, pod)?;
        pod.unplug(host)?;
        pod.unmake()?;
        Ok(ended)
    }
}

/// What was found.
#[derive(Default)]
struct Tally {
    /// Bound though they had ended.
    stale: usize,
    /// Never bound while they ran.
    unbound: usize,
    /// Starts a second.
    pace: f64,
}

/// Measures what is wanted.
pub fn measure(wants: &dyn Fn(&str) -> bool) -> Result<Vec<Measure>> {
    let mut measures = Vec::new();
    let mut add = |name: &str, tally: Tally| {
        let none = Some(Target::AtMost(0.0));
        measures.push(Measure::alone(name, tally.stale as f64, "stale bindings", none));
        measures.push(Measure::alone(&format!("{name}-unbound"), tally.unbound as f64, "containers", none));
        measures.push(Measure::alone(&format!("{name}-pace"), tally.pace, "starts/s", None));
    };
    if wants(DOCKER) {
        let lab = lab()?;
        let _inside = Inside::enter(lab.host())?;
        let docker = Scripted::start(lab.directory().join("docker.sock"), BRIDGE)?;
        let agent = agent(&lab, &source("docker", docker.socket()))?;
        add(DOCKER, come_and_go(&lab, &agent, &docker)?);
    }
    if wants(PLUGIN) {
        let lab = lab()?;
        let agent = agent(&lab, "sources = \"none\"\n")?;
        let plugin = Plugin::new(agent.socket())?;
        add(PLUGIN, come_and_go(&lab, &agent, &plugin)?);
    }
    Ok(measures)
}

/// Addresses and MACs: what was given back last is the next to be used, as soon as can be.
#[derive(Default)]
struct Seats(Mutex<(Vec<usize>, usize)>);

impl Seats {
    fn take(&self) -> usize {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (free, next) = &mut *seats;
        free.pop().unwrap_or_else(|| {
            *next += 1;
            *next
        })
    }

    fn give_back(&self, seat: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.push(seat);
    }
}

/// One that has ended.
struct Ended {
    ifindex: u32,
    at: Instant,
}

fn come_and_go(lab: &Lab, agent: &Agent, runtime: &dyn Runtime) -> Result<Tally> {
    let host = lab.host();
    let anchors = Anchors::open(agent.bpffs())?;
    let (sender, ended) = channel();
    let (running, to_end) = channel::<(Pod, u32)>();
    let seats = Seats::default();
    let mut tally = Tally::default();
    let begun = Instant::now();
    thread::scope(|scope| -> Result<()> {
        let seats = &seats;
        let starter = scope.spawn(move || -> Result<f64> {
            for number in 0..STARTS {
                wait_until(begun + EVERY * number as u32);
                let pod = Pod::new(lab, number, seats.take());
                runtime.start(host, &pod)?;
                let ifindex = host.index_of(&pod.host_interface())?;
                // Whoever ends them fails first, if at all.
                drop(running.send((pod, ifindex)));
            }
            let took = (begun.elapsed() + EVERY).max(EVERY * STARTS as u32);
            Ok(STARTS as f64 / took.as_secs_f64())
        });
        let bpffs = agent.bpffs();
        let ender = scope.spawn(move || -> Result<usize> {
            let anchors = Anchors::open(bpffs)?;
            let mut unbound = 0;
            for (number, (pod, ifindex)) in to_end.into_iter().enumerate() {
                wait_until(begun + EVERY * (number + LIVES) as u32 + EVERY / 2);
                unbound += usize::from(anchors.binding(ifindex).is_none());
                let at = runtime.end(host, &pod)?;
                seats.give_back(pod.seat());
                drop(sender.send(Ended { ifindex, at }));
            }
            Ok(unbound)
        });
        tally.stale = stale(&anchors, &ended);
        tally.pace = joined(starter)?;
        tally.unbound = joined(ender)?;
        Ok(())
    })
    .with_context(|| findings(agent))?;
    ensure!(anchors.bound() == 0, "bindings are left: {}", findings(agent));
    let left = agent.endpoints()?;
    ensure!(left.is_empty(), "{} endpoints are left; {}", left.len(), findings(agent));
    Ok(tally)
}

/// Counts those whose interface has a binding when it may not have one any more.
fn stale(anchors: &Anchors, ended: &Receiver<Ended>) -> usize {
    let mut stale = 0;
    for Ended { ifindex, at } in ended {
        wait_until(at + FORGET_WITHIN);
        stale += usize::from(anchors.binding(ifindex).is_some());
    }
    stale
}

fn wait_until(instant: Instant) {
    thread::sleep(instant.saturating_duration_since(Instant::now()));
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
