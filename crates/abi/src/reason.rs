//! Why a frame was dropped: one list for kernel, API, metrics and docs.

use core::fmt;
use core::str::FromStr;

/// Room for reasons in the kernel's counters; never shrinks.
pub const REASON_SLOTS: usize = 32;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $hostile:literal;)*) => {
        /// Why a frame was dropped (or, in audit mode, would have been).
        ///
        /// Names and numbers are fixed for good: a reason is never reused for another
        /// meaning, a new one gets a new name and number (below [`REASON_SLOTS`]).
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $variant = $number,)*
        }

        impl DropReason {
            /// Every reason, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name users see.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether this can be evidence of intent: claiming another's address, MAC, ARP or ND
            /// identity, or a router's or DHCP server's role. What is not hostile is merely
            /// not allowed, and never counts against a workload. What is may still be harmless in an
            /// instance (link-local noise): the engine's finding tells.
            #[must_use]
            pub const fn is_hostile(self) -> bool {
                match self { $(Self::$variant => $hostile,)* }
            }

            /// The reason with this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// The number in the kernel's counters and events.
            #[must_use]
            pub const fn number(self) -> u8 {
                self as u8
            }
        }
    };
}

reasons! {
    /// IPv4 source (or IGMP querier's) is not bound to the interface (RFC 2827).
    SpoofedIpv4 = 1, "spoofed-ipv4", true;
    /// IPv6 source is not bound to the interface (RFC 2827, RFC 7039).
    SpoofedIpv6 = 2, "spoofed-ipv6", true;
    /// Ethernet source is not one of the endpoint's MACs.
    SpoofedMac = 3, "spoofed-mac", true;
    /// ARP speaks for an address or MAC that is not the endpoint's, or is not well formed.
    SpoofedArp = 4, "spoofed-arp", true;
    /// Neighbour discovery for a foreign address, with a wrong hop limit, or in a fragment (RFC 6980).
    SpoofedNd = 5, "spoofed-nd", true;
    /// Router advertisement or redirect from a workload (RFC 6105).
    RogueRa = 6, "rogue-ra", true;
    /// DHCP server's traffic from a workload (RFC 7610).
    RogueDhcp = 7, "rogue-dhcp", true;
    /// The frame cannot be read: truncated, inconsistent, or beyond the parser's bound.
    Malformed = 8, "malformed", false;
    /// 802.1Q or 802.1ad tag where none is allowed.
    Vlan = 9, "vlan", false;
    /// An ethertype that is not allowed, LLC and RARP among them.
    Ethertype = 10, "ethertype", false;
    /// A fragment where none is allowed.
    Fragment = 11, "fragment", false;
    /// The interface has no binding, and the host says that such interfaces may not send.
    Unbound = 12, "unbound", false;
    /// The endpoint is in quarantine.
    Quarantined = 13, "quarantined", false;
    /// The firewall's blocklist has the source.
    Blocklisted = 14, "blocklisted", false;
    /// A firewall rule dropped it.
    Rule = 15, "rule", false;
    /// Over a rule's rate limit.
    RateLimited = 16, "rate-limited", false;
    /// The flood guard dropped a SYN.
    SynFlood = 17, "syn-flood", false;
    /// A service without a healthy backend.
    NoBackend = 18, "no-backend", false;
    /// No route or no usable next hop.
    NoRoute = 19, "no-route", false;
    /// TTL or hop limit ran out.
    TtlExceeded = 20, "ttl-exceeded", false;
    /// A kernel helper or table failed where it must not.
    Internal = 21, "internal", false;
    /// Encapsulated traffic from a workload to a node's address (IPIP, GRE, VXLAN, Geneve, WireGuard).
    Tunnel = 22, "tunnel", false;
    /// An ICMP error quotes a packet that the workload could not have received. Reported, never dropped.
    IcmpQuote = 23, "icmp-quote", false;
    /// An IPv4 packet with a source route option (RFC 7126), or an IPv6 type 0 routing header (RFC 5095).
    SourceRoute = 24, "source-route", false;
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DropReason {
    type Err = UnknownReason;

    fn from_str(s: &str) -> Result<Self, UnknownReason> {
        Self::ALL.iter().copied().find(|r| r.name() == s).ok_or(UnknownReason)
    }
}

/// A text that is no drop reason's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownReason;

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a drop reason; known are:")?;
        for reason in DropReason::ALL {
            write!(f, " {reason}")?;
        }
        Ok(())
    }
}
impl core::error::Error for UnknownReason {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique_and_fit() {
        for (i, a) in DropReason::ALL.iter().enumerate() {
            assert!((a.number() as usize) < REASON_SLOTS);
            assert_eq!(DropReason::from_number(a.number()), Some(*a));
            assert_eq!(a.name().parse(), Ok(*a));
            for b in &DropReason::ALL[i + 1..] {
                assert_ne!(a.number(), b.number());
                assert_ne!(a.name(), b.name());
            }
        }
    }
}
