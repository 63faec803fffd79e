//! From rules as people write them to rules as they are compiled.

use super::rule::{BadRule, FragmentMatch, PacketSpec, Rate, RuleAction, RuleSpec};
use crate::shield::rules::{Action, Packet, Per, Pieces, Protocol, Rate as Limit, Rule, Unit};

const NAME_MAX: usize = 63;
const COMMENT_MAX: usize = 256;

impl RuleSpec {
    /// The rule that is compiled, if this is one.
    pub fn rule(&self) -> Result<Rule, BadRule> {
        if !is_name(&self.name) {
            return Err(BadRule::Name(self.name.chars().take(60).collect()));
        }
        if self.comment.as_ref().is_some_and(|comment| comment.chars().count() > COMMENT_MAX) {
            return Err(BadRule::Comment(self.name.clone()));
        }
        let rule = Rule {
            name: self.name.clone(),
            priority: self.priority,
            source: self.source.map(|net| net.trunc()),
            destination: self.destination.map(|net| net.trunc()),
            protocol: self.protocol,
            ports: self.port,
            flags: self.tcp_flags,
            icmp_type: self.icmp_type,
            pieces: self.fragment.map(FragmentMatch::pieces),
            action: self.action()?,
            report: self.log,
        };
        rule.check().map_err(|error| BadRule::Nonsense(self.name.clone(), error))?;
        Ok(rule)
    }

    fn action(&self) -> Result<Action, BadRule> {
        if self.action == RuleAction::Limit {
            let rate = self.rate.ok_or_else(|| BadRule::NoRate(self.name.clone()))?;
            return Ok(Action::Limit(self.limit(rate)));
        }
        if self.rate.is_some() || self.burst.is_some() || self.per.is_some() {
            return Err(BadRule::NoLimit(self.name.clone()));
        }
        Ok(match self.action {
            RuleAction::Drop | RuleAction::Limit => Action::Drop,
            RuleAction::Pass => Action::Pass,
            RuleAction::Log => Action::Log,
        })
    }

    fn limit(&self, rate: Rate) -> Limit {
        // Of bytes a burst holds one frame of any size at the least, else the largest ones would never pass.
        const LARGEST_FRAME: u64 = 65_550;
        let least = if rate.bytes { LARGEST_FRAME } else { 1 };
        Limit {
            unit: if rate.bytes { Unit::Bytes } else { Unit::Packets },
            per_second: rate.per_second,
            burst: self.burst.unwrap_or_else(|| rate.per_second.max(least)),
            per: self.per.map_or(Per::Total, |per| Per::Source(per.v4, per.v6)),
        }
    }
}

impl FragmentMatch {
    const fn pieces(self) -> Pieces {
        match self {
            Self::Any => Pieces::Any,
            Self::First => Pieces::First,
            Self::Later => Pieces::Later,
            Self::None => Pieces::None,
        }
    }
}

impl PacketSpec {
    /// The packet that rules are asked about.
    #[must_use]
    pub fn packet(&self) -> Packet {
        const SYN: u8 = 2;
        const ECHO: u8 = 8;
        const ECHO6: u8 = 128;
        let protocol = self.protocol.unwrap_or(Protocol::TCP);
        let piece = match self.fragment {
            Some(FragmentMatch::First | FragmentMatch::Any) => 1,
            Some(FragmentMatch::Later) => 2,
            Some(FragmentMatch::None) | None => 0,
        };
        let is_headed = piece != 2;
        let detail = match protocol {
            Protocol::TCP => self.tcp_flags.map_or(SYN, |flags| flags.set),
            Protocol::ICMP => self.icmp_type.unwrap_or(ECHO),
            Protocol::ICMPV6 => self.icmp_type.unwrap_or(ECHO6),
            _ => 0,
        };
        let any: std::net::IpAddr = match self.source {
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        Packet {
            source: self.source.to_canonical(),
            destination: self.destination.unwrap_or(any).to_canonical(),
            protocol: protocol.0,
            piece,
            detail: if is_headed { detail } else { 0 },
            port: if is_headed && protocol.has_ports() { self.port.unwrap_or(0) } else { 0 },
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<Rule, String> {
        let spec: RuleSpec = serde_json::from_value(json).map_err(|e| e.to_string())?;
        spec.rule().map_err(|e| e.to_string())
    }

    #[test]
    fn rules_are_read_as_they_are_meant() {
        let rule = read(
            serde_json::json!({"name": "ssh", "priority": 10, "source": "192.0.2.7/24", "protocol": "tcp",
            "port": 22, "tcp_flags": "syn,!ack", "action": "limit", "rate": "10kpps", "per": "source/24,56"}),
        );
        let rule = rule.unwrap();
        assert_eq!(rule.source, Some("192.0.2.0/24".parse().unwrap()));
        assert_eq!(rule.flags.map(|flags| (flags.mask, flags.set)), Some((18, 2)));
        let Action::Limit(limit) = rule.action else { panic!("{rule:?}") };
        assert_eq!((limit.per_second, limit.burst, limit.per), (10_000, 10_000, Per::Source(24, 56)));
        let rule =
            read(serde_json::json!({"name": "a", "port": "8000-8099", "action": "limit", "rate": "8Mbit/s"}));
        let Action::Limit(limit) = rule.unwrap().action else { panic!() };
        assert_eq!((limit.unit, limit.per_second, limit.burst), (Unit::Bytes, 1_000_000, 1_000_000));
    }

    #[test]
    fn nonsense_is_said_in_words() {
        for (json, part) in [
            (serde_json::json!({"name": "a b", "action": "drop"}), "a rule's name"),
            (
                serde_json::json!({"name": "a", "action": "drop", "port": "90-80"}),
                "its end is before its start",
            ),
            (serde_json::json!({"name": "a", "action": "drop", "port": "65536"}), "a port or a range"),
            (serde_json::json!({"name": "a", "action": "drop", "rate": "1pps"}), "belong to action"),
            (serde_json::json!({"name": "a", "action": "limit"}), "needs a rate"),
            (serde_json::json!({"name": "a", "action": "limit", "rate": "0pps"}), "at least 1"),
            (
                serde_json::json!({"name": "a", "action": "drop", "protocol": "icmp", "port": 1}),
                "has no ports",
            ),
            (serde_json::json!({"name": "a", "action": "drop", "protocol": "tpc"}), "an IP protocol"),
            (serde_json::json!({"name": "a", "action": "drop", "tcp_flags": "syn,syn"}), "names each once"),
            (
                serde_json::json!({"name": "a", "action": "drop", "source": "1.2.3"}),
                "not an IPv4 or IPv6 address",
            ),
            (serde_json::json!({"name": "a", "action": "dorp"}), "unknown variant"),
        ] {
            let error = read(json.clone()).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn texts_come_back() {
        for text in ["1kpps", "1500pps", "3MB/s", "64kB/s", "7B/s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("source".parse(), Ok(super::super::SourcePrefix { v4: 32, v6: 64 }));
        assert_eq!("source/48".parse(), Ok(super::super::SourcePrefix { v4: 32, v6: 48 }));
        assert!("source/129".parse::<super::super::SourcePrefix>().is_err());
    }
}
