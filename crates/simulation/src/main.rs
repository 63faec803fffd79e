//! What thousands of nodes would ask of an API server: see docs/scale.md.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use portcullis_simulation::followers::Followed;
use portcullis_simulation::hub::{self, Peering, Store5000};
use portcullis_simulation::plan::{Happening, Plan};
use portcullis_simulation::report::{self, Measure};
use portcullis_simulation::{fleet, followers};

/// Simulate a large cluster.
#[derive(Parser)]
#[command(name = "portcullis-simulation")]
struct Args {
    /// What to simulate; default: all.
    profiles: Vec<String>,
    /// Nodes.
    #[arg(long, default_value_t = 5000)]
    nodes: u32,
    /// Pods of each.
    #[arg(long, default_value_t = 110)]
    pods: u32,
    /// Seconds between two writes of a node.
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// Of all chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Agents keep to themselves that they cannot follow the API.
    #[arg(long)]
    silent_outages: bool,
    /// Requests by kind as well.
    #[arg(long)]
    kinds: bool,
    /// Write the measures to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only print the objects of so many nodes, one on each line: to fill a real API server with.
    #[arg(long, value_name = "COUNT")]
    print: Option<u32>,
    /// Only measure the hub's store, and say so in JSON (a process of its own, for its memory).
    #[arg(long, hide = true)]
    measure_store: bool,
    /// Only measure connections to agents, likewise.
    #[arg(long, hide = true)]
    measure_peers: bool,
    /// Answer as agents do.
    #[arg(long, hide = true)]
    answer_as_agents: bool,
}

/// Connections that are measured: enough for a mean.
const CONNECTIONS: usize = 500;

fn profiles(args: &Args) -> Vec<(&'static str, Plan)> {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let quiet = Plan {
        interval: Duration::from_secs(args.interval),
        seed: args.seed,
        tells_of_outages: !args.silent_outages,
        ..Plan::quiet(args.nodes, args.pods)
    };
    let with = |happening| quiet.clone().with(happening);
    vec![
        ("quiet", quiet.clone()),
        ("normal", Plan { churn: 0.01, ..quiet.clone() }),
        ("rolling-update", with(Happening::Rolling(minutes(10)))),
        ("node-reboots", with(Happening::Reboots(0.05, minutes(5)))),
        ("api-outage", with(Happening::Outage(minutes(5)))),
        ("api-blip", with(Happening::Outage(Duration::from_secs(10)))),
        ("mass-forging", with(Happening::Forging(100))),
        ("node-flooding", with(Happening::Flooding)),
        ("policy-change", with(Happening::Policy)),
        ("agent-rollout", with(Happening::Rollout)),
        ("hub-failover", with(Happening::Failover)),
    ]
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
    if args.answer_as_agents {
        return hub::serve();
    }
    if args.measure_store {
        println!("{}", serde_json::to_string(&hub::measure(args.nodes, args.pods)?)?);
        return Ok(());
    }
    if args.measure_peers {
        println!("{}", serde_json::to_string(&hub::peering(CONNECTIONS)?)?);
        return Ok(());
    }
    if let Some(count) = args.print {
        (0..count).for_each(|node| println!("{}", hub::text(node, args.pods, 1)));
        return Ok(());
    }
    if args.nodes == 0 || args.pods == 0 || args.interval == 0 {
        bail!("--nodes, --pods and --interval must be at least 1");
    }
    let known = profiles(args);
    let wants = |name: &str| args.profiles.is_empty() || args.profiles.iter().any(|wanted| wanted == name);
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).chain(["hub"]).collect();
    if let Some(unknown) = args.profiles.iter().find(|wanted| !names.contains(&wanted.as_str())) {
        bail!("there is no profile {unknown}; there are: {}", names.join(", "));
    }
    let mut measures = Vec::new();
    for (name, plan) in known.iter().filter(|(name, _)| wants(name)) {
        measures.extend(simulate(name, plan, args.kinds)?);
    }
    if wants("hub") {
        let of_hub = measure_hub(args)?;
        println!("{}\n", report::table(&of_hub));
        measures.extend(of_hub);
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&measures)?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn simulate(name: &str, plan: &Plan, kinds: bool) -> Result<Vec<Measure>> {
    let Followed { ledger, cuts } = followers::run(plan).context("no runtime")?;
    let mut told = fleet::run(plan, &cuts);
    told.ledger.merge(&ledger);
    let measures = report::of_plan(name, plan, &told);
    println!("{}\n", report::table(&measures));
    if kinds {
        println!("{}\n", report::kinds(plan, &told));
    }
    Ok(measures)
}

/// In processes of their own: the memory of one must not count for the other.
fn measure_hub(args: &Args) -> Result<Vec<Measure>> {
    let program = std::env::current_exe().context("this program")?;
    let ask = |what: &str| -> Result<Vec<u8>> {
        let (nodes, pods) = (args.nodes.to_string(), args.pods.to_string());
        let mut command = Command::new(&program);
        let output =
            command.args([what, "--nodes", &nodes, "--pods", &pods]).output().context("this program")?;
        if !output.status.success() {
            bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output.stdout)
    };
    let store: Store5000 = serde_json::from_slice(&ask("--measure-store")?)?;
    let peering: Peering = serde_json::from_slice(&ask("--measure-peers")?)?;
    Ok(report::of_hub(&store, &peering, args.nodes))
}
