//! What the CNI plugin and the agent say to each other.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::{AddressBinding, MacAddress};
use crate::container::HostInterface;
use crate::model::Workload;

/// What the CNI plugin tells of an attachment: the body of `PUT /api/v1/cni/{container}/{interface}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CniAttachment {
    /// The container, with pod name, namespace and UID where the runtime said them.
    pub workload: Workload,
    /// `CNI_NETNS`.
    pub netns: String,
    /// Name of the network configuration.
    pub network: String,
    /// The host side of the pair; none: it has none, and is bound from inside where that was asked for.
    pub host: Option<HostInterface>,
    /// Addresses from `prevResult`.
    pub addresses: Vec<AddressBinding>,
    /// MACs from `prevResult`, or found inside.
    pub macs: Vec<MacAddress>,
}

/// An attachment that is still in use, of `POST /api/v1/cni/gc`: what is not listed goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CniValid {
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_IFNAME`.
    pub interface: String,
}

/// The body of `POST /api/v1/cni/gc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CniGarbage {
    /// Name of the network configuration; attachments of others stay.
    pub network: String,
    /// What is still in use.
    pub valid: Vec<CniValid>,
}
