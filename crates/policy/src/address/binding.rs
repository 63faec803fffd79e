//! Addresses and prefixes that may be bound as a source.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis_abi::Ipv6;
use thiserror::Error;
use utoipa::ToSchema;

use super::{quote, serde_as_text};

/// Prefixes with fewer bits than this are refused: no workload routes for so much.
const MIN_PREFIX_LEN: u8 = 8;

/// An address, or a prefix for a workload that routes for others: `10.0.0.2`, `fd00::/64`.
///
/// Always canonical: no host bits, a full-length prefix is the address itself, never an address
/// that nobody may send from (multicast, unspecified, reserved, IPv4-mapped).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, example = "10.0.0.2")]
pub struct AddressBinding(IpNet);

impl AddressBinding {
    /// The address, or the first one of the prefix.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.0.addr()
    }

    /// Bits that count: 32 or 128 for a single address.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether this is a single address.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// Whether this is one link-local IPv6 address.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        matches!(self.ip(), IpAddr::V6(v6) if Ipv6::from(v6).is_link_local())
    }

    /// Whether this lies in 127.0.0.0/8 or is `::1`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.ip().is_loopback()
    }

    /// Whether `address` is bound by this.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether some address is bound by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        // Two prefixes are nested or apart.
        self.0.contains(&other.0) || other.0.contains(&self.0)
    }

    /// The form in which tables hold it: IPv4 as `::ffff:a.b.c.d`, its length counted in 128 bits.
    #[must_use]
    pub fn mapped(&self) -> (Ipv6, u32) {
        let shift = if self.ip().is_ipv4() { 96 } else { 0 };
        (Ipv6::from(self.ip()), shift + u32::from(self.prefix_len()))
    }

    /// First and last address, mapped, as numbers.
    pub(crate) fn range(&self) -> (u128, u128) {
        let (first, len) = self.mapped();
        let first = u128::from_be_bytes(first.0);
        (first, first | u128::MAX.checked_shr(len).unwrap_or(0))
    }
}

impl TryFrom<IpNet> for AddressBinding {
    type Error = AddressError;

    /// The host bits of `net` must be clear, as in text.
    fn try_from(net: IpNet) -> Result<Self, AddressError> {
        if net.prefix_len() == 0 {
            return Err(AddressError::Everything { text: net.to_string() });
        }
        match net {
            IpNet::V4(v4) => check_v4(v4)?,
            IpNet::V6(v6) => check_v6(v6)?,
        }
        if net.prefix_len() < MIN_PREFIX_LEN {
            return Err(AddressError::TooWide { text: net.to_string() });
        }
        if net.addr() != net.network() {
            return Err(AddressError::HostBits {
                text: net.to_string(),
                host: net.addr(),
                prefix: net.trunc(),
            });
        }
        Ok(Self(net))
    }
}

impl TryFrom<IpAddr> for AddressBinding {
    type Error = AddressError;

    fn try_from(address: IpAddr) -> Result<Self, AddressError> {
        Self::try_from(IpNet::from(address))
    }
}

impl FromStr for AddressBinding {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::try_from(parse_net(text)?)
    }
}

fn parse_net(text: &str) -> Result<IpNet, AddressError> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    if address.contains('%') {
        return Err(AddressError::Zone { text: quote(text) });
    }
    let address: IpAddr = address.parse().map_err(|_| AddressError::NotAnAddress { text: quote(text) })?;
    let net = IpNet::from(address);
    let Some(len) = len else { return Ok(net) };
    let bad_len = || AddressError::PrefixLen { text: quote(text), max: net.max_prefix_len() };
    // `parse` alone would take "+24" too.
    if len.is_empty() || !len.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad_len());
    }
    let len: u8 = len.parse().map_err(|_| bad_len())?;
    IpNet::new(address, len).map_err(|_| bad_len())
}

fn check_v4(net: Ipv4Net) -> Result<(), AddressError> {
    const THIS_NETWORK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8);
    const MULTICAST: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4);
    const RESERVED: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4);
    let text = || if net.prefix_len() == 32 { net.addr().to_string() } else { net.to_string() };
    if THIS_NETWORK.contains(&net) {
        return Err(AddressError::ThisNetwork { text: text() });
    }
    if MULTICAST.contains(&net) {
        return Err(AddressError::Multicast { text: text() });
    }
    if net.addr().is_broadcast() {
        return Err(AddressError::Broadcast);
    }
    if RESERVED.contains(&net) {
        return Err(AddressError::Reserved { text: text() });
    }
    Ok(())
}

fn check_v6(net: Ipv6Net) -> Result<(), AddressError> {
    const LOW: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 8);
    const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
    const MULTICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8);
    const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
    let host = net.prefix_len() == 128;
    let text = || if host { net.addr().to_string() } else { net.to_string() };
    if host && net.addr().is_loopback() {
        return Ok(());
    }
    if host && net.addr().is_unspecified() {
        return Err(AddressError::Unspecified);
    }
    if MAPPED.contains(&net) {
        let v4 = Ipv4Addr::from(Ipv6::from(net.addr()).unmapped().unwrap_or_default());
        let instead = if host { v4.to_string() } else { format!("{v4}/{}", net.prefix_len() - 96) };
        return Err(AddressError::Mapped { text: text(), instead });
    }
    if LOW.contains(&net) {
        return Err(AddressError::Reserved { text: text() });
    }
    if MULTICAST.contains(&net) {
        return Err(AddressError::Multicast { text: text() });
    }
    // A router never forwards link-local traffic (RFC 4291 section 2.5.6), so nobody routes for it.
    let wide = net.prefix_len() < MIN_PREFIX_LEN;
    if !host && !wide && (LINK_LOCAL.contains(&net) || net.contains(&LINK_LOCAL)) {
        return Err(AddressError::LinkLocalPrefix { text: text() });
    }
    Ok(())
}

impl fmt::Display for AddressBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() { f.pad(&self.ip().to_string()) } else { f.pad(&self.0.to_string()) }
    }
}

impl fmt::Debug for AddressBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(AddressBinding, "an address such as \"10.0.0.2\", or a prefix such as \"fd00::/64\"");

/// Why a text is no [`AddressBinding`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not an address at all.
    #[error(
        "{text} is not an address: write one such as 10.0.0.2 or fd00::2, or a prefix such as 10.0.1.0/24"
    )]
    NotAnAddress {
        /// The text, quoted.
        text: String,
    },
    /// An address with a zone.
    #[error("{text} names an interface after %: write the address alone, the interface has its own field")]
    Zone {
        /// The text, quoted.
        text: String,
    },
    /// What follows the slash is no length, or too long.
    #[error("{text} has no valid prefix length: write a number from 8 to {max} after the slash")]
    PrefixLen {
        /// The text, quoted.
        text: String,
        /// The longest for the family.
        max: u8,
    },
    /// All addresses of a family.
    #[error("{text} would let it use every address as its source: bind the prefixes it routes for")]
    Everything {
        /// The prefix.
        text: String,
    },
    /// Fewer bits than any workload routes for.
    #[error(
        "{text} is too wide a prefix (fewer than {MIN_PREFIX_LEN} bits): bind the prefixes it routes for, each for itself"
    )]
    TooWide {
        /// The prefix.
        text: String,
    },
    /// An address with the length of its network, as `ip addr` prints it.
    #[error(
        "{text} has host bits set: write {host} for that address alone, or {prefix} for the whole prefix"
    )]
    HostBits {
        /// The text.
        text: String,
        /// The address alone.
        host: IpAddr,
        /// The prefix.
        prefix: IpNet,
    },
    /// 0.0.0.0/8.
    #[error(
        "{text} lies in 0.0.0.0/8, which is never a source: bind the workload's own address, or allow dhcp-client if it gets one by DHCP"
    )]
    ThisNetwork {
        /// The text.
        text: String,
    },
    /// 224.0.0.0/4 and ff00::/8.
    #[error(
        "{text} is multicast, which is never a source: bind the workload's own address (it may send to multicast groups without)"
    )]
    Multicast {
        /// The text.
        text: String,
    },
    /// 255.255.255.255.
    #[error(
        "255.255.255.255 is the broadcast address, which is never a source: bind the workload's own address"
    )]
    Broadcast,
    /// `::`.
    #[error(
        ":: is the unspecified address: bind the workload's own address (duplicate address detection from :: passes without)"
    )]
    Unspecified,
    /// 240.0.0.0/4 and ::/8.
    #[error(
        "{text} lies in reserved address space, which is never a source: bind the workload's own address"
    )]
    Reserved {
        /// The text.
        text: String,
    },
    /// ::ffff:0:0/96.
    #[error("{text} is an IPv4 address in IPv6 form: write the IPv4 address, {instead}")]
    Mapped {
        /// The text.
        text: String,
        /// The same in IPv4.
        instead: String,
    },
    /// A prefix that has link-local addresses in it.
    #[error(
        "{text} reaches into the link-local addresses, which are not routed: write each link-local address for itself, without a length"
    )]
    LinkLocalPrefix {
        /// The text.
        text: String,
    },
}
