//! Both families together, and prefixes as people write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

use super::list4::List4;
use super::list6::List6;
use super::{Listing, Prefix4, Prefix6};

/// The blocklist: the desired entries of both families. What they decide is said in [`super`].
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// IPv4.
    pub v4: List4,
    /// IPv6.
    pub v6: List6,
}

impl FromIterator<(IpNet, Listing)> for Lists {
    /// Entries of the same prefix are joined. Bits beyond a prefix's length do not count.
    fn from_iter<I: IntoIterator<Item = (IpNet, Listing)>>(entries: I) -> Self {
        let mut v6 = List6::default();
        let v4 = entries.into_iter().filter_map(|(net, listing)| match net {
            IpNet::V4(net) => Some((prefix4(net), listing)),
            IpNet::V6(net) => {
                let prefix = prefix6(net);
                v6.set(prefix, v6.get(prefix).union(listing));
                None
            }
        });
        let v4 = v4.collect();
        Self { v4, v6 }
    }
}

impl Lists {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// What is listed of exactly this prefix.
    #[must_use]
    pub fn get(&self, net: IpNet) -> Listing {
        match net {
            IpNet::V4(net) => self.v4.get(prefix4(net)),
            IpNet::V6(net) => self.v6.get(prefix6(net)),
        }
    }

    /// The entry that decides about an address: `None` where nothing is listed around it.
    #[must_use]
    pub fn decisive(&self, address: IpAddr) -> Option<(IpNet, Listing)> {
        match address {
            IpAddr::V4(address) => {
                let (prefix, listing) = self.v4.decisive(address.to_bits())?;
                Some((net4(prefix), listing))
            }
            IpAddr::V6(address) => {
                let (prefix, listing) = self.v6.decisive(address.to_bits())?;
                Some((net6(prefix), listing))
            }
        }
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, Listing)> {
        let v4 = self.v4.iter().map(|(prefix, listing)| (net4(prefix), listing));
        v4.chain(self.v6.iter().map(|(prefix, listing)| (net6(prefix), listing)))
    }
}

/// As the lists have it.
#[must_use]
pub fn prefix4(net: Ipv4Net) -> Prefix4 {
    Prefix4::of(net.addr().to_bits(), net.prefix_len())
}

/// As the lists have it.
#[must_use]
pub fn prefix6(net: Ipv6Net) -> Prefix6 {
    Prefix6::of(net.addr().to_bits(), net.prefix_len())
}

fn net4(prefix: Prefix4) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(prefix.address()), prefix.bits()))
}

fn net6(prefix: Prefix6) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(prefix.address()), prefix.bits()))
}

/// A prefix that somebody wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The prefix, without bits beyond its length.
    pub net: IpNet,
    /// Such bits were there: perhaps something else was meant.
    pub had_host_bits: bool,
}

/// A text that is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// The address is none.
    #[error("{0:?} is not an IPv4 or IPv6 address")]
    Address(String),
    /// The length is none.
    #[error("{0:?} is not a prefix length of this family (0-32 for IPv4, 0-128 for IPv6)")]
    Length(String),
}

/// Reads an address or a prefix. IPv4 written as IPv6 (`::ffff:192.0.2.1`) is IPv4.
pub fn parse_prefix(text: &str) -> Result<Written, PrefixError> {
    let short = |text: &str| text.chars().take(60).collect::<String>();
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let written: IpAddr = address.parse().map_err(|_| PrefixError::Address(short(address)))?;
    let address = written.to_canonical();
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    // The first 96 bits of a mapped address are not those of an IPv4 address.
    let mapped: u8 = if written.is_ipv6() && address.is_ipv4() { 96 } else { 0 };
    let len = match len {
        None => most,
        Some(text) => text
            .parse::<u8>()
            .ok()
            .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|len| len.checked_sub(mapped))
            .filter(|len| *len <= most)
            .ok_or_else(|| PrefixError::Length(short(text)))?,
    };
    let net = IpNet::new_assert(address, len);
    Ok(Written { net: net.trunc(), had_host_bits: net.trunc().addr() != address })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, bool)> {
        parse_prefix(text).ok().map(|written| (written.net.to_string(), written.had_host_bits))
    }

    #[test]
    fn prefixes_are_read_as_they_are_meant() {
        for (text, net, had_host_bits) in [
            ("192.0.2.1", "192.0.2.1/32", false),
            ("192.0.2.1/24", "192.0.2.0/24", true),
            ("0.0.0.0/0", "0.0.0.0/0", false),
            ("2001:db8::/32", "2001:db8::/32", false),
            ("2001:db8::1", "2001:db8::1/128", false),
            ("::ffff:192.0.2.1", "192.0.2.1/32", false),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24", false),
            ("::/0", "::/0", false),
        ] {
            assert_eq!(read(text), Some((net.to_owned(), had_host_bits)), "{text}");
        }
        for text in
            ["", "192.0.2", "192.0.2.1/33", "192.0.2.1/", "192.0.2.1/+8", "::/129", "::ffff:1.2.3.4/8", "x/8"]
        {
            assert!(parse_prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn both_families_decide() {
        let entries = ["10.0.0.0/8", "2001:db8::/32"].map(|net| (net.parse().unwrap(), Listing::BLOCK));
        let allowed = ["10.1.2.3/32", "2001:db8::1/128"].map(|net| (net.parse().unwrap(), Listing::ALLOW));
        let lists: Lists = entries.into_iter().chain(allowed).collect();
        assert_eq!(lists.len(), 4);
        let decides = |address: &str| {
            lists.decisive(address.parse().unwrap()).map(|(net, listing)| (net.to_string(), listing.allow))
        };
        assert_eq!(decides("10.1.2.3"), Some(("10.1.2.3/32".to_owned(), true)));
        assert_eq!(decides("10.1.2.4"), Some(("10.0.0.0/8".to_owned(), false)));
        assert_eq!(decides("2001:db8::1"), Some(("2001:db8::1/128".to_owned(), true)));
        assert_eq!(decides("2001:db9::1"), None);
    }
}
