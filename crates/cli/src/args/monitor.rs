//! Arguments of `monitor`.

use std::num::NonZeroU32;

use clap::Args;
use portcullis_policy::shield::rules::{Ports, Protocol};
use portcullis_policy::shield::{Written, parse_prefix};

/// Arguments of `monitor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis monitor --count 20
  portcullis monitor --place web-1 --protocol tcp --port 443 --every 10")]
pub struct MonitorArgs {
    /// One of so many packets, counted by each processor
    #[arg(long, value_name = "N", default_value = "1")]
    pub every: NonZeroU32,
    /// Only at this interface, or of this container
    #[arg(long, value_name = "NAME")]
    pub place: Option<String>,
    /// Only from this prefix
    #[arg(long, value_name = "CIDR", value_parser = parse_prefix)]
    pub source: Option<Written>,
    /// Only to this prefix
    #[arg(long, value_name = "CIDR", value_parser = parse_prefix)]
    pub destination: Option<Written>,
    /// Only of this IP protocol
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<Protocol>,
    /// Only from or to a port of this range
    #[arg(long, value_name = "A[-B]")]
    pub port: Option<Ports>,
    /// Stop after this many
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

impl MonitorArgs {
    /// As the query of the API, behind `every`.
    pub fn filters(&self) -> Vec<(&'static str, String)> {
        let filters = [
            ("place", self.place.clone()),
            ("source", self.source.map(|written| written.net.to_string())),
            ("destination", self.destination.map(|written| written.net.to_string())),
            ("protocol", self.protocol.map(|protocol| protocol.to_string())),
            ("port", self.port.map(|ports| ports.to_string())),
        ];
        filters.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}
