//! The command line.

mod agent;
mod blocklist;
mod cni;
mod endpoint;
mod hub;
mod kubernetes;
mod map;
mod monitor;
mod observe;
mod plugin;
mod policy;
mod probe;
mod rule;
mod shield;
mod values;

use std::path::PathBuf;

use clap::builder::Styles;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use portcullis_policy::span::Span;

pub use agent::AgentArgs;
pub use blocklist::{AddArgs, BlocklistCommand, ImportArgs, ListEntriesArgs, RemoveArgs};
pub use cni::{CniArgs, CniCommand};
pub use endpoint::{BindArgs, EndpointCommand, ListArgs};
pub use hub::HubArgs;
pub use kubernetes::{KubernetesCommand, UninstallArgs};
pub use map::MapArgs;
pub use monitor::MonitorArgs;
pub use observe::{DropsArgs, StatsArgs};
pub use plugin::{EventsArgs, Plugin, PluginCommand, PluginGlobal, PodArgs, PodFilter};
pub use policy::{PolicyCommand, SetArgs};
pub use probe::ProbeArgs;
pub use rule::{RuleArgs, RuleCommand};
pub use shield::{GuardArgs, ShieldCommand};

/// Where the agent listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/portcullis/portcullis.sock";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 agent not reachable, 4 not found, 5 conflict.";

/// Verifies the source of every frame that a container sends.
///
/// The agent keeps the gate in the kernel; every other command asks the agent over its socket.
/// `doctor` and `probe --netns` need no agent.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, propagate_version = false, styles = Styles::plain(), after_help = EXIT_CODES)]
#[command(subcommand_required = true, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Socket of the agent [default: /run/portcullis/portcullis.sock, or $PORTCULLIS_SOCKET]
    #[arg(long, global = true, value_name = "PATH", env = "PORTCULLIS_SOCKET", hide_env = true)]
    pub socket: Option<PathBuf>,
    /// table, wide (more columns), json or yaml (the objects of the API); `map` also dot (Graphviz)
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    #[arg(hide_possible_values = true)]
    pub output: Format,
    /// Say more on standard error; repeat for still more (RUST_LOG wins)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people.
    Table,
    /// A table with more columns.
    Wide,
    /// The objects of the API as JSON.
    Json,
    /// The objects of the API as YAML.
    Yaml,
    /// A graph for Graphviz; of `map` only.
    Dot,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent in the foreground
    Agent(AgentArgs),
    /// Show the agent, its totals, and how every interface is covered
    Status,
    /// Say whether the agent answers: for probes
    Health {
        /// Whether its gate is in place
        #[arg(long)]
        ready: bool,
    },
    /// Examine this host: what it supports, what is missing, what to do about it
    ///
    /// Needs no agent. Exit code 1 if anything that the agent needs is missing.
    Doctor,
    /// Bind interfaces to the addresses that may be used behind them
    #[command(subcommand, visible_alias = "ep")]
    Endpoint(EndpointCommand),
    /// Say what holds for which endpoints, and what becomes of one that keeps forging
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Put up the firewall on an interface or for a container; guard against floods
    #[command(subcommand)]
    Shield(ShieldCommand),
    /// Block addresses and prefixes wherever the shield stands
    #[command(subcommand)]
    Blocklist(BlocklistCommand),
    /// Rules of the shield: what is dropped, passed, limited or logged
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Show packets as they arrive where the shield stands
    Monitor(MonitorArgs),
    /// Show every container, its networks and addresses, and what is bound for it
    Map(MapArgs),
    /// Show what was allowed and dropped, per endpoint
    Stats(StatsArgs),
    /// Show dropped frames, decoded
    Drops(DropsArgs),
    /// Attack from inside a network namespace and see what comes through
    Probe(ProbeArgs),
    /// Make the desired state what a file says, whole or not at all
    #[command(
        after_help = "Example:\n  portcullis export > gate.toml; edit it; portcullis apply -f gate.toml"
    )]
    Apply(ApplyArgs),
    /// Have the last change stay that was applied with --confirm-within
    Confirm,
    /// Print the whole desired state as a file that `apply` takes
    ///
    /// TOML, or what `-o json` and `-o yaml` say.
    Export,
    /// Be the chained CNI plugin; put it into a network configuration
    ///
    /// Container runtimes execute it (the file that a configuration's `type` names, without arguments) with
    /// CNI_COMMAND set; then it speaks the CNI protocol. Without CNI_COMMAND it says what it is.
    Cni(CniArgs),
    /// Run the cluster-wide manager (Kubernetes) in the foreground
    Hub(HubArgs),
    /// Install and uninstall in a Kubernetes cluster: what the chart runs
    #[command(subcommand)]
    Kubernetes(KubernetesCommand),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  portcullis completions bash > /etc/bash_completion.d/portcullis")]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Print the manual page, or write one for each command
    Man {
        /// Write one file for each command into this directory
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print the OpenAPI description of the HTTP API
    Openapi,
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The desired state as TOML, YAML or JSON; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Do it even where it cuts off what keeps this host reachable
    #[arg(long)]
    pub force: bool,
    /// Go back to the state before by itself after so long, unless `portcullis confirm` says that all is well
    #[arg(long, value_name = "TIME", conflicts_with = "dry_run")]
    pub confirm_within: Option<Span>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
