//! Arguments of `blocklist …`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use portcullis_policy::api::{EntryAction, EntryProtocol};
use portcullis_policy::shield::import::Format;
use portcullis_policy::shield::{Written, parse_prefix};
use portcullis_policy::span::Span;

use super::values;

/// The commands under `blocklist`.
#[derive(Debug, Subcommand)]
pub enum BlocklistCommand {
    /// Add addresses and prefixes, all or none
    Add(AddArgs),
    /// Remove entries, all or none
    Remove(RemoveArgs),
    /// List entries
    #[command(visible_alias = "ls")]
    List(ListEntriesArgs),
    /// Have a source say what a file says: all of it, or nothing changes
    Import(ImportArgs),
    /// Say what becomes of an address, and which entry decides
    Test {
        /// Addresses
        #[arg(value_name = "ADDRESS", required = true)]
        addresses: Vec<IpAddr>,
    },
    /// Show where entries come from
    Sources,
    /// Remove all entries of a source
    Clear {
        /// Source
        #[arg(value_name = "SOURCE")]
        source: String,
    },
}

/// Arguments of `blocklist add`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis blocklist add 192.0.2.7 198.51.100.0/24 2001:db8::/32
  portcullis blocklist add 192.0.2.7 --protocol tcp --expires 1h --comment 'tries passwords'
  portcullis blocklist add 10.1.2.3 --allow")]
pub struct AddArgs {
    /// Addresses and prefixes
    #[arg(value_name = "CIDR", required = true, value_parser = parse_prefix)]
    pub prefixes: Vec<Written>,
    /// What they say.
    #[command(flatten)]
    pub says: EntryArgs,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// How it is done.
    #[command(flatten)]
    pub manner: MannerArgs,
}

/// What entries say.
#[derive(Clone, Copy, Debug, Args)]
pub struct EntryArgs {
    /// Allow: never blocked, whatever else is listed
    #[arg(long, conflicts_with = "protocol")]
    pub allow: bool,
    /// Block only this protocol: tcp, udp, icmp or other
    #[arg(long, value_name = "PROTOCOL", value_parser = values::of::<EntryProtocol>())]
    pub protocol: Option<EntryProtocol>,
    /// End by itself after so long; of a list, where it says nothing
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Span>,
    /// Refuse prefixes with bits beyond their length
    #[arg(long)]
    pub strict: bool,
}

/// How a change is made.
#[derive(Clone, Copy, Debug, Args)]
pub struct MannerArgs {
    /// Do it even where it cuts off what keeps this host reachable
    #[arg(long)]
    pub force: bool,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `blocklist remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Addresses and prefixes, as they were added
    #[arg(value_name = "CIDR", required = true, value_parser = parse_prefix)]
    pub prefixes: Vec<Written>,
    /// Of the allowlist
    #[arg(long)]
    pub allow: bool,
    /// Source
    #[arg(long, value_name = "SOURCE", default_value = "api")]
    pub source: String,
    /// How it is done.
    #[command(flatten)]
    pub manner: MannerArgs,
}

/// Arguments of `blocklist list`.
#[derive(Debug, Args)]
pub struct ListEntriesArgs {
    /// Only of this source
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<String>,
    /// Only within this prefix
    #[arg(long, value_name = "CIDR", value_parser = parse_prefix)]
    pub within: Option<Written>,
    /// Entries at the most; 0: all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: usize,
}

/// Arguments of `blocklist import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis blocklist import firehol_level1.netset
  curl -s https://www.spamhaus.org/drop/drop.txt | portcullis blocklist import - --source spamhaus
  portcullis blocklist import reports.csv --column src_ip --expires 7d --skip-invalid
  ipset save bad | portcullis blocklist import - --source old-ipset

An import replaces all that the source said before, in one step. Formats: plain (an address or prefix a line, with
comments), csv, ipset (save), nft (list set), json, p2p, dshield.")]
pub struct ImportArgs {
    /// File; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Name of the source [default: the file's name]
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<String>,
    /// Format [default: told by the content]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Of CSV: the column with the addresses
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// What they say.
    #[command(flatten)]
    pub says: EntryArgs,
    /// Leave wrong lines out
    #[arg(long)]
    pub skip_invalid: bool,
    /// How it is done.
    #[command(flatten)]
    pub manner: MannerArgs,
}

impl EntryArgs {
    /// The action of the entries.
    pub const fn action(&self) -> EntryAction {
        if self.allow { EntryAction::Allow } else { EntryAction::Block }
    }
}
