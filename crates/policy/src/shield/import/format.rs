//! The formats and their names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A format in which blocklists are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// An address, prefix or range on each line; comments from `#`, `;` or `//` on. FireHOL, Spamhaus DROP, and most
    /// others.
    Plain,
    /// Comma-, semicolon- or tab-separated values with a header.
    Csv,
    /// `ipset save`.
    Ipset,
    /// `nft list ruleset`, `nft list set`, or a file of nft commands.
    Nft,
    /// JSON: a document or one object on each line. Spamhaus DROP, the address ranges of cloud providers.
    Json,
    /// `name:first-last` on each line, as PeerGuardian has it.
    P2p,
    /// `block.txt` of DShield: first address, last address and prefix length, tab-separated.
    Dshield,
}

/// A text that is no [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown format {0:?}: write one of plain, csv, ipset, nft, json, p2p, dshield")]
pub struct UnknownFormat(String);

impl Format {
    /// All there are.
    pub const ALL: &'static [Self] =
        &[Self::Plain, Self::Csv, Self::Ipset, Self::Nft, Self::Json, Self::P2p, Self::Dshield];

    /// The word in files, in the API and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Csv => "csv",
            Self::Ipset => "ipset",
            Self::Nft => "nft",
            Self::Json => "json",
            Self::P2p => "p2p",
            Self::Dshield => "dshield",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let known = Self::ALL.iter().copied().find(|format| format.name() == text);
        known.ok_or_else(|| UnknownFormat(text.chars().take(60).collect()))
    }
}
