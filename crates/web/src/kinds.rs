//! Kinds of event, as queries name them.

use portcullis_policy::api::Event;
use serde::Deserialize;

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A frame broke a binding.
    Drop,
    /// Something changed or was repaired.
    Notice,
    /// An endpoint reached its threshold.
    Action,
}

impl EventKind {
    /// The kind of an event.
    #[must_use]
    pub const fn of(event: &Event) -> Self {
        match event {
            Event::Drop(_) => Self::Drop,
            Event::Notice(_) => Self::Notice,
            Event::Action(_) => Self::Action,
        }
    }

    /// As streams and queries write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Notice => "notice",
            Self::Action => "action",
        }
    }
}

/// Kinds with commas between them, as a query has them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Kinds(pub Vec<EventKind>);

impl TryFrom<String> for Kinds {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let kind = |word: &str| match word {
            "drop" => Ok(EventKind::Drop),
            "notice" => Ok(EventKind::Notice),
            "action" => Ok(EventKind::Action),
            other => Err(format!("kind {other:?}: write drop, notice, action, or several with commas")),
        };
        text.split(',').map(kind).collect::<Result<_, _>>().map(Self)
    }
}
