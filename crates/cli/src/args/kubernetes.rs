//! Arguments of `kubernetes …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use portcullis_policy::span::Span;

/// The commands under `kubernetes`: what the chart runs.
#[derive(Debug, Subcommand)]
pub enum KubernetesCommand {
    /// Print the custom resource definitions, as `kubectl apply -f -` takes them
    #[command(after_help = "Example:\n  portcullis kubernetes crds | kubectl apply --server-side -f -")]
    Crds,
    /// Mount the BPF file system where there is none
    MountBpffs {
        /// Where
        #[arg(value_name = "DIR", default_value = "/sys/fs/bpf")]
        directory: PathBuf,
    },
    /// Delete the agents' DaemonSet and wait for its pods, each of which undoes what it did to its node
    Uninstall(UninstallArgs),
}

/// Arguments of `kubernetes uninstall`.
#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// Namespace of the DaemonSet
    #[arg(long, value_name = "NAMESPACE", default_value = "portcullis-system")]
    pub namespace: String,
    /// Its name
    #[arg(long, value_name = "NAME", default_value = "portcullis-agent")]
    pub daemonset: String,
    /// How to reach the API server [default: as pods do, else $KUBECONFIG]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How long its pods may take to end
    #[arg(long, value_name = "TIME", default_value = "120s")]
    pub timeout: Span,
}
