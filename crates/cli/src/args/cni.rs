//! Arguments of `cni …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use portcullis_cni::install::{DEFAULT_CONF_DIR, OnAgentDown, Which};

use super::values;

/// Arguments of `cni`.
#[derive(Debug, Args)]
#[command(subcommand_required = false, arg_required_else_help = false)]
pub struct CniArgs {
    /// What to do; without it, it says what it is.
    #[command(subcommand)]
    pub command: Option<CniCommand>,
}

/// The commands under `cni`.
#[derive(Debug, Subcommand)]
pub enum CniCommand {
    /// Put the plugin last into a network configuration, and its binary where the runtime looks for it
    #[command(after_help = "\
Examples:
  portcullis cni install --dry-run
  portcullis cni install --bin-dir /usr/lib/cni --on-agent-down pass

The configuration is kept as it was in FILE.portcullis-backup. Repeating it changes nothing; with other
options it changes these. A file with a single plugin (.conf) becomes a list (.conflist).")]
    Install(InstallArgs),
    /// Take the plugin out of a network configuration; nothing else in it changes
    Uninstall(UninstallArgs),
}

/// Which network configuration.
#[derive(Debug, Args)]
pub struct Place {
    /// Directory of network configurations
    #[arg(long, value_name = "DIR", default_value = DEFAULT_CONF_DIR)]
    pub conf_dir: PathBuf,
    /// Directory of plugins [default: /opt/cni/bin, or where distributions keep them if only that exists]
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
    /// File in it [default: the first by name, which is what runtimes use]
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    pub file: Option<String>,
    /// The file of the network of this name
    #[arg(long, value_name = "NETWORK")]
    pub name: Option<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Place {
    /// Which configuration is meant.
    pub fn which(&self) -> Which {
        match (&self.file, &self.name) {
            (Some(file), _) => Which::File(file.clone()),
            (None, Some(name)) => Which::Network(name.clone()),
            (None, None) => Which::First,
        }
    }
}

/// Arguments of `cni install`.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Where
    #[command(flatten)]
    pub place: Place,
    /// While no agent answers: fail starts no container, pass starts it without a binding [default: fail]
    #[arg(long, value_name = "CHOICE", value_parser = values::on_agent_down())]
    pub on_agent_down: Option<OnAgentDown>,
    /// Socket of the agent that the plugin asks [default: that of --socket]
    #[arg(long, value_name = "PATH")]
    pub agent_socket: Option<PathBuf>,
}

/// Arguments of `cni uninstall`.
#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// Where
    #[command(flatten)]
    pub place: Place,
    /// Remove the binary too; containers that were started with the plugin cannot be taken down then
    #[arg(long)]
    pub remove_binary: bool,
}
