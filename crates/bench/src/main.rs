//! `./dev bench`: what the gate costs.
//!
//! The kernel programs are measured with the kernel's own `BPF_PROG_TEST_RUN`, in nanoseconds per
//! frame over an empty program of the same type, side by side with the smallest C program that
//! keeps an interface to its IPv4 address. All of them take turns within one run, so that whatever
//! else the machine does hits all alike. The agent and the CNI plugin are measured
//! in labs of real interfaces.

mod agent;
mod cni;
mod containers;
mod gate;
mod kubernetes;
mod measure;
mod reference;
mod report;
mod shield;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use report::Measure;

/// Measure the gate.
#[derive(Parser)]
#[command(name = "bench")]
struct Args {
    /// What to measure: a name such as gate/arp, or the part before the slash; default: all.
    names: Vec<String>,
    /// Write the measures to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Rounds to take the median of; every program has its turn in each.
    #[arg(long, default_value_t = 151)]
    rounds: usize,
    /// Runs of each program in a round.
    #[arg(long, default_value_t = 100_000)]
    repeat: u32,
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        self.names.is_empty()
            || self.names.iter().any(|wanted| {
                name == wanted || name.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.starts_with('/'))
            })
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if args.rounds == 0 || args.repeat == 0 {
        bail!("--rounds and --repeat must be at least 1");
    }
    let mut known: Vec<&str> = gate::names();
    known.extend(agent::NAMES.iter().chain(&cni::NAMES));
    known.extend(shield::NAMES);
    known.extend(containers::names());
    known.extend(kubernetes::NAMES);
    if !known.iter().any(|name| args.wants(name)) {
        bail!("nothing is named {}; there are: {}", args.names.join(", "), known.join(", "));
    }
    let mut measures = gate::measure(|name| args.wants(name), args.rounds, args.repeat)?;
    measures.extend(shield::measure(|name| args.wants(name), args.rounds, args.repeat)?);
    measures.extend(agent::measure(|name| args.wants(name))?);
    measures.extend(cni::measure(|name| args.wants(name))?);
    measures.extend(containers::measure(|name| args.wants(name))?);
    measures.extend(kubernetes::measure(|name| args.wants(name))?);
    report::print(&measures);
    match &args.json {
        Some(path) => write(path, &measures),
        None => Ok(()),
    }
}

fn write(path: &PathBuf, measures: &[Measure]) -> Result<()> {
    let mut text = serde_json::to_string_pretty(measures)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
