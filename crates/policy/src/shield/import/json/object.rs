//! Objects: which of their keys hold an address, and what else is said of it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::visit::{Found, Place, Scalar, State, Under, Value};
use crate::shield::import::address::resembles_address;
use crate::shield::import::error::excerpt;
use crate::shield::import::names::{address_rank, comment_rank, is_mask, same, with_mask};
use crate::shield::import::sink::Stop;
use crate::shield::import::{ItemError, ReadError};

/// How many addresses an object may have beside each other (`ipv4` and `ipv6`, say).
const ADDRESSES: usize = 4;

/// How many keys an error names.
const KEYS_SHOWN: usize = 20;

/// What is kept of an object until it ends.
#[derive(Default)]
pub(super) struct Object {
    /// Under the best key so far, with their lines.
    addresses: Vec<(u64, String)>,
    /// How good that key is, the lower the better.
    address_rank: Option<usize>,
    mask: String,
    comment: String,
    comment_rank: usize,
    /// Something below it was given to the caller.
    gave_below: bool,
    /// It says that it is about the list.
    pub is_metadata: bool,
    /// For an error; only kept as long as there may be one.
    pub keys: Vec<String>,
}

impl Object {
    /// Reads all fields.
    pub fn read<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        state: &mut State<'_, '_>,
    ) -> Result<(), A::Error> {
        let shown = state.bare.is_none() && state.given() == 0;
        while let Some((key, shown)) = map.next_key_seed(KeySeed { column: state.column, shown })? {
            if self.keys.len() < KEYS_SHOWN {
                self.keys.extend(shown);
            }
            self.field(key, map, state)?;
        }
        Ok(())
    }

    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        key: Key,
        map: &mut A,
        state: &mut State<'_, '_>,
    ) -> Result<(), A::Error> {
        match key {
            Key::Address(rank) if self.address_rank.is_none_or(|best| rank <= best) => {
                let found = map.next_value_seed(Under { state })?;
                self.address(rank, state, found)
            }
            Key::Comment(rank) => {
                if let Some(text) = map.next_value_seed(Scalar)?
                    && (self.comment.is_empty() || rank < self.comment_rank)
                {
                    self.comment = text;
                    self.comment_rank = rank;
                }
                Ok(())
            }
            Key::Mask => map.next_value_seed(Scalar).map(|mask| self.mask = mask.unwrap_or_default()),
            Key::Type => {
                let text = map.next_value_seed(Scalar)?;
                self.is_metadata |= text.is_some_and(|text| text == "metadata");
                Ok(())
            }
            Key::Nft => {
                state.stop = Some(Stop::Failed(ReadError::NftJson));
                Err(A::Error::custom("stopped"))
            }
            // Who has an address of its own is about that: below it there may be the one who reported it, say.
            Key::Address(_) | Key::Other if self.has_address() => map.next_value::<IgnoredAny>().map(|_| ()),
            Key::Address(_) | Key::Other => {
                let before = state.given();
                map.next_value_seed(Value::new(state, Place::Field))?;
                self.gave_below |= state.given() > before;
                Ok(())
            }
        }
    }

    /// Not merely something else under the same name, such as the URL of a feed as its `source`.
    fn has_address(&self) -> bool {
        self.addresses.iter().any(|(_, address)| resembles_address(address.as_bytes()))
    }

    fn address<E: Error>(&mut self, rank: usize, state: &mut State<'_, '_>, found: Found) -> Result<(), E> {
        if matches!(found, Found::Nothing) {
            return Ok(());
        }
        if self.address_rank != Some(rank) {
            self.addresses.clear();
            self.address_rank = Some(rank);
        }
        match found {
            Found::Text(line, text) if self.addresses.len() >= ADDRESSES => {
                state.bad(line, &text, ItemError::NotAlone)
            }
            Found::Text(line, text) => {
                self.addresses.push((line, text));
                Ok(())
            }
            Found::Given => {
                self.gave_below = true;
                Ok(())
            }
            Found::Nothing => Ok(()),
        }
    }

    /// Gives the addresses to the caller.
    pub fn give<E: Error>(&self, state: &mut State<'_, '_>) -> Result<(), E> {
        if self.gave_below && !self.has_address() {
            return Ok(());
        }
        for (line, address) in &self.addresses {
            let whole = with_mask(address.as_bytes(), self.mask.as_bytes());
            state.take(*line, &whole, self.comment.as_bytes())?;
            if self.gave_below {
                state.bad(*line, address, ItemError::Nested)?;
            }
        }
        Ok(())
    }
}

/// What a key says of its value.
enum Key {
    Address(usize),
    Comment(usize),
    Mask,
    Type,
    /// This is the JSON of nft, in which the same keys mean other things.
    Nft,
    Other,
}

struct KeySeed<'a> {
    column: Option<&'a str>,
    /// The key itself is wanted.
    shown: bool,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = (Key, Option<String>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = (Key, Option<String>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let name = text.as_bytes();
        let key = if let Some(rank) = address_rank(name, self.column) {
            Key::Address(rank)
        } else if let Some(rank) = comment_rank(name) {
            Key::Comment(rank)
        } else if is_mask(name) {
            Key::Mask
        } else if same(name, b"type") {
            Key::Type
        } else if text == "nftables" {
            Key::Nft
        } else {
            Key::Other
        };
        Ok((key, self.shown.then(|| excerpt(name))))
    }
}
