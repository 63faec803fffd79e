//! Arguments of `stats` and `drops`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values;

/// Arguments of `stats`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis stats
  portcullis stats --watch --interval 2s
  portcullis stats -o json | jq '.[] | {name, dropped: .counters.dropped.packets}'")]
pub struct StatsArgs {
    /// Show only these endpoints (names or ids)
    #[arg(value_name = "NAME")]
    pub endpoints: Vec<String>,
    /// Keep showing, with rates per second
    #[arg(short, long)]
    pub watch: bool,
    /// Time between two looks
    #[arg(long, value_name = "TIME", value_parser = values::interval, default_value = "1s", requires = "watch")]
    pub interval: Duration,
    /// Stop after this many looks
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// Arguments of `drops`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis drops --endpoint web-1 --reason spoofed-ipv4
  portcullis drops --follow
  portcullis drops --actions -o wide
  portcullis drops --follow --pcap - | tshark -r - -T fields -e frame.comment -e _ws.col.Info

With --follow, what is done about repeat offenders stands between their frames. In the capture every packet's comment names the reason and the endpoint.")]
pub struct DropsArgs {
    /// Keep showing new ones as they happen
    #[arg(short, long)]
    pub follow: bool,
    /// Only of this endpoint (name or id)
    #[arg(short, long, value_name = "NAME")]
    pub endpoint: Option<String>,
    /// Only for this reason
    #[arg(short, long, value_name = "REASON", value_parser = values::reason(), hide_possible_values = true)]
    pub reason: Option<String>,
    /// Write the frames to this file as pcapng, instead of printing them; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Begin with the newest N of the past [default: 100, with --follow 10]
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<usize>,
    /// Show only what was done about repeat offenders; -o wide shows the evidence
    #[arg(long, conflicts_with_all = ["reason", "pcap"])]
    pub actions: bool,
    /// Stop after this many
    #[arg(long, value_name = "N", requires = "follow", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}
