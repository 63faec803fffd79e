//! From what was found to what becomes of the frame.

use portcullis_abi::{DropReason, Mode};

/// What verification found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Finding {
    /// The frame keeps to the binding.
    Honest,
    /// The frame keeps to the binding, but something about it is worth an event. Never dropped.
    Odd(DropReason),
    /// The frame breaks the binding.
    Violation(DropReason),
}

/// What becomes of the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// Handed on.
    Pass,
    /// Handed on, counted and reported.
    PassReported(DropReason),
    /// Handed on in audit mode; `enforce` would have dropped it. Counted and reported.
    Audit(DropReason),
    /// Dropped, counted and reported.
    Drop(DropReason),
}

impl Verdict {
    /// The one place where a mode turns a finding into a verdict.
    #[inline(always)]
    pub const fn of(mode: Mode, finding: Finding) -> Self {
        match (mode, finding) {
            (Mode::Off, _) | (Mode::Audit | Mode::Enforce, Finding::Honest) => Self::Pass,
            (Mode::Audit | Mode::Enforce, Finding::Odd(reason)) => Self::PassReported(reason),
            (Mode::Audit, Finding::Violation(reason)) => Self::Audit(reason),
            (Mode::Enforce, Finding::Violation(reason)) => Self::Drop(reason),
        }
    }
}
