//! Arguments of `shield …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use portcullis_policy::api::{
    BlockingSpec, GuardSpec, HalfOpenSpec, Hook, PlaceSpec, Rate, RateSpec, XdpMode,
};
use portcullis_policy::span::Span;

use super::values;

/// The commands under `shield`.
#[derive(Debug, Subcommand)]
pub enum ShieldCommand {
    /// Put the firewall up on an interface, or for a container
    Attach(AttachArgs),
    /// Take it away again
    Detach {
        /// Place, as `shield list` names it
        #[arg(value_name = "PLACE", required = true)]
        places: Vec<String>,
    },
    /// Show where it stands, and what it has dropped
    #[command(visible_alias = "ls")]
    List,
    /// Show the flood guard and whom it blocks, or have it do something else
    Guard(GuardArgs),
    /// Let a source go that the flood guard has blocked
    Unblock {
        /// Source, as `shield guard` names it
        #[arg(value_name = "SOURCE")]
        source: String,
    },
}

/// Arguments of `shield attach`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis shield attach --interface eth0
  portcullis shield attach --container web-1
  portcullis shield attach --container web-1 --hook xdp
  portcullis shield attach --interface eth0 --netns /run/netns/blue --xdp-mode generic

For a container the default is tc on the host side of its interface: the container cannot touch it, and segments stay
in one piece. XDP inside drops before anything is built for a packet, but on a veth it costs TCP most of its throughput.")]
pub struct AttachArgs {
    /// Interface
    #[arg(long, value_name = "NAME", required_unless_present = "container")]
    pub interface: Option<String>,
    /// Network namespace of the interface [default: the agent's own]
    #[arg(long, value_name = "PATH", conflicts_with = "container")]
    pub netns: Option<PathBuf>,
    /// Container, pod or endpoint, by name
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// xdp (the default on an interface) or tc (the default for a container)
    #[arg(long, value_name = "HOOK", value_parser = values::of::<Hook>())]
    pub hook: Option<Hook>,
    /// native or generic [default: native where the driver can]
    #[arg(long, value_name = "MODE", value_parser = values::of::<XdpMode>())]
    pub xdp_mode: Option<XdpMode>,
}

impl AttachArgs {
    /// The place as the API takes it.
    pub fn into_spec(self) -> PlaceSpec {
        PlaceSpec {
            interface: self.interface,
            netns: self.netns.map(|path| path.display().to_string()),
            container: self.container,
            hook: self.hook,
            xdp_mode: self.xdp_mode,
        }
    }
}

/// Arguments of `shield guard`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis shield guard                                    # as it is
  portcullis shield guard --source-rate 10kpps --syn-rate 1kpps --block 60s
  portcullis shield guard --off

A source is an IPv4 address or an IPv6 /64, a destination an address and a port. What is not given is off.")]
pub struct GuardArgs {
    /// What a source may send
    #[arg(long, value_name = "RATE")]
    pub source_rate: Option<Rate>,
    /// Packets that it may send at once [default: those of two seconds]
    #[arg(long, value_name = "N", requires = "source_rate")]
    pub source_burst: Option<u64>,
    /// SYNs that a destination may get
    #[arg(long, value_name = "RATE")]
    pub syn_rate: Option<Rate>,
    /// SYNs at once [default: those of two seconds]
    #[arg(long, value_name = "N", requires = "syn_rate")]
    pub syn_burst: Option<u64>,
    /// Percent of the handshakes with a destination that may stay unfinished
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=99))]
    pub half_open: Option<u8>,
    /// Answer SYNs of a flood by cookies, without state: for servers on this machine with net.ipv4.tcp_syncookies=2
    #[arg(long)]
    pub syn_cookies: bool,
    /// Block sources that keep going over their limit, for so long the first time
    #[arg(long, value_name = "TIME", requires = "source_rate")]
    pub block: Option<Span>,
    /// The longest block: each is twice as long as the one before
    #[arg(long, value_name = "TIME", requires = "block", default_value = "24h")]
    pub block_max: Span,
    /// Packets over the limit that are one too many
    #[arg(long, value_name = "N", requires = "block", default_value_t = 100)]
    pub strikes: u32,
    /// How long a source must behave for its offences to be forgotten
    #[arg(long, value_name = "TIME", requires = "block", default_value = "1h")]
    pub forget: Span,
    /// Block only sources that have proved that they are real, so that nobody can have another blocked
    #[arg(long, requires = "block")]
    pub strict: bool,
    /// Sources that may be blocked at once
    #[arg(long, value_name = "N", requires = "block", default_value_t = 4096)]
    pub most: u32,
    /// Turn it off
    #[arg(long, exclusive = true)]
    pub off: bool,
}

impl GuardArgs {
    /// The guard as the API takes it; none: nothing is to be changed.
    pub fn spec(&self) -> Option<GuardSpec> {
        let rate = |rate: Option<Rate>, burst| rate.map(|rate| RateSpec { rate, burst });
        let spec = GuardSpec {
            source: rate(self.source_rate, self.source_burst),
            syn: rate(self.syn_rate, self.syn_burst),
            half_open: self.half_open.map(|percent| HalfOpenSpec {
                percent,
                least: 200,
                window: Span::from_secs(1),
            }),
            syn_cookies: self.syn_cookies,
            block: self.block.map(|first| BlockingSpec {
                strikes: self.strikes,
                first,
                longest: self.block_max,
                forget: self.forget,
                strict: self.strict,
                most: self.most,
            }),
        };
        (spec != GuardSpec::default()).then_some(spec)
    }
}
