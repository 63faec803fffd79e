//! Versions of the CNI specification.

use std::fmt;

use crate::error::{CniError, Code};

/// A version that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.3.0: chains.
    V0_3_0,
    /// 0.3.1.
    V0_3_1,
    /// 0.4.0: `CHECK`, and `prevResult` on `DEL`.
    V0_4_0,
    /// 1.0.0: addresses without `version`.
    V1_0_0,
    /// 1.1.0: `GC` and `STATUS`.
    V1_1_0,
}

impl Version {
    /// All of them, the oldest first.
    pub const ALL: [Self; 5] = [Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// The newest.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As configurations write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version of this name; none: it is not spoken here.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// Whether each address of a result says its IP version (until 0.4.0 it must).
    pub(crate) fn addresses_have_versions(self) -> bool {
        self < Self::V1_0_0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version that is not spoken here; of `what`.
pub(crate) fn unsupported(what: &str, text: &str) -> CniError {
    let spoken: Vec<&str> = Version::ALL.iter().map(|version| version.as_str()).collect();
    CniError::new(
        Code::IncompatibleVersion,
        "incompatible CNI versions",
        format!("{what} is {text:?}, this plugin speaks {}", spoken.join(", ")),
    )
}
