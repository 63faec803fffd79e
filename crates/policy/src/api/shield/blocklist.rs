//! Entries of the blocklist.

use ipnet::IpNet;
use jiff::Timestamp;
use portcullis_abi::shield::Class;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::span::Span;

/// An entry of the blocklist or the allowlist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BlocklistEntry {
    /// The address or prefix (`192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`).
    #[serde(with = "super::super::prefix")]
    #[schema(value_type = String, example = "192.0.2.0/24")]
    pub prefix: IpNet,
    /// What it says. Whatever an entry allows, no entry blocks.
    #[serde(default)]
    pub action: EntryAction,
    /// The only protocol that it blocks; none: all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub protocol: Option<EntryProtocol>,
    /// When it ends by itself (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub expires: Option<Timestamp>,
    /// In a request: how long it lasts from now on, instead of `expires`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_in: Option<Span>,
    /// What somebody wrote about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comment: Option<String>,
    /// Where it comes from: `api`, or the name that an import was given.
    #[serde(default = "by_hand")]
    pub source: String,
}

/// The source of entries that are added one by one.
pub(crate) fn by_hand() -> String {
    "api".to_owned()
}

/// What an entry says.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum EntryAction {
    /// Packets from there are dropped.
    #[default]
    Block,
    /// They never are, whatever else is listed.
    Allow,
}

/// What an entry may be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and `ICMPv6`.
    Icmp,
    /// Everything else.
    Other,
}

impl EntryProtocol {
    /// As the tables have it.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Tcp => Class::TCP,
            Self::Udp => Class::UDP,
            Self::Icmp => Class::ICMP,
            Self::Other => Class::OTHER,
        }
    }

    /// The one protocol that a class is; none: several, or all.
    #[must_use]
    pub fn of(class: Class) -> Option<Self> {
        Self::ALL.iter().copied().find(|protocol| protocol.class() == class)
    }
}

/// Which entry: a source says one thing of a prefix at a time, and may both block and allow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EntryKey {
    /// The prefix.
    #[serde(with = "super::super::prefix")]
    #[schema(value_type = String, example = "192.0.2.0/24")]
    pub prefix: IpNet,
    /// Whether its entry that blocks, or the one that allows.
    #[serde(default)]
    pub action: EntryAction,
    /// Whose.
    #[serde(default = "by_hand")]
    pub source: String,
}

/// `POST /api/v1/blocklist`: entries to add (or change) and to remove, all together or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BlocklistChange {
    /// Entries that are then there just so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<BlocklistEntry>,
    /// Entries that are gone then. One that is not there is an error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<EntryKey>,
    /// Do it even where it blocks what keeps this host reachable.
    pub force: bool,
    /// Say what would change, and change nothing.
    pub dry_run: bool,
}

/// What a change did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlocklistChanged {
    /// Entries that were not there.
    pub added: u64,
    /// Entries that differed.
    pub updated: u64,
    /// Entries that are gone.
    pub removed: u64,
    /// Entries that there are now.
    pub entries: u64,
    /// What is worth knowing: one sentence each.
    pub warnings: Vec<String>,
    /// Nothing was changed.
    #[serde(default)]
    pub dry_run: bool,
}

/// What an import did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImportOutcome {
    /// The source whose entries these are now.
    pub source: String,
    /// The format that was read.
    pub format: String,
    /// Lines that were read.
    pub lines: u64,
    /// Entries of the source now.
    pub entries: u64,
    /// Of these, ones that were not there.
    pub added: u64,
    /// Entries of the source that are gone.
    pub removed: u64,
    /// Lines that say the same prefix again.
    pub duplicates: u64,
    /// Lines that were skipped, because the request says so.
    pub skipped: u64,
    /// The first of these: one sentence each.
    pub skipped_lines: Vec<String>,
    /// What is worth knowing: one sentence each.
    pub warnings: Vec<String>,
    /// Milliseconds from the first byte to the table in use.
    pub took_ms: f64,
    /// Nothing was changed.
    #[serde(default)]
    pub dry_run: bool,
}

/// A part of the blocklist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlocklistPage {
    /// Entries, ordered by source, then family, address and length.
    pub entries: Vec<BlocklistEntry>,
    /// Entries in all that fit the request.
    pub total: u64,
    /// `after` of the request for the next part; none: that was all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
    /// Where all entries come from.
    #[serde(default)]
    pub sources: Vec<SourceView>,
}

/// Where entries come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// Its entries.
    pub entries: u64,
    /// When they last changed (RFC 3339).
    pub changed: String,
}

/// Whether packets from an address pass the blocklist, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressTest {
    /// The address.
    pub address: String,
    /// What becomes of its packets.
    pub verdict: AddressVerdict,
    /// The only protocols that are blocked; empty: all, where it is blocked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<EntryProtocol>,
    /// The entries that decide.
    pub decided_by: Vec<BlocklistEntry>,
    /// All other entries around the address, the longest prefix first.
    pub others: Vec<BlocklistEntry>,
    /// All that in one sentence.
    pub explanation: String,
}

/// What the blocklist says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AddressVerdict {
    /// Its packets are dropped.
    Blocked,
    /// An entry allows it.
    Allowed,
    /// No entry holds it.
    NotListed,
}
