//! What must stay reachable, whatever somebody types: it is blocked only by force.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::book::Book;
use super::rules::{Action, Packet, Protocol, Rule, in_order, met};

/// A peer whose packets keep this host reachable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// The only protocol that matters; none: all.
    pub protocol: Option<Protocol>,
    /// What it is, with its address: "the default route's neighbour 192.0.2.1".
    pub what: String,
}

/// A port on this host that must stay open to everybody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The port, of TCP.
    pub port: u16,
    /// What it is: "SSH (port 22)".
    pub what: String,
}

/// Something that must stay reachable, and does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Danger {
    /// What it is.
    pub what: String,
    /// How it is kept out: "is in 192.0.2.0/24".
    pub how: String,
}

impl fmt::Display for Danger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.how)
    }
}

/// What a change keeps out that was not kept out before.
#[must_use]
pub fn added(before: &[Danger], after: Vec<Danger>) -> Vec<Danger> {
    after.into_iter().filter(|danger| before.iter().all(|known| known.what != danger.what)).collect()
}

/// Everything that must stay reachable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failsafe {
    /// Peers.
    pub peers: Vec<Peer>,
    /// Ports.
    pub ports: Vec<Port>,
}

impl Failsafe {
    /// With what every host has: loopback.
    #[must_use]
    pub fn new(peers: impl IntoIterator<Item = Peer>, ports: impl IntoIterator<Item = Port>) -> Self {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            .map(|address| Peer { address, protocol: None, what: format!("loopback ({address})") });
        let mut peers: Vec<Peer> = loopback.into_iter().chain(peers).collect();
        peers.sort();
        peers.dedup();
        Self { peers, ports: ports.into_iter().collect() }
    }

    /// What the blocklist keeps out, each with the prefix that does.
    #[must_use]
    pub fn blocked_by_list(&self, book: &Book) -> Vec<Danger> {
        let blocked = |peer: &Peer| {
            let found = book.explain(peer.address);
            let blocks = match peer.protocol {
                Some(protocol) => found.blocks.blocks(protocol.0),
                None => !found.blocks.is_none(),
            };
            let (_, entry) = found.decisive.first().filter(|_| blocks)?;
            Some(Danger { what: peer.what.clone(), how: format!("is in {}", entry.net) })
        };
        self.peers.iter().filter_map(blocked).collect()
    }

    /// What the rules keep out, each with the rule that does.
    #[must_use]
    pub fn blocked_by_rules(&self, rules: &[Rule]) -> Vec<Danger> {
        let ordered = in_order(rules);
        let drops = |packet: &Packet| {
            met(&ordered, packet).0.filter(|rule| rule.action == Action::Drop).map(|rule| rule.name.clone())
        };
        let peers = self.peers.iter().filter_map(|peer| {
            let found = answers(peer).iter().find_map(drops)?;
            Some(Danger { what: peer.what.clone(), how: format!("is dropped by rule {found:?}") })
        });
        // Of somebody whom no rule means in particular: a rule for single sources shuts nobody else out.
        let general: Vec<&Rule> = ordered.iter().copied().filter(|rule| is_everybody(rule.source)).collect();
        let ports = self.ports.iter().filter_map(|port| {
            let rule = strangers(port.port).iter().find_map(|packet| met(&general, packet).0)?;
            (rule.action == Action::Drop).then(|| Danger {
                what: port.what.clone(),
                how: format!("is dropped by rule {:?}", rule.name),
            })
        });
        peers.chain(ports).collect()
    }
}

fn is_everybody(source: Option<IpNet>) -> bool {
    source.is_none_or(|net| net.prefix_len() == 0)
}

/// The middle of a connection with a peer, at a port that no rule should mean.
fn answers(peer: &Peer) -> Vec<Packet> {
    const ACK: u8 = 16;
    let destination = unspecified(peer.address);
    let packet = |protocol: Protocol, detail, port| Packet {
        source: peer.address,
        destination,
        protocol: protocol.0,
        piece: 0,
        detail,
        port,
    };
    let tcp = packet(Protocol::TCP, ACK, 0);
    match peer.protocol {
        Some(protocol) => vec![packet(protocol, if protocol == Protocol::TCP { ACK } else { 0 }, 0)],
        None => vec![tcp, packet(Protocol::UDP, 0, 0)],
    }
}

/// The beginning of a connection of somebody, and its middle.
fn strangers(port: u16) -> Vec<Packet> {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let somebody: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let packet = |source: IpAddr, detail| Packet {
        source,
        destination: unspecified(source),
        protocol: Protocol::TCP.0,
        piece: 0,
        detail,
        port,
    };
    somebody.into_iter().flat_map(|source| [packet(source, SYN), packet(source, ACK)]).collect()
}

const fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_abi::shield::Class;

    use super::super::book::Entry;
    use super::*;
    use crate::api::RuleSpec;

    fn failsafe() -> Failsafe {
        let gateway = Peer {
            address: "192.0.2.1".parse().unwrap(),
            protocol: None,
            what: "the default route's neighbour 192.0.2.1".into(),
        };
        Failsafe::new([gateway], [Port { port: 22, what: "SSH (port 22)".into() }])
    }

    fn texts(dangers: Vec<Danger>) -> Vec<String> {
        dangers.iter().map(ToString::to_string).collect()
    }

    fn blocked(prefix: &str, protocol: Class) -> Vec<String> {
        let mut book = Book::default();
        let net = super::super::parse_prefix(prefix).unwrap().net;
        book.put("api", &Entry { net, allow: false, protocol, expires: None, comment: None });
        texts(failsafe().blocked_by_list(&book))
    }

    #[test]
    fn the_list_cannot_lock_out() {
        assert_eq!(blocked("198.51.100.0/24", Class::ANY), Vec::<String>::new());
        assert_eq!(
            blocked("192.0.2.0/24", Class::TCP),
            ["the default route's neighbour 192.0.2.1 is in 192.0.2.0/24"]
        );
        assert_eq!(blocked("0.0.0.0/0", Class::ANY).len(), 2);
        assert_eq!(blocked("::/0", Class::ANY), ["loopback (::1) is in ::/0"]);
    }

    fn dropped(rules: serde_json::Value) -> Vec<String> {
        let specs: Vec<RuleSpec> = serde_json::from_value(rules).unwrap();
        let rules: Vec<Rule> = specs.iter().map(|spec| spec.rule().unwrap()).collect();
        texts(failsafe().blocked_by_rules(&rules))
    }

    #[test]
    fn what_was_kept_out_before_is_no_reason() {
        let danger = |what: &str, how: &str| Danger { what: what.into(), how: how.into() };
        let before = [danger("a", "is in ::/0")];
        let after = vec![danger("a", "is in ::1/128"), danger("b", "is in ::1/128")];
        assert_eq!(added(&before, after), [danger("b", "is in ::1/128")]);
    }

    #[test]
    fn rules_cannot_lock_out() {
        let drop = |more: serde_json::Value| {
            let mut rule = serde_json::json!({"name": "r", "action": "drop"});
            rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            dropped(serde_json::json!([rule]))
        };
        assert_eq!(
            drop(serde_json::json!({"protocol": "tcp", "port": 22})),
            ["SSH (port 22) is dropped by rule \"r\""]
        );
        assert_eq!(drop(serde_json::json!({"port": "1-1000"})), ["SSH (port 22) is dropped by rule \"r\""]);
        assert_eq!(drop(serde_json::json!({"source": "::/0", "port": 22})).len(), 1);
        // Scanners may be kept from SSH, and other ports closed.
        assert!(drop(serde_json::json!({"source": "203.0.113.0/24", "port": 22})).is_empty());
        assert!(drop(serde_json::json!({"protocol": "tcp", "port": 23})).is_empty());
        assert!(drop(serde_json::json!({"protocol": "udp", "port": 22})).is_empty());
        assert!(drop(serde_json::json!({"fragment": "any"})).is_empty());
        assert_eq!(drop(serde_json::json!({"source": "192.0.2.0/24"})).len(), 1);
        assert_eq!(drop(serde_json::json!({})).len(), 4);
        // What lets it pass before makes it good.
        let first = serde_json::json!({"name": "a", "action": "pass", "port": 22, "protocol": "tcp"});
        let second = serde_json::json!({"name": "b", "action": "drop", "port": "1-1000", "priority": 9});
        assert!(dropped(serde_json::json!([first, second])).is_empty());
    }
}
