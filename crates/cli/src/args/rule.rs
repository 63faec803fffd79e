//! Arguments of `rule …`.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use portcullis_policy::api::{FragmentMatch, PacketSpec, Rate, RuleAction, RuleSpec, SourcePrefix};
use portcullis_policy::shield::rules::{FlagMatch, Ports, Protocol};
use portcullis_policy::shield::{Written, parse_prefix};

use super::blocklist::MannerArgs;
use super::values;

/// The commands under `rule`.
#[derive(Debug, Subcommand)]
pub enum RuleCommand {
    /// Add a rule
    Add(Box<RuleArgs>),
    /// Remove rules
    Remove {
        /// Names
        #[arg(value_name = "NAME", required = true)]
        rules: Vec<String>,
        /// Do it even where it cuts off what keeps this host reachable
        #[arg(long)]
        force: bool,
    },
    /// List rules, the first to be asked first
    #[command(visible_alias = "ls")]
    List,
    /// Say what would become of a packet, and why
    Test(TestPacketArgs),
}

/// Arguments of `rule add`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis rule add no-telnet --protocol tcp --port 23 --action drop
  portcullis rule add dns --protocol udp --port 53 --action limit --rate 100pps --burst 200 --per source/24
  portcullis rule add scans --protocol tcp --tcp-flags fin,syn --action drop --log
  portcullis rule add office --priority 1 --source 192.0.2.0/24 --action pass

Rules are asked from the lowest priority to the highest, those of one priority by name; the first that fits decides.
What is not given fits every packet. The blocklist is asked before all rules.")]
pub struct RuleArgs {
    /// Unique name: letters, digits, - _ .
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Lower is asked first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub priority: u32,
    /// Where packets come from
    #[arg(long, value_name = "CIDR", value_parser = parse_prefix)]
    pub source: Option<Written>,
    /// Where they go
    #[arg(long, value_name = "CIDR", value_parser = parse_prefix)]
    pub destination: Option<Written>,
    /// IP protocol: tcp, udp, icmp, icmpv6, … or a number
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<Protocol>,
    /// Destination port, or a range of them
    #[arg(long, value_name = "A[-B]")]
    pub port: Option<Ports>,
    /// TCP flags, `!` before those that must not be set: syn,!ack
    #[arg(long, value_name = "FLAGS")]
    pub tcp_flags: Option<FlagMatch>,
    /// ICMP or ICMPv6 type
    #[arg(long, value_name = "N")]
    pub icmp_type: Option<u8>,
    /// any, first, later, or none: whole packets
    #[arg(long, value_name = "WHICH", value_parser = values::of::<FragmentMatch>())]
    pub fragment: Option<FragmentMatch>,
    /// drop, pass, limit or log
    #[arg(long, value_name = "ACTION", value_parser = values::of::<RuleAction>())]
    pub action: RuleAction,
    /// With limit: what may pass, such as 1000pps, 20kpps, 500kB/s or 8Mbit/s
    #[arg(long, value_name = "RATE")]
    pub rate: Option<Rate>,
    /// With limit: packets or bytes that may pass at once [default: those of a second]
    #[arg(long, value_name = "N")]
    pub burst: Option<u64>,
    /// With limit: who has such a rate, such as source/32 [default: all packets together]
    #[arg(long, value_name = "WHO")]
    pub per: Option<SourcePrefix>,
    /// Report what it decides (sampled)
    #[arg(long)]
    pub log: bool,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Replace a rule of that name
    #[arg(long)]
    pub replace: bool,
    /// How it is done.
    #[command(flatten)]
    pub manner: MannerArgs,
}

impl RuleArgs {
    /// The rule as the API takes it.
    pub fn spec(&self) -> RuleSpec {
        RuleSpec {
            name: self.name.clone(),
            priority: self.priority,
            source: self.source.map(|written| written.net),
            destination: self.destination.map(|written| written.net),
            protocol: self.protocol,
            port: self.port,
            tcp_flags: self.tcp_flags,
            icmp_type: self.icmp_type,
            fragment: self.fragment,
            action: self.action,
            rate: self.rate,
            burst: self.burst,
            per: self.per,
            log: self.log,
            comment: self.comment.clone(),
        }
    }
}

/// Arguments of `rule test`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  portcullis rule test --source 192.0.2.7 --protocol tcp --port 22")]
pub struct TestPacketArgs {
    /// Source address
    #[arg(long, value_name = "ADDRESS")]
    pub source: IpAddr,
    /// Destination address
    #[arg(long, value_name = "ADDRESS")]
    pub destination: Option<IpAddr>,
    /// IP protocol
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp")]
    pub protocol: Protocol,
    /// Destination port
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// TCP flags that are set
    #[arg(long, value_name = "FLAGS")]
    pub tcp_flags: Option<FlagMatch>,
    /// ICMP type
    #[arg(long, value_name = "N")]
    pub icmp_type: Option<u8>,
    /// first or later
    #[arg(long, value_name = "WHICH", value_parser = values::of::<FragmentMatch>())]
    pub fragment: Option<FragmentMatch>,
}

impl TestPacketArgs {
    /// The packet as the API takes it.
    pub const fn packet(&self) -> PacketSpec {
        PacketSpec {
            source: self.source,
            destination: self.destination,
            protocol: Some(self.protocol),
            port: self.port,
            tcp_flags: self.tcp_flags,
            icmp_type: self.icmp_type,
            fragment: self.fragment,
        }
    }
}
