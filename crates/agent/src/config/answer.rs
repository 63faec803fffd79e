//! What becomes of an endpoint that keeps forging, where no policy says.

use portcullis_policy::guard::Answer;
use portcullis_policy::span::Span;
use serde::{Deserialize, Serialize};

/// The section `[answer]`. That there is no response here is meant: whatever goes beyond a report is
/// somebody's explicit policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerDefaults {
    /// Hostile attempts within `window` that are one too many.
    pub attempts: u16,
    /// The sliding window.
    pub window: Span,
    /// For every policy: say what would be done, and do nothing of it.
    pub dry_run: bool,
    /// Containers that are ended in any minute, over all; 0: none are.
    pub terminations_per_minute: u16,
}

impl Default for AnswerDefaults {
    fn default() -> Self {
        let Answer { attempts, window, dry_run, .. } = Answer::default();
        Self { attempts, window, dry_run, terminations_per_minute: 6 }
    }
}

impl AnswerDefaults {
    /// The answer where no policy says anything.
    #[must_use]
    pub fn answer(&self) -> Answer {
        Answer { attempts: self.attempts, window: self.window, dry_run: self.dry_run, ..Answer::default() }
    }
}
