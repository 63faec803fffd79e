//! Lengths of time as people write them: `500ms`, `60s`, `10m`, `1h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A length of time in whole milliseconds; at most 49 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u32);

const UNITS: [(&str, u32); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Span {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u32) -> Self {
        Self(milliseconds)
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u16) -> Self {
        Self(seconds as u32 * 1000)
    }

    /// In milliseconds.
    #[must_use]
    pub const fn millis(self) -> u32 {
        self.0
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64)
    }
}

/// A text that is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a length of time: write a whole number and a unit, such as 500ms, 60s, 10m, 1h or 7d")]
pub struct NoSpan(String);

impl FromStr for Span {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        let no = || NoSpan(text.chars().take(40).collect());
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(no)?;
        let number: u32 = number.parse().map_err(|_| no())?;
        number.checked_mul(*factor).map(Self).ok_or_else(no)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole =
            UNITS.iter().rev().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        let (unit, factor) = whole.copied().unwrap_or(("ms", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Span {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::Type::String)
            .description(Some("A whole number and a unit: ms, s, m, h or d."))
            .examples([serde_json::json!("60s")])
            .into()
    }
}

impl utoipa::ToSchema for Span {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["0ms", "500ms", "1500ms", "60s", "10m", "1h", "7d", "49d"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse(), Ok(span), "{text}");
        }
        assert_eq!(Span::from_secs(60).to_string(), "1m");
        assert_eq!("90s".parse::<Span>().unwrap().to_string(), "90s");
        for bad in ["", "60", "s", "-1s", "1.5s", "60 s", "50d", "99999999999s", "1w"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
