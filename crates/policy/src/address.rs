//! What a binding may name: addresses, prefixes, MACs, VLAN ids, ethertypes.
//!
//! Each type can only hold a value that may be bound (parse, don't validate): whoever has an
//! [`AddressBinding`] need not ask again whether it is `0.0.0.0/0`. In files and in the API they
//! are strings (a [`VlanId`] is a number), and every refusal is one line that says what to write
//! instead.

mod binding;
mod link;

pub use binding::{AddressBinding, AddressError};
pub use link::{EtherType, EtherTypeError, MacAddress, MacError, VlanId, VlanIdError};

/// The longest piece of a refused text that an error repeats, in characters.
const QUOTED_CHARS: usize = 60;

/// A refused text as an error shows it: quoted, on one line, not longer than helps.
fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

/// Serde by way of `Display` and `FromStr`, so that a value reads the same everywhere.
macro_rules! serde_as_text {
    ($type:ty, $expecting:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}
use serde_as_text;

#[cfg(test)]
mod tests;
