//! Prefixes in JSON: an address alone is a whole one, bits beyond the length do not count.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serializer, de};

use crate::shield::parse_prefix;

/// An address without a length where it is a single one, as people write it.
pub(crate) fn text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

pub(crate) fn serialize<S: Serializer>(net: &IpNet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(net))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_prefix(&text).map(|written| written.net).map_err(de::Error::custom)
}

/// The same of what may be missing.
pub(crate) mod option {
    use super::{Deserialize, Deserializer, IpNet, Serializer, de, parse_prefix, text};

    pub(crate) fn serialize<S: Serializer>(net: &Option<IpNet>, serializer: S) -> Result<S::Ok, S::Error> {
        match net {
            Some(net) => serializer.serialize_some(&text(net)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        let read = |text: String| parse_prefix(&text).map(|written| written.net).map_err(de::Error::custom);
        text.map(read).transpose()
    }
}
