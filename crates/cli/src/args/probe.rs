//! Arguments of `probe`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `probe`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis probe web-1
  portcullis probe --netns /run/netns/web --interface eth0
  portcullis probe --netns /proc/4711/ns/net --interface eth0 --to /run/netns/peer
  portcullis probe web-1 --junit report.xml

Sends only into the namespaces that it was given. Exit code 1 if anything forged passed or anything
honest was lost.")]
pub struct ProbeArgs {
    /// Endpoint whose workload is to be the attacker; asks the agent where that is
    #[arg(value_name = "ENDPOINT", conflicts_with = "netns", required_unless_present_any = ["netns", "list"])]
    pub endpoint: Option<String>,
    /// Network namespace to attack from; needs no agent
    #[arg(long, value_name = "PATH", requires = "interface")]
    pub netns: Option<PathBuf>,
    /// Interface to send from
    #[arg(long, value_name = "IF")]
    pub interface: Option<String>,
    /// Network namespace to listen in [default: found by itself]
    #[arg(long, value_name = "PATH")]
    pub to: Option<PathBuf>,
    /// Interface to listen on [default: found by itself]
    #[arg(long, value_name = "IF", requires = "to")]
    pub to_interface: Option<String>,
    /// Write the score card as JUnit XML too
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Only list the cases of the suite, and what a gate owes each
    #[arg(long)]
    pub list: bool,
    /// Show every case, not only those that failed
    #[arg(long)]
    pub all: bool,
}
