//! Addresses as they stand in a frame: byte arrays in network order.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ethernet (EUI-48) address, in transmission order.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

/// An IPv4 address in network order.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Ipv4(pub [u8; 4]);

/// An IPv6 address in network order.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Ipv6(pub [u8; 16]);

impl Mac {
    /// All zeros: what loopback frames carry.
    pub const ZERO: Self = Self([0; 6]);
    /// All ones.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether the group bit is set (multicast and broadcast): never a legal source.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The link-local address that the kernel derives from this MAC
    /// (modified EUI-64, RFC 4291 appendix A).
    #[must_use]
    pub const fn eui64_link_local(self) -> Ipv6 {
        let m = self.0;
        Ipv6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]])
    }
}

impl Ipv4 {
    /// 0.0.0.0
    pub const UNSPECIFIED: Self = Self([0; 4]);
    /// 255.255.255.255
    pub const BROADCAST: Self = Self([0xff; 4]);

    /// The address as `::ffff:a.b.c.d`, the form in which mixed tables hold it.
    #[must_use]
    pub const fn mapped(self) -> Ipv6 {
        let a = self.0;
        Ipv6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3]])
    }
}

impl Ipv6 {
    /// `::`
    pub const UNSPECIFIED: Self = Self([0; 16]);
    /// `::1`
    pub const LOOPBACK: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// The address as two words in memory order: what table keys hold, so that the kernel
    /// programs build them on the stack with aligned stores.
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        let a = self.0;
        [
            u64::from_ne_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]),
            u64::from_ne_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]),
        ]
    }

    /// The address of two words in memory order.
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        let (a, b) = (words[0].to_ne_bytes(), words[1].to_ne_bytes());
        Self([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
    }

    /// Whether this lies in fe80::/10.
    #[must_use]
    pub const fn is_link_local(self) -> bool {
        self.0[0] == 0xfe && self.0[1] & 0xc0 == 0x80
    }

    /// The solicited-node multicast group of this address (RFC 4291 section 2.7.1).
    #[must_use]
    pub const fn solicited_node(self) -> Ipv6 {
        let a = self.0;
        Ipv6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a[13], a[14], a[15]])
    }

    /// The IPv4 address in `::ffff:a.b.c.d`, or `None` for a true IPv6 address.
    #[must_use]
    pub fn unmapped(self) -> Option<Ipv4> {
        Ipv6Addr::from(self.0).to_ipv4_mapped().map(Ipv4::from)
    }

    /// The address as users write it: mapped IPv4 is shown as IPv4.
    #[must_use]
    pub fn to_ip(self) -> IpAddr {
        match self.unmapped() {
            Some(v4) => IpAddr::V4(v4.into()),
            None => IpAddr::V6(self.into()),
        }
    }
}

impl From<Ipv4Addr> for Ipv4 {
    fn from(a: Ipv4Addr) -> Self {
        Self(a.octets())
    }
}
impl From<Ipv4> for Ipv4Addr {
    fn from(a: Ipv4) -> Self {
        Self::from(a.0)
    }
}
impl From<Ipv6Addr> for Ipv6 {
    fn from(a: Ipv6Addr) -> Self {
        Self(a.octets())
    }
}
impl From<Ipv6> for Ipv6Addr {
    fn from(a: Ipv6) -> Self {
        Self::from(a.0)
    }
}
impl From<IpAddr> for Ipv6 {
    /// IPv4 becomes `::ffff:a.b.c.d`.
    fn from(a: IpAddr) -> Self {
        match a {
            IpAddr::V4(v4) => Ipv4::from(v4).mapped(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = self.0;
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", m[0], m[1], m[2], m[3], m[4], m[5])
    }
}
impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl fmt::Display for Ipv4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Ipv4Addr::from(*self), f)
    }
}
impl fmt::Debug for Ipv4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl fmt::Display for Ipv6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Ipv6Addr::from(*self), f)
    }
}
impl fmt::Debug for Ipv6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacParseError;

impl fmt::Display for MacParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address: write six hexadecimal bytes, such as 02:42:0a:00:00:02")
    }
}
impl core::error::Error for MacParseError {}

impl FromStr for Mac {
    type Err = MacParseError;

    /// Accepts `02:42:0a:00:00:02` and `02-42-0a-00-00-02`, two digits a byte, any case.
    fn from_str(s: &str) -> Result<Self, MacParseError> {
        let separator = if s.contains('-') { '-' } else { ':' };
        let mut mac = [0u8; 6];
        let mut parts = s.split(separator);
        for byte in &mut mac {
            let part = parts.next().ok_or(MacParseError)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(MacParseError);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| MacParseError)?;
        }
        if parts.next().is_some() { Err(MacParseError) } else { Ok(Self(mac)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_text_round_trips_and_rejects_the_rest() {
        let mac: Mac = "02:42:0A:00:00:02".parse().unwrap();
        assert_eq!(mac, Mac([2, 0x42, 0x0a, 0, 0, 2]));
        assert_eq!("02-42-0a-00-00-02".parse(), Ok(mac));
        for bad in [
            "",
            "02:42:0a:00:00",
            "02:42:0a:00:00:02:03",
            "2:42:a:0:0:2",
            "0g:42:0a:00:00:02",
            "+2:42:0a:00:00:02",
        ] {
            assert_eq!(bad.parse::<Mac>(), Err(MacParseError), "{bad:?}");
        }
    }

    #[test]
    fn eui64_is_what_the_kernel_derives() {
        let mac = Mac([0x02, 0x42, 0x0a, 0, 0, 2]);
        let want: Ipv6Addr = "fe80::42:aff:fe00:2".parse().unwrap();
        assert_eq!(Ipv6Addr::from(mac.eui64_link_local()), want);
    }
}
