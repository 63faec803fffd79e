//! The CNI plugin: what it adds to the start of a pod.
//!
//! Pods are attached by the reference plugin `bridge` with `host-local`, as libcni does it; the time taken is
//! that of our process alone, from its start to its end, when the binding is in the kernel.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, bail};
use portcullis_testkit::{Agent, Chain, Conflist, Lab, portcullis, reference_plugins};
use serde_json::json;

use crate::report::{Measure, Target};

const ADD: &str = "cni/add";
const PODS: usize = 41;

/// Names of all measures here.
pub const NAMES: [&str; 1] = [ADD];

/// Measures what is wanted.
pub fn measure(wants: impl Fn(&str) -> bool) -> Result<Vec<Measure>> {
    if !wants(ADD) {
        return Ok(Vec::new());
    }
    if std::env::var_os("PORTCULLIS_BIN").is_none() {
        bail!("PORTCULLIS_BIN does not name the plugin's binary: run this as ./dev bench");
    }
    let mut milliseconds = add()?;
    milliseconds.sort_by(f64::total_cmp);
    let median = milliseconds.get(PODS / 2).copied().context("nothing was measured")?;
    Ok(vec![Measure::alone(ADD, median, "ms", Some(Target::AtMost(10.0)))])
}

/// Milliseconds of each pod's `ADD`; the pods stay until all are there.
fn add() -> Result<Vec<f64>> {
    let mut lab = Lab::builder().without_outside().build()?;
    let agent = Agent::start(&lab)?;
    let own = lab.directory().join("plugins");
    fs::create_dir(&own)?;
    symlink(portcullis()?, own.join("portcullis"))?;
    let entry = json!({"type": "portcullis", "socket": agent.socket()});
    let network = Conflist::bridge("pods", "cni0", &["10.183.0.0/24", "fd83::/64"]).chained(entry);
    let list = network.to_json(&lab.directory().join("books"));
    let plugins = [own, reference_plugins()?];
    let mut pods = Vec::new();
    let mut times = Vec::new();
    for number in 0..PODS {
        let name = format!("pod{number}");
        let netns = lab.add_namespace(&name)?.path().to_owned();
        let mut chain = Chain::new(lab.host(), &plugins, &list, &name, &netns)?;
        let answer = chain.add()?;
        if !answer.is_done() {
            bail!("{} did not attach {name}: {}", answer.plugin, answer.output);
        }
        times.push(answer.took.as_secs_f64() * 1000.0);
        pods.push(chain);
    }
    for pod in pods {
        pod.del()?;
    }
    Ok(times)
}
