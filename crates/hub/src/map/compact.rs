//! Identifiers as the bytes that they are.

use std::fmt;

/// A UID: nearly always a UUID; of a static pod 32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Uid {
    /// As `01234567-89ab-…`.
    Uuid([u8; 16]),
    /// Anything else.
    Text(Box<str>),
}

/// An id of a container: nearly always 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum ContainerId {
    /// As 64 digits.
    Hash([u8; 32]),
    /// Anything else.
    Text(Box<str>),
}

const DASHES: [usize; 4] = [8, 13, 18, 23];

impl Uid {
    /// From text.
    pub fn new(text: &str) -> Self {
        let mut digits = [0; 32];
        let mut count = 0;
        for (at, byte) in text.bytes().enumerate() {
            match (byte, DASHES.contains(&at)) {
                (b'-', true) => {}
                (_, false) if count < 32 => {
                    digits[count] = byte;
                    count += 1;
                }
                _ => return Self::Text(text.into()),
            }
        }
        if text.len() != 36 {
            return Self::Text(text.into());
        }
        hex(&digits).map_or_else(|| Self::Text(text.into()), Self::Uuid)
    }
}

impl ContainerId {
    /// From text.
    pub fn new(text: &str) -> Self {
        <&[u8; 64]>::try_from(text.as_bytes())
            .ok()
            .and_then(hex)
            .map_or_else(|| Self::Text(text.into()), Self::Hash)
    }
}

/// Lower case only: upper case would not come back as it was.
fn hex<const DIGITS: usize, const BYTES: usize>(digits: &[u8; DIGITS]) -> Option<[u8; BYTES]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Uuid(bytes) => bytes.iter().enumerate().try_for_each(|(at, byte)| {
                let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
                write!(f, "{dash}{byte:02x}")
            }),
        }
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Hash(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_ones_take_their_bytes() {
        assert!(matches!(Uid::new("01234567-89ab-cdef-0123-456789abcdef"), Uid::Uuid(_)));
        assert!(matches!(Uid::new("01234567-89AB-cdef-0123-456789abcdef"), Uid::Text(_)));
        assert!(matches!(Uid::new("0123456789abcdef0123456789abcdef"), Uid::Text(_)));
        assert!(matches!(ContainerId::new(&"af".repeat(32)), ContainerId::Hash(_)));
        assert!(matches!(ContainerId::new("cri-1"), ContainerId::Text(_)));
    }

    proptest! {
        #[test]
        fn all_come_back_as_they_were(text in "[0-9a-fA-F-]{0,70}", uuid in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}") {
            prop_assert_eq!(Uid::new(&text).to_string(), text.clone());
            prop_assert_eq!(ContainerId::new(&text).to_string(), text);
            prop_assert_eq!(Uid::new(&uuid).to_string(), uuid);
        }
    }
}
