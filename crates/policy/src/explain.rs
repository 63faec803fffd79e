//! Drop reasons in words: what happened, and what to do where the traffic was honest.

use portcullis_abi::DropReason;

/// What a reason means, in one sentence.
#[must_use]
pub const fn explain(reason: DropReason) -> &'static str {
    match reason {
        DropReason::SpoofedIpv4 => {
            "The frame claims an IPv4 source that is not bound to the interface it came from."
        }
        DropReason::SpoofedIpv6 => {
            "The frame claims an IPv6 source that is not bound to the interface it came from."
        }
        DropReason::SpoofedMac => "The frame claims an Ethernet source that is not the workload's MAC.",
        DropReason::SpoofedArp => {
            "The ARP packet speaks for an address or MAC that is not the workload's, or is not well formed."
        }
        DropReason::SpoofedNd => {
            "The neighbour discovery packet speaks for an address or MAC that is not the workload's, \
             or comes in a form that only forgeries have (wrong hop limit, fragment)."
        }
        DropReason::RogueRa => "The workload sent a router advertisement or redirect and is not a router.",
        DropReason::RogueDhcp => "The workload sent a DHCP server's packet and is not a DHCP server.",
        DropReason::Malformed => {
            "The frame cannot be read: cut short, inconsistent, or with more headers than the gate walks."
        }
        DropReason::Vlan => "The frame carries a VLAN tag that the endpoint is not allowed, or several tags.",
        DropReason::Ethertype => {
            "The frame is neither IPv4, IPv6 nor ARP, and its ethertype is not allowed for the endpoint."
        }
        DropReason::Fragment => "The packet is a fragment where none is allowed.",
        DropReason::Unbound => {
            "The interface has no endpoint, and this host lets such interfaces send nothing."
        }
        DropReason::Quarantined => "The endpoint is in quarantine: every frame from and to it is dropped.",
        DropReason::Blocklisted => "The source is on the firewall's blocklist.",
        DropReason::Rule => "A firewall rule drops this traffic.",
        DropReason::RateLimited => "The traffic is over the rate limit of a firewall rule.",
        DropReason::SynFlood => "The flood guard dropped a SYN without a valid cookie or beyond its limit.",
        DropReason::NoBackend => "The service has no healthy backend.",
        DropReason::NoRoute => "There is no route to the destination, or no next hop that can be used.",
        DropReason::TtlExceeded => "The packet's TTL or hop limit ran out.",
        DropReason::Internal => {
            "A kernel helper or table failed where it must not, so the frame was dropped."
        }
        DropReason::Tunnel => {
            "The workload sent encapsulated traffic to a node's address, where it could pass for another's."
        }
        DropReason::IcmpQuote => {
            "An ICMP error quotes a packet that the workload could not have received; it is reported, not dropped."
        }
        DropReason::SourceRoute => "The packet asks for a route of its own choice (source routing).",
    }
}

/// What an operator does where the traffic is honest, in one sentence.
#[must_use]
pub const fn remedy(reason: DropReason) -> &'static str {
    match reason {
        DropReason::SpoofedIpv4 | DropReason::SpoofedIpv6 => {
            "If the workload really has this address, or routes for it, bind it again with that address or prefix \
             added: --address IP[/LEN]."
        }
        DropReason::SpoofedMac => {
            "If the workload really has this MAC (a bridge, macvlan or virtual machine behind it), bind it again \
             with --mac MAC added."
        }
        DropReason::SpoofedArp => {
            "If the workload really has the sender address and MAC, bind it again with --address and --mac added."
        }
        DropReason::SpoofedNd => {
            "If the workload really has this address and MAC (a link-local address that is not made from the MAC, \
             for example), bind it again with --address and --mac added."
        }
        DropReason::RogueRa => {
            "If the workload is the router of its network, bind it again with --allow router."
        }
        DropReason::RogueDhcp => {
            "If the workload is the DHCP server of its network, bind it again with --allow dhcp-server."
        }
        DropReason::Malformed => {
            "Look at the frame (portcullis drops --pcap FILE): the sender's stack or driver is at fault; nothing \
             can be allowed here."
        }
        DropReason::Vlan => {
            "If the workload tags its frames on purpose, bind it again with --vlan ID, or with --allow any-vlan; \
             stacked tags cannot be allowed."
        }
        DropReason::Ethertype => {
            "If the workload needs this protocol, bind it again with --ethertype NUMBER, or with \
             --allow any-ethertype."
        }
        DropReason::Fragment => {
            "Lower the sender's MTU so that it does not fragment, or let fragments through in the rule that \
             dropped it."
        }
        DropReason::Unbound => {
            "Bind the interface with portcullis endpoint bind, or set what unbound interfaces may do to allow or \
             audit."
        }
        DropReason::Quarantined => "Release it with portcullis endpoint release NAME.",
        DropReason::Blocklisted => {
            "See which entry matches with portcullis blocklist test, and remove that one."
        }
        DropReason::Rule => "See which rule matches with portcullis rule test, and change that one.",
        DropReason::RateLimited => "Raise the rate or burst of the rule that portcullis rule test shows.",
        DropReason::SynFlood => "Raise the limit of the flood guard, or let the source through by a rule.",
        DropReason::NoBackend => {
            "See portcullis service show NAME: add a backend, or mend the health check that took them out."
        }
        DropReason::NoRoute => {
            "See portcullis egress test and the host's routes and neighbours (ip route, ip neigh) for the destination."
        }
        DropReason::TtlExceeded => {
            "Look for a routing loop; a traceroute makes such packets too and is no fault."
        }
        DropReason::Internal => "Run portcullis doctor and report what it says: this is a fault of ours.",
        DropReason::Tunnel => {
            "If the workload is the end of a tunnel to the nodes, bind it again with --allow tunnel."
        }
        DropReason::IcmpQuote => "Nothing needs to be done: the frame was not dropped.",
        DropReason::SourceRoute => {
            "Source routes are obsolete (RFC 7126, RFC 5095): turn them off at the sender; for IPv4 options, bind it \
             again without --allow no-source-route."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Permission;

    #[test]
    fn every_reason_has_its_own_sentence_and_a_remedy() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            for text in [explain(*reason), remedy(*reason)] {
                assert!(
                    text.ends_with('.') && !text.contains('\n') && !text.contains("  "),
                    "{reason}: {text}"
                );
                assert!(text.len() < 260, "{reason}: {text}");
            }
            for other in &DropReason::ALL[i + 1..] {
                assert_ne!(explain(*reason), explain(*other));
            }
        }
    }

    #[test]
    fn every_permission_that_a_remedy_names_exists() {
        for reason in DropReason::ALL {
            for (_, rest) in remedy(*reason)
                .match_indices("--allow ")
                .map(|(at, m)| ((), &remedy(*reason)[at + m.len()..]))
            {
                let word: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
                assert!(word.parse::<Permission>().is_ok(), "{reason}: {word}");
            }
        }
    }
}
