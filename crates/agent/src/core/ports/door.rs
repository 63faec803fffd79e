//! On a node of a cluster: every pair that leads elsewhere is some pod's door, or somebody's who should not be there.

use std::sync::Arc;

use portcullis_datapath::Anchor;
use portcullis_inventory::Link;

use super::super::Core;
use super::super::place::Space;
use super::super::unbound::{is_pair_to_elsewhere, matches_pattern};

impl Core {
    /// Whether this is the host side of a pod's interface, or may be: a pair of a cluster's node whose other end is elsewhere.
    pub(super) fn is_node_door(&self, space: &Space, link: &Link) -> bool {
        let cluster = &self.config.kubernetes;
        cluster.enabled
            && space.inode() == self.spaces.own().inode()
            && is_pair_to_elsewhere(link)
            && !cluster.trusted.iter().any(|pattern| matches_pattern(pattern, &link.name))
    }

    /// Whether what is unbound here is to fall shut, as the door of some pod.
    pub(in crate::core) fn is_guarded_door(&self, space: &Space, anchor: Anchor) -> bool {
        self.config.kubernetes.enabled
            && space
                .link_by_index(anchor.ifindex)
                .ok()
                .flatten()
                .is_some_and(|link| self.is_node_door(space, &link))
    }

    /// Everybody was asked, and nobody knows whose this is: nothing that comes from it is validated, and so nothing passes.
    pub(super) fn refuse(&mut self, anchor: Anchor) {
        let Some(port) = self.ports.get(&anchor) else { return };
        let (held, name, space) = (port.held, port.name.clone(), Arc::clone(&port.space));
        if !held && let Ok(Some(link)) = space.link_by_index(anchor.ifindex) {
            self.hold(anchor, &link);
        }
        let message = format!(
            "interface {name} is no pod's that the runtime, the CNI plugin or the API know of: what comes from it is dropped (bind it by hand, name it in kubernetes.trusted, or set kubernetes.unknown = \"allow\")"
        );
        self.bus.notice("unvalidated", None, message);
    }
}
