//! The command line of `kubectl portcullis …`.

use std::path::PathBuf;

use clap::builder::Styles;
use clap::{ArgAction, Args, Parser, Subcommand};

use super::Format;

/// Shows and changes what Portcullis does in a whole cluster.
///
/// It asks a hub, through the API server (a port-forward to its pod, TLS pinned by the ConfigMap portcullis-hub, a
/// short-lived token of the ServiceAccount portcullis-reader or portcullis-operator).
#[derive(Debug, Parser)]
#[command(name = "kubectl portcullis", bin_name = "kubectl portcullis", version, styles = Styles::plain())]
#[command(subcommand_required = true, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 no hub reachable, 4 not found, 5 conflict.")]
pub struct Plugin {
    /// What every command takes.
    #[command(flatten)]
    pub global: PluginGlobal,
    /// The command.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct PluginGlobal {
    /// table, wide (more columns), json or yaml (the objects of the hub's API)
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    #[arg(hide_possible_values = true)]
    pub output: Format,
    /// The kubeconfig to use [default: $KUBECONFIG, or ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of it to use [default: its current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace that Portcullis is installed in
    #[arg(long, global = true, value_name = "NAMESPACE", default_value = "portcullis-system")]
    pub hub_namespace: String,
    /// Connect to a hub here instead of by a port-forward
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub hub: Option<String>,
    /// Say more on standard error; repeat for still more (RUST_LOG wins)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Which pods.
#[derive(Clone, Debug, Default, Args)]
pub struct PodFilter {
    /// Only of pods of this namespace [default: all]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Only of this node
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Show every pod, its addresses, and how it stands, on all nodes
    Map(PodFilter),
    /// Show what was allowed and dropped, per endpoint, on all nodes
    #[command(visible_alias = "ep")]
    Endpoints(PodFilter),
    /// Show the hub, its policies, and what needs a look
    Status,
    /// Show every node, and how its agent stands
    Nodes {
        /// Only this node
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
    },
    /// Show what happens, on all nodes
    Events(EventsArgs),
    /// Drop everything from and to a pod until it is released
    Quarantine(PodArgs),
    /// Release a pod from quarantine
    Release(PodArgs),
}

/// Arguments of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Which pods.
    #[command(flatten)]
    pub pods: PodFilter,
    /// Keep showing new ones as they happen
    #[arg(short, long)]
    pub follow: bool,
    /// Begin with the newest N of the past
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub last: usize,
    /// Only these kinds: drop, notice, action; several with commas
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
}

/// Which pod.
#[derive(Debug, Args)]
pub struct PodArgs {
    /// The pod, or `namespace/pod`
    #[arg(value_name = "POD")]
    pub pod: String,
    /// Its namespace, where POD does not say it [default: the context's]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Its node, where several have one of that name
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Plugin::command().debug_assert();
    }
}
