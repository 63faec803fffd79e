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
    /// The frame breaks the binding as a healthy workload's may, by link-local noise or a want of form: it
    /// claims nobody's identity. Dropped all the same, and never held against the endpoint. Its reason is one
    /// that is hostile elsewhere.
    Mild(DropReason),
    /// The frame breaks the binding. Where the reason is a hostile one, this is evidence of intent.
    Violation(DropReason),
}

impl Finding {
    /// The bit that tells an odd finding's code from a violation's.
    pub const ODD: u32 = 0x100;
    /// The bit of a code that is evidence of intent.
    pub const EVIDENCE: u32 = 0x200;
    /// The bit of a code that is not, though its reason is a hostile one.
    pub const MILD: u32 = 0x400;

    /// A violation, if it claims what is another's, else a mild one.
    #[inline(always)]
    pub(crate) const fn by_claim(claims_another: bool, reason: DropReason) -> Self {
        if claims_another { Self::Violation(reason) } else { Self::Mild(reason) }
    }

    /// Whether this is mild.
    #[inline(always)]
    #[must_use]
    pub const fn is_mild(self) -> bool {
        matches!(self, Self::Mild(_))
    }

    /// What is mild, found to be evidence after all.
    #[inline(always)]
    pub const fn as_evidence(self) -> Self {
        match self {
            Self::Mild(reason) => Self::Violation(reason),
            other => other,
        }
    }

    /// Whether this is evidence of intent: claiming another's address, MAC, ARP or ND identity, or a
    /// router's or DHCP server's role.
    #[inline(always)]
    #[must_use]
    pub const fn is_evidence(self) -> bool {
        matches!(self, Self::Violation(reason) if reason.is_hostile())
    }

    /// The finding as a number, for where only numbers can be handed on.
    #[inline(always)]
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Honest => 0,
            Self::Odd(reason) => Self::ODD | reason.number() as u32,
            Self::Mild(reason) => Self::MILD | reason.number() as u32,
            Self::Violation(reason) if reason.is_hostile() => Self::EVIDENCE | reason.number() as u32,
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
            Some(reason) if code & Self::MILD != 0 => Self::Mild(reason),
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
            (Mode::Audit, Finding::Mild(reason) | Finding::Violation(reason)) => Self::Audit(reason),
            (Mode::Enforce, Finding::Mild(reason) | Finding::Violation(reason)) => Self::Drop(reason),
        }
    }
}
