//! `portcullis`, the one binary: the agent, and everything a person asks it.
//!
//! Only this crate prints. What it prints with `-o json` are the objects of the API; tables are
//! for people. Every failure is one line on standard error that says what to do, and an exit
//! code (see [`failure::Exit`]).
#![forbid(unsafe_code)]

mod args;
mod client;
mod commands;
mod context;
mod failure;
mod logging;
mod output;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

fn main() -> ExitCode {
    let started = Instant::now();
    // First of all, and before anything is set up: a container waits for it.
    if portcullis_cni::is_plugin_call(std::env::args_os(), std::env::var_os("CNI_COMMAND").is_some()) {
        return commands::cni::plugin(started);
    }
    if commands::plugin::is_call(std::env::args_os().next().as_deref()) {
        return commands::plugin::main();
    }
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    match commands::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => failure::report(&error),
    }
}
