//! The shield's part of the desired state.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BlocklistEntry, GuardSpec, PlaceSpec, RuleSpec};

/// The shield's part of the desired state: what was asked for by hand. (Lists that were imported are not in it: they
/// are as large as they are, and their sources have them.)
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShieldSection {
    /// The flood guard; none: it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardSpec>,
    /// Where it stands.
    #[serde(rename = "place", skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<PlaceSpec>,
    /// Rules.
    #[serde(rename = "rule", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSpec>,
    /// Entries of the blocklist that were added one by one.
    #[serde(rename = "entry", skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<BlocklistEntry>,
}

impl ShieldSection {
    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
