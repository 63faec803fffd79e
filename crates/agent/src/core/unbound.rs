//! Interfaces without a binding, where the operator wants to hear of them or to stop them.

use std::sync::Arc;

use portcullis_datapath::Anchor;
use portcullis_inventory::{Link, LinkKind, links};
use portcullis_policy::model::UnboundPolicy;

use super::Core;

impl Core {
    /// Whether interfaces without a binding get a program.
    pub(super) fn wants_unbound_programs(&self) -> bool {
        self.config.unbound != UnboundPolicy::Allow
    }

    /// Puts a program on every interface of the agent's namespace that a workload could send from.
    pub(super) fn refresh_unbound(&mut self) {
        if !self.wants_unbound_programs() {
            return;
        }
        match links(&self.spaces.own().netns) {
            Ok(links) => links.into_iter().for_each(|link| self.cover(link)),
            Err(error) => tracing::warn!(%error, "cannot list interfaces"),
        }
    }

    /// An interface is new or changed.
    pub(super) fn cover_unbound(&mut self, anchor: Anchor, _name: &str) {
        if !self.wants_unbound_programs() || anchor.netns != self.spaces.own().inode() {
            return;
        }
        if let Ok(Some(link)) = self.spaces.own().link_by_index(anchor.ifindex) {
            self.cover(link);
        }
    }

    fn cover(&mut self, link: Link) {
        let own = Arc::clone(self.spaces.own());
        let anchor = Anchor { netns: own.inode(), ifindex: link.index };
        let there = self.unbound.contains_key(&anchor) || self.names_by_anchor.contains_key(&anchor);
        if there || !is_workload_facing(&link) || self.is_exempt(&link.name) {
            return;
        }
        let name = link.name.clone();
        if let Err(error) = self.attach_unbound(&own, anchor, link) {
            self.bus.notice("failed", None, format!("interface {name} without a binding: {error}"));
        }
    }

    /// Named in the configuration, or the way to the default gateway: this host's own uplink.
    pub(super) fn is_exempt(&self, name: &str) -> bool {
        self.config.unbound_except.iter().any(|pattern| matches_pattern(pattern, name)) || is_uplink(name)
    }
}

/// The host side of a pair whose other end is elsewhere, or a tap.
fn is_workload_facing(link: &Link) -> bool {
    link.kind == LinkKind::Tun || is_pair_to_elsewhere(link)
}

/// The host side of a pair whose other end is elsewhere.
pub(super) fn is_pair_to_elsewhere(link: &Link) -> bool {
    link.kind.is_pair() && link.peer.is_some_and(|peer| peer.netnsid.is_some())
}

/// `*` at the end stands for any rest.
pub(super) fn matches_pattern(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

/// Whether a default route of the agent's namespace leaves by this interface.
fn is_uplink(name: &str) -> bool {
    let ipv4 = std::fs::read_to_string("/proc/self/net/route").unwrap_or_default();
    let ipv6 = std::fs::read_to_string("/proc/self/net/ipv6_route").unwrap_or_default();
    let default4 = ipv4.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some(name) && fields.next() == Some("00000000") && fields.nth(5) == Some("00000000")
    });
    default4
        || ipv6.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(1) == Some(&"00")
                && fields.get(9) == Some(&name)
                && fields.first().is_some_and(|d| d.bytes().all(|b| b == b'0'))
        })
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn patterns() {
        assert!(matches_pattern("veth*", "veth12") && matches_pattern("eth0", "eth0"));
        assert!(!matches_pattern("eth0", "eth01") && !matches_pattern("veth*", "br0"));
    }
}
