//! Rules as people write them.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;
use utoipa::ToSchema;

use crate::shield::rules::{FlagMatch, Ports, Protocol, RuleError};

/// A rule of the firewall. What it does not say holds for every packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Unique name, 1 to 63 characters of `a-z A-Z 0-9 . _ -`.
    pub name: String,
    /// Rules with a lower number are asked first; those of one number by name.
    #[serde(default)]
    pub priority: u32,
    /// Prefix that packets come from.
    #[serde(with = "super::super::prefix::option", skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub source: Option<IpNet>,
    /// Prefix that they go to.
    #[serde(with = "super::super::prefix::option", skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub destination: Option<IpNet>,
    /// IP protocol: `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, … or its number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub protocol: Option<Protocol>,
    /// Destination port, or a range (`8000-8099`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub port: Option<Ports>,
    /// TCP flags, with `!` for those that must not be set (`syn,!ack`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub tcp_flags: Option<FlagMatch>,
    /// ICMP or `ICMPv6` type.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub icmp_type: Option<u8>,
    /// Which fragments.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fragment: Option<FragmentMatch>,
    /// What to do.
    pub action: RuleAction,
    /// With `limit`: what may pass, such as `1000pps`, `500kB/s`, `8Mbit/s`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub rate: Option<Rate>,
    /// With `limit`: packets or bytes that may pass at once; none: what passes in a second.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub burst: Option<u64>,
    /// With `limit`: who has such a rate: `source/32`, `source/24,64` (IPv4, IPv6); none: all packets together.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub per: Option<SourcePrefix>,
    /// Report what it decides (sampled).
    #[serde(default, skip_serializing_if = "is_false")]
    pub log: bool,
    /// What somebody wrote about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comment: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    /// Drops.
    Drop,
    /// Lets pass, and asks neither further rules nor the flood guard.
    Pass,
    /// Lets pass what is within the rate, and drops the rest.
    Limit,
    /// Reports (sampled), and decides nothing: further rules are asked.
    Log,
}

/// Which fragments a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FragmentMatch {
    /// Fragments, the first and later ones.
    Any,
    /// First fragments, which have the ports.
    First,
    /// Later ones, which do not.
    Later,
    /// Whole packets.
    None,
}

/// A rate: packets or bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Whether bytes are counted, else packets.
    pub bytes: bool,
    /// Each second.
    pub per_second: u64,
}

/// Lengths of source prefixes that each have a bucket of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourcePrefix {
    /// Of IPv4: 0 to 32.
    pub v4: u8,
    /// Of IPv6: 0 to 128.
    pub v6: u8,
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadRule {
    /// Its name.
    #[error("a rule's name is 1 to 63 letters, digits, dots, dashes and underscores, and {0:?} is not")]
    Name(String),
    /// A property that only limits have.
    #[error("rule {0:?}: rate, burst and per belong to action \"limit\"")]
    NoLimit(String),
    /// A limit without a rate.
    #[error("rule {0:?}: action \"limit\" needs a rate, such as 1000pps")]
    NoRate(String),
    /// A comment that is too long.
    #[error("rule {0:?}: a comment has at most 256 characters")]
    Comment(String),
    /// It makes no sense.
    #[error("rule {0:?}: {1}")]
    Nonsense(String, RuleError),
}

/// A rule as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleView {
    /// What was asked for.
    #[serde(flatten)]
    pub rule: RuleSpec,
    /// Its place in the order in which rules are asked, from 1 on.
    pub order: u32,
    /// Packets that met it since it was put.
    pub packets: u64,
    /// Their bytes, from the Ethernet header on.
    pub bytes: u64,
}

/// `POST /api/v1/rules/test`: a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PacketSpec {
    /// Source address.
    #[schema(value_type = String)]
    pub source: std::net::IpAddr,
    /// Destination address; none: unspecified, which no prefix but `/0` holds.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub destination: Option<std::net::IpAddr>,
    /// IP protocol; none: TCP.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub protocol: Option<Protocol>,
    /// Destination port.
    #[serde(default)]
    pub port: Option<u16>,
    /// TCP flags (`syn,ack`); none: `syn`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub tcp_flags: Option<FlagMatch>,
    /// ICMP type; none: echo request.
    #[serde(default)]
    pub icmp_type: Option<u8>,
    /// `first` or `later` fragment; none: a whole packet.
    #[serde(default)]
    pub fragment: Option<FragmentMatch>,
}

/// What becomes of a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PacketVerdict {
    /// `pass`, `drop` or `limit`.
    pub verdict: String,
    /// `blocklist`, `rule`, `guard` or `default`.
    pub stage: String,
    /// The rule that decides.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// The rule before it that reports the packet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub logged_by: Option<String>,
    /// What the blocklist says.
    pub blocklist: super::AddressTest,
    /// All that in one sentence.
    pub explanation: String,
}

/// A text that is none of what may stand there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is not {what}")]
pub struct NotA {
    text: String,
    what: &'static str,
}

pub(crate) fn not_a(what: &'static str, text: &str) -> NotA {
    NotA { text: text.chars().take(60).collect(), what }
}

/// Serde by `Display` and `FromStr`.
macro_rules! as_text {
    ($($type:ty),+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text_or_number(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

as_text!(Protocol, Ports, FlagMatch, Rate, SourcePrefix);

/// People write `"port": 22` as well as `"port": "22"`.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Number(u64),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Text(text) => text,
        Written::Number(number) => number.to_string(),
    })
}

/// Names of protocols, as IANA and `/etc/protocols` have them.
const PROTOCOLS: [(&str, u8); 14] = [
    ("tcp", 6),
    ("udp", 17),
    ("icmp", 1),
    ("icmpv6", 58),
    ("igmp", 2),
    ("ipip", 4),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ospf", 89),
    ("sctp", 132),
    ("udplite", 136),
];

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.pad(name),
            None => self.0.fmt(f),
        }
    }
}

impl FromStr for Protocol {
    type Err = NotA;

    fn from_str(text: &str) -> Result<Self, NotA> {
        let named = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let number = named.map(|(_, number)| *number).or_else(|| text.parse().ok());
        number.map(Self).ok_or_else(|| not_a("an IP protocol (tcp, udp, icmp, icmpv6, …, or 0-255)", text))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first() == self.last() {
            return self.first().fmt(f);
        }
        write!(f, "{}-{}", self.first(), self.last())
    }
}

impl FromStr for Ports {
    type Err = NotA;

    fn from_str(text: &str) -> Result<Self, NotA> {
        let bad = || not_a("a port or a range of ports (22, 8000-8099)", text);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| bad());
        let (first, last) = (port(first)?, port(last)?);
        Self::new(first, last).ok_or_else(|| not_a("a range of ports: its end is before its start", text))
    }
}

/// Names of TCP flags (RFC 9293 section 3.1, RFC 3168).
const FLAGS: [(&str, u8); 8] =
    [("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16), ("urg", 32), ("ece", 64), ("cwr", 128)];

impl fmt::Display for FlagMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, bit) in FLAGS.iter().filter(|(_, bit)| self.mask & bit != 0) {
            let not = if self.set & bit == 0 { "!" } else { "" };
            write!(f, "{separator}{not}{name}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl FromStr for FlagMatch {
    type Err = NotA;

    fn from_str(text: &str) -> Result<Self, NotA> {
        let bad = || {
            not_a(
                "a list of TCP flags (fin, syn, rst, psh, ack, urg, ece, cwr; `!` before one that must not be set)",
                text,
            )
        };
        let mut found = Self { mask: 0, set: 0 };
        for word in text.split(',').map(str::trim) {
            let (name, wanted) = word.strip_prefix('!').map_or((word, true), |name| (name, false));
            let bit = FLAGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).ok_or_else(bad)?.1;
            if found.mask & bit != 0 {
                return Err(not_a("a list of TCP flags that names each once", text));
            }
            found.mask |= bit;
            found.set |= if wanted { bit } else { 0 };
        }
        Ok(found)
    }
}
