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

impl Finding {
    /// The bit that tells an odd finding's code from a violation's.
    pub const ODD: u32 = 0x100;

    /// The finding as a number, for where only numbers can be handed on.
    #[inline(always)]
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Honest => 0,
            Self::Odd(reason) => Self::ODD | reason.number() as u32,
            Self::Violation(reason) => reason.number() as u32,
        }
    }

    /// The finding with this number; a number that is none is a violation.
    #[inline(always)]
    pub const fn from_code(code: u32) -> Self {
        if code == 0 {
            return Self::Honest;
        }
        match DropReason::from_number(code as u8) {
            Some(reason) if code & Self::ODD != 0 => Self::Odd(reason),
            Some(reason) => Self::Violation(reason),
            None => Self::Violation(DropReason::Internal),
        }
    }
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
