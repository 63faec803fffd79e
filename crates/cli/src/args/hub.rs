//! Arguments of `hub`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Arguments of `hub`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis hub --kubeconfig ~/.kube/config --dry-run
  kubectl -n portcullis-system logs deployment/portcullis-hub

Every replica reads and serves; the one that holds the Lease portcullis-hub ends pods and writes the
policies' status. Its API asks for a bearer token of audience portcullis-hub: `kubectl portcullis` gets one.")]
pub struct HubArgs {
    /// Serve the API here, over TLS
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Serve /healthz, /readyz and /metrics here, and nothing else
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8080")]
    pub metrics_listen: SocketAddr,
    /// Namespace of the Lease and of the ConfigMap with the certificates
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", hide_env = true)]
    #[arg(default_value = "portcullis-system")]
    pub namespace: String,
    /// How to reach the API server [default: as pods do, else $KUBECONFIG]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// End at most so many pods in any minute, whatever policies say; 0 ends none
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub terminations_per_minute: u16,
    /// Whatever policies say: only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}
