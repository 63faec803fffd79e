//! What a rule says.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

/// A rule of the firewall. What is not said holds for every packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name: unique.
    pub name: String,
    /// Rules with a lower number are asked first.
    pub priority: u32,
    /// Where packets come from.
    pub source: Option<IpNet>,
    /// Where they go.
    pub destination: Option<IpNet>,
    /// Their IP protocol.
    pub protocol: Option<Protocol>,
    /// Their destination port.
    pub ports: Option<Ports>,
    /// Their TCP flags.
    pub flags: Option<FlagMatch>,
    /// Their ICMP or ICMPv6 type.
    pub icmp_type: Option<u8>,
    /// Whether they are pieces of larger ones.
    pub pieces: Option<Pieces>,
    /// What to do.
    pub action: Action,
    /// Whether to report what it decides, too (sampled).
    pub report: bool,
}

/// An IP protocol's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMPv6.
    pub const ICMPV6: Self = Self(58);

    /// Whether it has ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self.0, 6 | 17 | 33 | 132 | 136)
    }

    const fn is_icmp(self) -> bool {
        matches!(self, Self::ICMP | Self::ICMPV6)
    }
}

/// A range of ports: the first is not behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// From the first to the last, both included; none if that is backwards.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first <= last { Some(Self { first, last }) } else { None }
    }

    /// The first.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }
}

/// Which TCP flags are set, and which are not (RFC 9293 section 3.1: FIN is 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlagMatch {
    /// Those that are looked at.
    pub mask: u8,
    /// Those of them that are set; the others are not.
    pub set: u8,
}

/// Which pieces of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pieces {
    /// Pieces, the first as well as later ones.
    Any,
    /// First pieces, which have the ports.
    First,
    /// Later ones, which do not.
    Later,
    /// None: whole packets.
    None,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Drops.
    Drop,
    /// Lets pass.
    Pass,
    /// Lets pass what is within the rate, drops the rest.
    Limit(Rate),
    /// Reports (sampled), and decides nothing: further rules are asked.
    Log,
}

/// How much may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// What is counted.
    pub unit: Unit,
    /// Of it, each second.
    pub per_second: u64,
    /// Of it, at once.
    pub burst: u64,
    /// Who has such a rate.
    pub per: Per,
}

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Packets.
    Packets,
    /// Bytes, from the Ethernet header on.
    Bytes,
}

/// Who has a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Per {
    /// All packets of the rule together.
    Total,
    /// Each source prefix of these lengths, of IPv4 and IPv6.
    Source(u8, u8),
}

/// What a rule is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// 0: whole, 1: first piece, 2: later piece.
    pub piece: u8,
    /// TCP's flags, ICMP's type, else 0.
    pub detail: u8,
    /// Destination port, else 0.
    pub port: u16,
}

/// Why a rule is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RuleError {
    /// Ports of what has none.
    #[error("protocol {0} has no ports: leave the ports or the protocol out")]
    NoPorts(u8),
    /// Flags of what is not TCP.
    #[error("only TCP has flags: say protocol tcp, or leave the flags out")]
    NoFlags,
    /// Flags that are set but not looked at.
    #[error("flags that are to be set must be among those that are looked at")]
    BadFlags,
    /// A type of what is not ICMP.
    #[error("only icmp and icmpv6 have types: say which protocol, or leave the type out")]
    NoType,
    /// Ports, flags or a type of later fragments.
    #[error("later fragments have no ports, flags or types: leave those out, or the fragments")]
    Headless,
    /// Addresses of both families.
    #[error("source and destination must both be IPv4 or both IPv6")]
    Families,
    /// A rate of nothing.
    #[error("a limit needs a rate and a burst of at least 1")]
    NoRate,
    /// More than the clock can tell apart.
    #[error(
        "a limit of more than 10,000,000,000 a second, or a burst that takes longer than an hour, is none"
    )]
    RateTooHigh,
    /// A prefix that is too long.
    #[error("a source prefix has at most 32 bits of IPv4 and 128 of IPv6")]
    BadPer,
}

impl Rule {
    /// Whether it makes sense.
    pub fn check(&self) -> Result<(), RuleError> {
        let protocol = self.protocol;
        match (self.ports, protocol) {
            (Some(_), Some(protocol)) if !protocol.has_ports() => return Err(RuleError::NoPorts(protocol.0)),
            _ => {}
        }
        match self.flags {
            Some(_) if protocol != Some(Protocol::TCP) => return Err(RuleError::NoFlags),
            Some(flags) if flags.set & !flags.mask != 0 => return Err(RuleError::BadFlags),
            _ => {}
        }
        if self.icmp_type.is_some() && !protocol.is_some_and(Protocol::is_icmp) {
            return Err(RuleError::NoType);
        }
        if self.pieces == Some(Pieces::Later) && self.reads_transport() {
            return Err(RuleError::Headless);
        }
        match (self.source, self.destination) {
            (Some(IpNet::V4(_)), Some(IpNet::V6(_))) | (Some(IpNet::V6(_)), Some(IpNet::V4(_))) => {
                return Err(RuleError::Families);
            }
            _ => {}
        }
        if let Action::Limit(rate) = self.action {
            rate.check()?;
        }
        Ok(())
    }

    /// Whether a packet is as it says.
    #[must_use]
    pub fn matches(&self, packet: &Packet) -> bool {
        let within = |net: Option<IpNet>, address| net.is_none_or(|net| net.contains(&address));
        within(self.source, packet.source)
            && within(self.destination, packet.destination)
            && self.ports.is_none_or(|ports| (ports.first..=ports.last).contains(&packet.port))
            && self.matches_kind(packet.protocol, packet.piece, packet.detail)
    }

    /// The part of it that is about protocol, fragments, flags and types.
    pub(crate) fn matches_kind(&self, protocol: u8, piece: u8, detail: u8) -> bool {
        const LATER: u8 = 2;
        let readable = piece != LATER;
        self.protocol.is_none_or(|wanted| wanted.0 == protocol)
            && self.pieces.is_none_or(|pieces| match pieces {
                Pieces::Any => piece != 0,
                Pieces::First => piece == 1,
                Pieces::Later => piece == LATER,
                Pieces::None => piece == 0,
            })
            && (self.ports.is_none() || readable && Protocol(protocol).has_ports())
            && self.flags.is_none_or(|flags| readable && detail & flags.mask == flags.set)
            && self.icmp_type.is_none_or(|wanted| readable && detail == wanted)
    }

    const fn reads_transport(&self) -> bool {
        self.ports.is_some() || self.flags.is_some() || self.icmp_type.is_some()
    }
}

impl Rate {
    fn check(self) -> Result<(), RuleError> {
        const MOST: u64 = 10_000_000_000;
        const HOUR_S: u64 = 3600;
        if self.per_second == 0 || self.burst == 0 {
            return Err(RuleError::NoRate);
        }
        if self.per_second > MOST || self.burst / self.per_second > HOUR_S {
            return Err(RuleError::RateTooHigh);
        }
        match self.per {
            Per::Source(v4, v6) if v4 > 32 || v6 > 128 => Err(RuleError::BadPer),
            _ => Ok(()),
        }
    }
}
