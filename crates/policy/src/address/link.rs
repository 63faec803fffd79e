//! MACs, VLAN ids and ethertypes that may be bound or allowed.

use std::fmt;
use std::str::FromStr;

use portcullis_abi::Mac;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;
use utoipa::ToSchema;

use super::{quote, serde_as_text};

/// A MAC that a workload may use as source: `02:42:0a:00:00:02`. Never multicast or broadcast;
/// all zeros is what loopback frames carry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, example = "02:42:0a:00:00:02")]
pub struct MacAddress(Mac);

impl MacAddress {
    /// The address as frames have it.
    #[must_use]
    pub const fn mac(self) -> Mac {
        self.0
    }

    /// Whether this is all zeros.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == Mac::ZERO
    }
}

impl TryFrom<Mac> for MacAddress {
    type Error = MacError;

    fn try_from(mac: Mac) -> Result<Self, MacError> {
        if mac == Mac::BROADCAST {
            Err(MacError::Broadcast)
        } else if mac.is_group() {
            Err(MacError::Multicast(mac))
        } else {
            Ok(Self(mac))
        }
    }
}

impl From<MacAddress> for Mac {
    fn from(mac: MacAddress) -> Self {
        mac.0
    }
}

impl FromStr for MacAddress {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        text.parse::<Mac>().map_err(|_| MacError::NotAMac { text: quote(text) })?.try_into()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(MacAddress, "a MAC address such as \"02:42:0a:00:00:02\"");

/// Why a text is no [`MacAddress`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MacError {
    /// Not a MAC at all.
    #[error("{text} is not a MAC address: write six hexadecimal bytes, such as 02:42:0a:00:00:02")]
    NotAMac {
        /// The text, quoted.
        text: String,
    },
    /// The group bit is set.
    #[error("{0} is a multicast MAC, which is never a source: bind the interface's own MAC")]
    Multicast(Mac),
    /// All ones.
    #[error("ff:ff:ff:ff:ff:ff is the broadcast MAC, which is never a source: bind the interface's own MAC")]
    Broadcast,
}

/// An 802.1Q VLAN id, 1 to 4094; a number in files and in the API.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, ToSchema)]
#[schema(value_type = u16, example = 42)]
pub struct VlanId(u16);

impl VlanId {
    /// The id as a number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for VlanId {
    type Error = VlanIdError;

    fn try_from(number: u16) -> Result<Self, VlanIdError> {
        if (1..=4094).contains(&number) { Ok(Self(number)) } else { Err(VlanIdError(number.to_string())) }
    }
}

impl From<VlanId> for u16 {
    fn from(id: VlanId) -> Self {
        id.0
    }
}

impl FromStr for VlanId {
    type Err = VlanIdError;

    fn from_str(text: &str) -> Result<Self, VlanIdError> {
        match number(text) {
            Some(number) => number.try_into(),
            None => Err(VlanIdError(quote(text))),
        }
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for VlanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

impl<'de> Deserialize<'de> for VlanId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Wider than the type, so that 70000 and -1 get our sentence and not serde's.
        let number = i64::deserialize(deserializer)?;
        u16::try_from(number)
            .map_err(|_| VlanIdError(number.to_string()))
            .and_then(Self::try_from)
            .map_err(de::Error::custom)
    }
}

/// A number or text that is no [`VlanId`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0} is not a VLAN id: write a number from 1 to 4094 (priority tags, id 0, need no permission of their own)"
)]
pub struct VlanIdError(String);

/// An ethertype let through without a look inside: `0x88cc`.
///
/// None of those that the gate itself looks into: what they carry is bound by addresses and tags.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, example = "0x88cc")]
pub struct EtherType(u16);

impl EtherType {
    /// The ethertype as a number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for EtherType {
    type Error = EtherTypeError;

    fn try_from(number: u16) -> Result<Self, EtherTypeError> {
        match number {
            0..0x600 => Err(EtherTypeError::Length(number)),
            0x0800 | 0x0806 | 0x86dd => Err(EtherTypeError::Verified(number)),
            0x8100 | 0x88a8 | 0x9100 => Err(EtherTypeError::Tag(number)),
            0x8035 => Err(EtherTypeError::Rarp),
            _ => Ok(Self(number)),
        }
    }
}

impl From<EtherType> for u16 {
    fn from(ethertype: EtherType) -> Self {
        ethertype.0
    }
}

impl FromStr for EtherType {
    type Err = EtherTypeError;

    /// Accepts `0x88cc` and `35020`.
    fn from_str(text: &str) -> Result<Self, EtherTypeError> {
        let malformed = || EtherTypeError::NotAnEtherType { text: quote(text) };
        number(text).ok_or_else(malformed)?.try_into()
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:#06x}", self.0))
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for EtherType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EtherType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EtherTypeVisitor)
    }
}

/// TOML and YAML read `0x88cc` without quotes as a number; that is what was meant.
struct EtherTypeVisitor;

impl de::Visitor<'_> for EtherTypeVisitor {
    type Value = EtherType;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an ethertype such as \"0x88cc\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<EtherType, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<EtherType, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<EtherType, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

/// Why a text is no [`EtherType`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EtherTypeError {
    /// Not a number of 16 bits.
    #[error("{text} is not an ethertype: write a number such as 0x88cc")]
    NotAnEtherType {
        /// The text, quoted.
        text: String,
    },
    /// A length field (IEEE 802.3), not an ethertype.
    #[error(
        "{0:#06x} is a frame length and not an ethertype (they begin at 0x0600): LLC frames cannot be allowed one by one"
    )]
    Length(u16),
    /// IPv4, ARP, IPv6: always verified.
    #[error("{0:#06x} (IPv4, ARP or IPv6) is always let through after verification: bind addresses instead")]
    Verified(u16),
    /// VLAN tags.
    #[error("{0:#06x} is a VLAN tag, whose content is verified: allow VLAN ids, or any-vlan, instead")]
    Tag(u16),
    /// Reverse ARP.
    #[error("0x8035 is RARP, which speaks for addresses like ARP but is not verified: it cannot be allowed")]
    Rarp,
}

/// A number of 16 bits, decimal or with 0x in front; no sign.
fn number(text: &str) -> Option<u16> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.starts_with('+') { None } else { u16::from_str_radix(digits, radix).ok() }
}
