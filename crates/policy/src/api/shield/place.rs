//! Where the shield stands.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Counters;
use super::blocklist::SourceView;

/// A place for the shield: an interface, or a container's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceSpec {
    /// Name of the interface; with `container` the one inside (none: its only one).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interface: Option<String>,
    /// Path of the network namespace of `interface`; none: the agent's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub netns: Option<String>,
    /// A container, pod or endpoint by name; its interface is found, also when it is started anew.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container: Option<String>,
    /// The hook; none: `xdp` on an interface, `tc` for a container.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hook: Option<Hook>,
    /// In the driver or before it; none: in the driver where it can, else generic.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub xdp_mode: Option<XdpMode>,
}

/// What the shield stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Frames that come in, before the kernel has built anything for them. Of a container: on its interface inside.
    Xdp,
    /// tc: of a container on the host side of its interface, where it cannot touch it; else frames that come in.
    Tc,
}

/// How XDP runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the kernel's generic path, after it has built the packet.
    Generic,
}

/// A place as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlaceView {
    /// Its id: what `detach` takes.
    pub id: String,
    /// What was asked for.
    pub spec: PlaceSpec,
    /// State.
    pub state: PlaceState,
    /// Why, where it does not stand; or what is worth knowing of how it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Interface it stands on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interface: Option<String>,
    /// Its index.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ifindex: Option<u32>,
    /// Inode of its network namespace.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub netns: Option<u32>,
    /// The hook.
    pub hook: Hook,
    /// How XDP runs there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub xdp_mode: Option<XdpMode>,
    /// The interface's MTU in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mtu: Option<u32>,
    /// The largest MTU it can have while the shield stands there, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mtu_max: Option<u32>,
    /// Since when it stands (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<String>,
}

/// State of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlaceState {
    /// It stands.
    Active,
    /// Its interface or container is not there; it is put up when it comes.
    Waiting,
    /// It could not be put up; `message` says why.
    Failed,
}

/// `GET /api/v1/shield`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ShieldView {
    /// Where it stands.
    pub places: Vec<PlaceView>,
    /// Entries of the blocklist, by source.
    pub blocklist: Vec<SourceView>,
    /// Number of rules.
    pub rules: u32,
    /// Whether the flood guard is on.
    pub guard: bool,
    /// What was dropped, by reason.
    pub counters: Counters,
    /// What is worth knowing: one sentence each.
    pub warnings: Vec<String>,
}
