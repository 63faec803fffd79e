//! What each command does.

mod agent;
mod blocklist;
pub mod cni;
mod doctor;
mod drops;
mod each;
mod endpoint;
mod health;
mod hub;
mod kubernetes;
mod map;
mod monitor;
mod packaging;
pub mod plugin;
pub mod policy;
mod probe;
mod shield;
mod state;
mod stats;
mod status;

use anyhow::Result;

use crate::args::{Cli, Command, Format};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::logging;

/// Runs the command.
pub fn run(cli: Cli) -> Result<Exit> {
    let Cli { global, command } = cli;
    logging::init(
        global.verbose,
        if matches!(command, Command::Agent(_) | Command::Hub(_)) { "info" } else { "warn" },
    )?;
    if global.output == Format::Dot && !matches!(command, Command::Map(_)) {
        return Err(Failure::usage("only `portcullis map` can be printed with -o dot".to_owned()));
    }
    let mut context = Context::new(&global);
    match command {
        Command::Agent(args) => agent::run(global.socket, args),
        Command::Status => status::run(&mut context),
        Command::Health { ready } => health::run(&mut context, ready),
        Command::Doctor => doctor::run(&mut context),
        Command::Endpoint(command) => endpoint::run(&mut context, command),
        Command::Policy(command) => policy::run(&mut context, command),
        Command::Shield(command) => shield::run(&mut context, command),
        Command::Blocklist(command) => blocklist::run(&mut context, command),
        Command::Rule(command) => shield::rule(&mut context, command),
        Command::Monitor(args) => monitor::run(&mut context, &args),
        Command::Map(args) => map::run(&mut context, &args),
        Command::Stats(args) => stats::run(&mut context, &args),
        Command::Drops(args) => drops::run(&mut context, args),
        Command::Probe(args) => probe::run(&mut context, args),
        Command::Apply(args) => state::apply(&mut context, &args),
        Command::Confirm => state::confirm(&mut context),
        Command::Export => state::export(&mut context),
        Command::Cni(args) => cni::run(&mut context, args),
        Command::Hub(args) => hub::run(args),
        Command::Kubernetes(command) => kubernetes::run(&mut context, command),
        Command::Completions { shell } => packaging::completions(&mut context, shell),
        Command::Man { dir } => packaging::man(&mut context, dir.as_deref()),
        Command::Openapi => packaging::openapi(&mut context),
    }
}
