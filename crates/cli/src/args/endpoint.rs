//! Arguments of `endpoint …`.

use clap::{Args, Subcommand};
use portcullis_policy::address::{AddressBinding, EtherType, MacAddress, VlanId};
use portcullis_policy::model::{Direction, EndpointSpec, InterfaceRef, Mode, Owner, Permission, Workload};

use super::map::WorkloadFilter;
use super::values;

/// The commands under `endpoint`.
#[derive(Debug, Subcommand)]
pub enum EndpointCommand {
    /// List all endpoints
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show everything about one endpoint
    Show {
        /// Name or id
        #[arg(value_name = "NAME")]
        endpoint: String,
    },
    /// Bind an interface to the addresses that may be used behind it, or change such a binding
    Bind(Box<BindArgs>),
    /// Take bindings away
    Unbind(Names),
    /// Set what becomes of frames that break the binding
    #[command(after_help = "Example:\n  portcullis endpoint mode web-1 audit")]
    Mode {
        /// Name or id
        #[arg(value_name = "NAME")]
        endpoint: String,
        /// enforce drops them, audit counts and reports them and lets them pass, off does not look
        #[arg(value_name = "MODE", value_parser = values::mode())]
        mode: Mode,
    },
    /// Drop every frame from and to endpoints until they are released
    Quarantine(Names),
    /// End a quarantine
    Release(Names),
}

/// Arguments of `endpoint list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis endpoint list --label app=web
  portcullis endpoint list --source docker --network 'shop_*' -o wide")]
pub struct ListArgs {
    /// Which workloads.
    #[command(flatten)]
    pub workloads: WorkloadFilter,
    /// Only those that this source describes (docker, podman, cri, cni, file, api)
    #[arg(long, value_name = "SOURCE", value_parser = values::owner(), hide_possible_values = true)]
    pub source: Option<Owner>,
}

/// One endpoint or several.
#[derive(Debug, Args)]
pub struct Names {
    /// Names or ids
    #[arg(value_name = "NAME", required = true)]
    pub endpoints: Vec<String>,
}

/// Arguments of `endpoint bind`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis endpoint bind web-1 --interface veth1a2b --address 10.0.0.2,fd00::2
  portcullis endpoint bind gw --interface veth2 --address 10.0.0.3,10.8.0.0/16 --allow router
  portcullis endpoint bind lo --netns /run/netns/web --interface lo --direction egress \\
      --address 127.0.0.1

Whatever may be given several times may also be a list with commas. Without --mac the MAC is learned
from the workload's side of the interface.")]
pub struct BindArgs {
    /// Unique name: letters, digits, - _ . / :
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Interface that the workload's frames come in on
    #[arg(long, value_name = "IF")]
    pub interface: String,
    /// Network namespace of the interface, such as /run/netns/web [default: the agent's own]
    #[arg(long, value_name = "PATH")]
    pub netns: Option<String>,
    /// ingress on the host's side of a pair, egress on the workload's own interface
    #[arg(long, value_name = "SIDE", value_parser = values::direction(), default_value = "ingress")]
    pub direction: Direction,
    /// Address or prefix that it may use as source
    #[arg(long, value_name = "IP[/LEN]", required = true, value_delimiter = ',')]
    pub address: Vec<AddressBinding>,
    /// MAC that it may use as source
    #[arg(long, value_name = "MAC", value_delimiter = ',')]
    pub mac: Vec<MacAddress>,
    /// What becomes of frames that break the binding
    #[arg(long, value_name = "MODE", value_parser = values::mode(), default_value = "enforce")]
    pub mode: Mode,
    /// What it may do beyond its addresses (no-source-route takes away)
    #[arg(long, value_name = "WHAT", value_parser = values::permission(), value_delimiter = ',')]
    pub allow: Vec<Permission>,
    /// VLAN id whose tagged frames are let through; their content is verified all the same
    #[arg(long, value_name = "VID", value_parser = vlan, value_delimiter = ',')]
    pub vlan: Vec<VlanId>,
    /// Ethertype let through besides IPv4, IPv6 and ARP, such as 0x88cc
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    pub ethertype: Vec<EtherType>,
    /// Label of the workload
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::label, value_delimiter = ',')]
    pub label: Vec<(String, String)>,
    /// Accept an interface that does not exist yet: it is bound when it comes
    #[arg(long)]
    pub allow_missing: bool,
}

fn vlan(text: &str) -> Result<VlanId, String> {
    text.parse().map_err(|error: portcullis_policy::address::VlanIdError| error.to_string())
}

impl BindArgs {
    /// The endpoint as the API takes it.
    pub fn into_spec(self) -> EndpointSpec {
        EndpointSpec {
            name: self.name,
            interface: InterfaceRef { name: self.interface, netns: self.netns },
            direction: self.direction,
            addresses: self.address,
            macs: self.mac,
            mode: self.mode,
            allow: self.allow,
            vlans: self.vlan,
            ethertypes: self.ethertype,
            quarantined: false,
            workload: Workload { labels: self.label.into_iter().collect(), ..Workload::default() },
            network: None,
            inside: None,
        }
    }
}
