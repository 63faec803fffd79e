//! Rates and source prefixes as texts.

use std::fmt;
use std::str::FromStr;

use super::rule::{NotA, Rate, SourcePrefix, not_a};

/// Decimal prefixes, as networks count.
const FACTORS: [(char, u64); 4] = [('k', 1_000), ('K', 1_000), ('M', 1_000_000), ('G', 1_000_000_000)];

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.bytes { "B/s" } else { "pps" };
        let scale = FACTORS
            .iter()
            .rev()
            .find(|(_, factor)| self.per_second != 0 && self.per_second.is_multiple_of(*factor));
        match scale {
            Some((letter, factor)) if *letter != 'K' => {
                write!(f, "{}{letter}{unit}", self.per_second / factor)
            }
            Some((_, factor)) => write!(f, "{}k{unit}", self.per_second / factor),
            None => write!(f, "{}{unit}", self.per_second),
        }
    }
}

impl FromStr for Rate {
    type Err = NotA;

    fn from_str(text: &str) -> Result<Self, NotA> {
        let bad = || not_a("a rate (1000pps, 20kpps, 500kB/s, 8Mbit/s)", text);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let unit = unit.trim_start();
        let scaled = FACTORS.iter().find_map(|(letter, factor)| Some((unit.strip_prefix(*letter)?, *factor)));
        let (unit, factor) = scaled.unwrap_or((unit, 1));
        let (bytes, divisor) = match unit {
            "pps" | "p/s" | "packets/s" | "/s" => (false, 1),
            "B/s" | "Bps" | "bytes/s" => (true, 1),
            "bit/s" | "bps" => (true, 8),
            _ => return Err(bad()),
        };
        let per_second = number.checked_mul(factor).ok_or_else(bad)? / divisor;
        Ok(Self { bytes, per_second })
    }
}

impl fmt::Display for SourcePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source/{},{}", self.v4, self.v6)
    }
}

impl FromStr for SourcePrefix {
    type Err = NotA;

    /// Of one number, up to 32 is about IPv4, whose counterpart in IPv6 is the /64; more is about IPv6.
    fn from_str(text: &str) -> Result<Self, NotA> {
        let bad = || not_a("a source prefix (source/32, or source/24,56 for IPv4 and IPv6)", text);
        let lens = text.strip_prefix("source").ok_or_else(bad)?;
        if lens.is_empty() {
            return Ok(Self { v4: 32, v6: 64 });
        }
        let lens = lens.strip_prefix('/').ok_or_else(bad)?;
        let len =
            |text: &str, most: u8| text.trim().parse::<u8>().ok().filter(|len| *len <= most).ok_or_else(bad);
        match lens.split_once([',', '/']) {
            Some((v4, v6)) => Ok(Self { v4: len(v4, 32)?, v6: len(v6, 128)? }),
            None => match len(lens, 128)? {
                v4 @ 0..=32 => Ok(Self { v4, v6: 64 }),
                v6 => Ok(Self { v4: 32, v6 }),
            },
        }
    }
}
