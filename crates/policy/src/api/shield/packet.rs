//! Packets as the monitor shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::shield::rules::Protocol;

/// A packet that arrived where the shield stands, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PacketRecord {
    /// When (RFC 3339, nanoseconds).
    pub time: String,
    /// The container that the place is of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container: Option<String>,
    /// Interface, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interface: Option<String>,
    /// Its index.
    pub ifindex: u32,
    /// Inode of its network namespace.
    pub netns: u32,
    /// Source address; of ARP the sender's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub source: Option<std::net::IpAddr>,
    /// Destination address; of ARP the target's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub destination: Option<std::net::IpAddr>,
    /// IP protocol.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub protocol: Option<Protocol>,
    /// Source port.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_port: Option<u16>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub destination_port: Option<u16>,
    /// Length of the frame in bytes.
    pub length: u32,
    /// One line that says what it is.
    pub summary: String,
}
