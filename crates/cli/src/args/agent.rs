//! Arguments of `agent`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use portcullis_agent::config::SourceSection;
use portcullis_policy::model::UnboundPolicy;

use super::values;

/// Arguments of `agent`. What is not given comes from the configuration file, else it is the default.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis agent
  portcullis agent --source docker --source cri=/run/k3s/containerd/containerd.sock
  portcullis agent --kubernetes --node-name node-1 --kubeconfig /etc/portcullis/kubeconfig
  portcullis agent --unbound audit --socket /tmp/gate.sock --state-dir /tmp/gate

The gate stays shut when the agent stops or is killed: its programs and tables are pinned under
--bpffs, and the next agent takes them over.")]
pub struct AgentArgs {
    /// Configuration file [default: /etc/portcullis/portcullis.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the desired state [default: /var/lib/portcullis]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Directory of the pinned maps and links, on a bpf file system [default: /sys/fs/bpf/portcullis]
    #[arg(long, value_name = "DIR")]
    pub bpffs: Option<PathBuf>,
    /// Serve the API on this loopback address too; needs --token-file
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// File with the bearer token that --listen asks for
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What an interface without a binding may do [default: allow]
    #[arg(long, value_name = "POLICY", value_parser = values::unbound())]
    pub unbound: Option<UnboundPolicy>,
    /// Learn of containers from this runtime: docker, podman or cri, and its socket where it is not the usual
    /// one; repeat for several [default: those in the configuration, else every well-known socket]
    #[arg(long, value_name = "KIND[=SOCKET]", conflicts_with = "no_sources")]
    pub source: Vec<SourceSection>,
    /// Ask no runtime: only the CNI plugin and bindings by hand
    #[arg(long)]
    pub no_sources: bool,
    /// Be a Kubernetes cluster's agent on this node: watch its pods and the cluster's gate policies, publish the
    /// node's map
    #[arg(long)]
    pub kubernetes: bool,
    /// Name of this node [default: $NODE_NAME, else the host's name]
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    pub node_name: Option<String>,
    /// How to reach the API server [default: as pods do, else $KUBECONFIG]
    #[arg(long, value_name = "FILE", requires = "kubernetes")]
    pub kubeconfig: Option<PathBuf>,
    /// Whatever policies say of repeat offenders: only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Open the gate: take every program and table of ours out of the kernel, and end
    ///
    /// No interface is verified any more. The desired state is kept; no agent may be running.
    #[arg(long)]
    pub teardown: bool,
}
