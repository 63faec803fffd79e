//! What to do with each value of a document while it is being parsed.

use std::cell::Cell;
use std::fmt;
use std::ops::ControlFlow::Break;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::object::Object;
use crate::shield::import::address::{read_entry, resembles_address};
use crate::shield::import::sink::{Extra, Flow, Sink, Stop};
use crate::shield::import::{ItemError, LONGEST_COMMENT};

/// The longest text that may be an address, a prefix or a range, in bytes.
const LONGEST_ADDRESS: usize = 128;

/// The parser's view of the list.
pub(super) struct State<'a, 'c> {
    sink: &'a mut Sink<'c>,
    /// Where the parser is.
    line: &'a Cell<u64>,
    /// The only key that holds addresses, where there is one.
    pub column: Option<&'a str>,
    /// Why it must stop; the parser's own error says nothing then.
    pub stop: Option<Stop>,
    /// The keys of the first object in an array in which no address was found.
    pub bare: Option<String>,
    /// The last object says that it is about the list.
    pub is_metadata: bool,
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the document.
    Top,
    /// In an array that can hold nothing else than addresses.
    Listed,
    /// In an array that may hold addresses.
    Loose,
    /// Under a key that says nothing.
    Field,
}

impl<'a, 'c> State<'a, 'c> {
    pub fn new(sink: &'a mut Sink<'c>, line: &'a Cell<u64>, column: Option<&'a str>) -> Self {
        Self { sink, line, column, stop: None, bare: None, is_metadata: false }
    }

    /// How much the caller was given.
    pub fn given(&self) -> u64 {
        self.sink.summary.items + self.sink.summary.errors
    }

    fn go_on<E: Error>(&mut self, flow: Flow) -> Result<(), E> {
        match flow {
            Break(stop) => {
                self.stop = Some(stop);
                Err(E::custom("stopped"))
            }
            Flow::Continue(()) => Ok(()),
        }
    }

    /// Something that should be an address.
    pub fn take<E: Error>(&mut self, line: u64, text: &[u8], comment: &[u8]) -> Result<(), E> {
        let text = text.trim_ascii();
        let read = if text.len() > LONGEST_ADDRESS { Err(ItemError::NotAddress) } else { read_entry(text) };
        let flow = self.sink.take(line, text, read, Extra { comment, timeout: None });
        self.go_on(flow)
    }

    /// Something that cannot be taken.
    pub fn bad<E: Error>(&mut self, line: u64, text: &str, what: ItemError) -> Result<(), E> {
        let flow = self.sink.bad(line, text.as_bytes(), what);
        self.go_on(flow)
    }
}

/// Any value.
pub(super) struct Value<'s, 'a, 'c> {
    state: &'s mut State<'a, 'c>,
    place: Place,
}

impl<'s, 'a, 'c> Value<'s, 'a, 'c> {
    pub fn new(state: &'s mut State<'a, 'c>, place: Place) -> Self {
        Self { state, place }
    }
}

/// A seed that takes whatever comes.
macro_rules! any_value {
    ($type:ty, $value:ty) => {
        impl<'de> DeserializeSeed<'de> for $type {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$value, D::Error> {
                deserializer.deserialize_any(self)
            }
        }
    };
}

any_value!(Value<'_, '_, '_>, ());
any_value!(Under<'_, '_, '_>, Found);
any_value!(Scalar, Option<String>);

/// The values that are never addresses.
macro_rules! ignore_others {
    ($value:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any value")
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

impl<'de> Visitor<'de> for Value<'_, '_, '_> {
    type Value = ();

    ignore_others!(());

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let taken = match self.place {
            Place::Top | Place::Listed => true,
            Place::Loose => self.state.column.is_none() && resembles_address(text.trim().as_bytes()),
            Place::Field => false,
        };
        if taken { self.state.take(self.state.line.get(), text.as_bytes(), b"") } else { Ok(()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let place = match self.place {
            Place::Top | Place::Listed => Place::Listed,
            Place::Field | Place::Loose => Place::Loose,
        };
        while array.next_element_seed(Value::new(self.state, place))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let before = self.state.given();
        let mut object = Object::default();
        object.read(&mut map, self.state)?;
        object.give(self.state)?;
        self.state.is_metadata = object.is_metadata;
        let expected = matches!(self.place, Place::Listed | Place::Loose);
        if expected && self.state.given() == before && !object.keys.is_empty() {
            self.state.bare.get_or_insert_with(|| object.keys.join(", "));
        }
        Ok(())
    }
}

/// The value under a key for addresses: a text is for the object, the rest goes to the caller at once.
pub(super) struct Under<'s, 'a, 'c> {
    pub state: &'s mut State<'a, 'c>,
}

/// What was there.
pub(super) enum Found {
    /// A text, and its line.
    Text(u64, String),
    /// What the caller was given.
    Given,
    /// Nothing that can be an address.
    Nothing,
}

impl<'de> Visitor<'de> for Under<'_, '_, '_> {
    type Value = Found;

    ignore_others!(Found::Nothing);

    fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    /// A longer text is no address, and is kept as far as it takes to say so.
    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        let text = text.trim().chars().take(LONGEST_ADDRESS + 1).collect();
        Ok(Found::Text(self.state.line.get(), text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Found, A::Error> {
        let before = self.state.given();
        while array.next_element_seed(Value::new(self.state, Place::Listed))?.is_some() {}
        Ok(if self.state.given() > before { Found::Given } else { Found::Nothing })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Found, A::Error> {
        let before = self.state.given();
        Value::new(self.state, Place::Field).visit_map(map)?;
        Ok(if self.state.given() > before { Found::Given } else { Found::Nothing })
    }
}

/// The beginning of a text, or a whole number; `None` where a value is something else.
pub(super) struct Scalar;

impl<'de> Visitor<'de> for Scalar {
    type Value = Option<String>;

    ignore_others!(None);

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.trim().chars().take(LONGEST_COMMENT).collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
