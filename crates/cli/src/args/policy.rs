//! Arguments of `policy …`.

use clap::{Args, Subcommand};
use portcullis_policy::address::AddressBinding;
use portcullis_policy::guard::{GatePolicy, Response, Selector, Termination};
use portcullis_policy::model::{Mode, Permission};
use portcullis_policy::span::Span;

use super::values;

/// The commands under `policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List all policies, the first to be asked first
    #[command(visible_alias = "ls")]
    List,
    /// Show everything about one policy
    Show {
        /// Name
        #[arg(value_name = "NAME")]
        policy: String,
    },
    /// Put a policy, or replace the one of that name
    Set(Box<SetArgs>),
    /// Take policies away
    Remove {
        /// Names
        #[arg(value_name = "NAME", required = true)]
        policies: Vec<String>,
    },
    /// Say which policies match an endpoint, and what comes of them
    Test {
        /// Endpoint (name or id)
        #[arg(value_name = "ENDPOINT")]
        endpoint: String,
    },
}

/// Arguments of `policy set`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis policy set strict --match-name '*' --response quarantine --release-after 10m
  portcullis policy set shop --match-label app=shop --match-network 'shop_*' --attempts 5 --window 30s \\
      --response terminate --terminate restart
  portcullis policy set try-out --match-name '*' --response terminate --dry-run
  portcullis policy set routers --match-label role=router --allow router --priority 10

Everything that is given after --match must hold; `*` in a pattern stands for any text. Policies are
asked from the highest priority to the lowest, those of one priority by name. Of each property the
first that states it decides; permissions and addresses add up. Mode, permissions and addresses are
for endpoints that a source found: whoever binds by hand says them there.

Only evidence of intent counts as an attempt: claiming another's address, MAC, ARP or neighbour
discovery identity, a router's or DHCP server's role.")]
pub struct SetArgs {
    /// Unique name: letters, digits, - _ . / :
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Which endpoints.
    #[command(flatten)]
    pub matching: MatchArgs,
    /// Higher is asked first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub priority: i32,
    /// What becomes of frames that break the binding
    #[arg(long, value_name = "MODE", value_parser = values::mode())]
    pub mode: Option<Mode>,
    /// What they may do beyond their addresses
    #[arg(long, value_name = "WHAT", value_parser = values::permission(), value_delimiter = ',')]
    pub allow: Vec<Permission>,
    /// Address that they may use besides their own: a shared service address, say
    #[arg(long, value_name = "IP[/LEN]", value_delimiter = ',')]
    pub address: Vec<AddressBinding>,
    /// Hostile attempts within the window that are one too many, 1 to 10000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub attempts: Option<u16>,
    /// The sliding window, such as 500ms, 60s or 1h
    #[arg(long, value_name = "TIME")]
    pub window: Option<Span>,
    /// What happens then: report says so, quarantine drops everything from and to it, terminate ends its
    /// container too
    #[arg(long, value_name = "RESPONSE", value_parser = values::response())]
    pub response: Option<Response>,
    /// How a container is ended; restart kills it and starts it anew
    #[arg(long, value_name = "HOW", value_parser = values::termination())]
    pub terminate: Option<Termination>,
    /// Time after which a quarantine ends by itself [default: it ends by hand]
    #[arg(long, value_name = "TIME")]
    pub release_after: Option<Span>,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Which endpoints a policy is for.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct MatchArgs {
    /// Name of the endpoint, the container or the pod; '*' for all
    #[arg(long, value_name = "PATTERN")]
    pub match_name: Option<String>,
    /// Label of the container or pod
    #[arg(long, value_name = "KEY=PATTERN", value_parser = values::label, value_delimiter = ',')]
    pub match_label: Vec<(String, String)>,
    /// Container network
    #[arg(long, value_name = "PATTERN")]
    pub match_network: Option<String>,
    /// Image
    #[arg(long, value_name = "PATTERN")]
    pub match_image: Option<String>,
    /// Runtime: docker, podman, containerd, …
    #[arg(long, value_name = "PATTERN")]
    pub match_runtime: Option<String>,
    /// Kubernetes namespace
    #[arg(long, value_name = "PATTERN")]
    pub match_namespace: Option<String>,
}

impl SetArgs {
    /// The policy as the API takes it.
    pub fn into_policy(self) -> GatePolicy {
        let matching = self.matching;
        GatePolicy {
            name: self.name,
            selector: Selector {
                name: matching.match_name,
                labels: matching.match_label.into_iter().collect(),
                network: matching.match_network,
                image: matching.match_image,
                runtime: matching.match_runtime,
                namespace: matching.match_namespace,
                ..Selector::default()
            },
            priority: self.priority,
            mode: self.mode,
            allow: self.allow,
            addresses: self.address,
            attempts: self.attempts,
            window: self.window,
            response: self.response,
            terminate: self.terminate,
            release_after: self.release_after,
            dry_run: self.dry_run.then_some(true),
        }
    }
}
