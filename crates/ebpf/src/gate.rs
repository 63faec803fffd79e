//! One frame through the gate: find its binding, verify, count, perhaps report.

use aya_ebpf::bindings::__sk_buff;
use portcullis_abi::{Count, Counters, Endpoint, Mode, Pointer, REASON_SLOTS, UNBOUND_SLOT};
use portcullis_engine::gate::{self, Binding, Outcome};
use portcullis_engine::{DropReason, Finding, Verdict};

use crate::events::Note;
use crate::maps::{self, KernelTables};
use crate::skb::Linear;
use crate::{act, cold, conduct, settings};

/// Reasons are counted in an array of this length, a power of two.
const REASON_MASK: u32 = REASON_SLOTS as u32 - 1;

/// What follows in the kernel: the number for the hook.
struct Goes<'a> {
    ctx: *mut __sk_buff,
    pointer: Pointer,
    endpoint: &'a Endpoint,
}

impl Outcome for Goes<'_> {
    type Fate = i32;

    // Not by entry 0, which is all zero: no frame is honest by that.
    #[inline(always)]
    fn honest(&self) -> i32 {
        count_passed(self.ctx, self.pointer.slot());
        act(Verdict::Pass)
    }

    #[inline(always)]
    fn refused(&self, reason: DropReason) -> i32 {
        if self.pointer.binding() == 0 {
            return self.unclear();
        }
        cold::refuse(self.ctx, self.pointer.0, self.endpoint.terms(), u32::from(reason.number()))
    }

    #[inline(always)]
    fn unclear(&self) -> i32 {
        cold::ethernet(self.ctx, self.pointer.0)
    }
}

/// The hot path: finds the interface's binding, counts honest frames of the plain kind, and is done.
#[inline(always)]
pub fn plain(ctx: *mut __sk_buff) -> i32 {
    // SAFETY: a context load, rewritten by the verifier.
    let pointer = maps::pointer_of(unsafe { (*ctx).ifindex });
    match maps::endpoint(pointer.binding()) {
        Some(endpoint) => {
            let outcome = Goes { ctx, pointer, endpoint };
            gate::judge_plain(&Linear::new(ctx), endpoint, &cold::FurtherOf(pointer), &outcome)
        }
        None => cold::ethernet(ctx, pointer.0),
    }
}

/// Turns what was found of a frame (as [`Finding::code`]) into what becomes of it, and counts it.
#[inline(always)]
pub fn settle(ctx: *mut __sk_buff, pointer: Pointer, code: u32) -> Verdict {
    let Some(endpoint) = maps::endpoint(pointer.binding()) else {
        // An anchor that points outside the table: cannot be, and must not pass.
        let verdict = Verdict::Drop(DropReason::Internal);
        count(ctx, UNBOUND_SLOT, verdict, u32::from(DropReason::Internal.number()), false);
        return verdict;
    };
    let (slot, verdict, code) = decide(pointer, endpoint, code);
    conclude(ctx, Pointer::new(pointer.binding(), slot), endpoint.terms(), verdict, code)
}

/// The same for evidence of intent, of an endpoint that is not in quarantine. In a flood of forgeries most are
/// merely counted.
#[inline(always)]
pub fn refuse(ctx: *mut __sk_buff, pointer: Pointer, terms: u32, reason: u32) -> i32 {
    let verdict = match Endpoint::mode_of(terms) {
        Mode::Enforce => Verdict::Drop(DropReason::Internal),
        Mode::Audit => Verdict::Audit(DropReason::Internal),
        Mode::Off => Verdict::Pass,
    };
    if matches!(verdict, Verdict::Pass) || !conduct::is_quiet(pointer.slot(), terms) {
        return cold::settle(ctx, pointer.0, reason | Finding::EVIDENCE);
    }
    count(ctx, pointer.slot(), verdict, reason & REASON_MASK, false);
    act(verdict)
}

#[inline(always)]
fn conclude(ctx: *mut __sk_buff, pointer: Pointer, terms: u32, verdict: Verdict, code: u32) -> Verdict {
    let slot = pointer.slot();
    if matches!(verdict, Verdict::Pass) {
        count_passed(ctx, slot);
        return verdict;
    }
    let evidence = code & Finding::EVIDENCE != 0;
    let notice = conduct::notice(slot, terms, || if evidence { cold::strike(pointer.0, code) } else { 0 });
    count(ctx, slot, verdict, code, notice.reported);
    if notice.reported {
        let dropped = matches!(verdict, Verdict::Drop(_));
        let note = Note::new(code, dropped, evidence, notice.tripped);
        cold::report(ctx, slot, pointer.binding(), note.0);
    }
    verdict
}

/// The counter slot, the verdict, and the code of the reason. The latter goes beside the verdict, whose own
/// reason means nothing here: a number that a verdict holds only at times is one that the verifier
/// believes to be read unwritten.
#[inline(always)]
fn decide(pointer: Pointer, endpoint: &Endpoint, code: u32) -> (u32, Verdict, u32) {
    const DROP: Verdict = Verdict::Drop(DropReason::Internal);
    const VIOLATION: Finding = Finding::Violation(DropReason::Internal);
    if pointer.binding() == 0 {
        let mode = Mode::from_number(settings::unbound_mode());
        return (UNBOUND_SLOT, Verdict::of(mode, VIOLATION), u32::from(DropReason::Unbound.number()));
    }
    if endpoint.quarantine != 0 {
        return (endpoint.slot, DROP, u32::from(shut(endpoint).number()));
    }
    let finding = match code {
        0 => Finding::Honest,
        _ if code & Finding::ODD != 0 => Finding::Odd(DropReason::Internal),
        _ => VIOLATION,
    };
    (endpoint.slot, Verdict::of(Mode::from_number(endpoint.mode), finding), code)
}

/// Why an entry lets nothing pass, in either direction.
#[inline(always)]
const fn shut(endpoint: &Endpoint) -> DropReason {
    if endpoint.quarantine == Endpoint::HELD { DropReason::Unbound } else { DropReason::Quarantined }
}

/// The binding, if its frames are to be verified at all: not where they pass or fall whatever they are.
#[inline(always)]
pub fn binding(index: u32) -> Option<Binding<'static, KernelTables>> {
    let endpoint = maps::endpoint(index)?;
    let decided = index == 0 || is_quarantined(index, endpoint) || endpoint.mode == Mode::Off as u8;
    (!decided).then_some(Binding { endpoint, index, tables: &KernelTables })
}

/// Drops what goes to a workload in quarantine. It is counted, but not as an event: the
/// senders are not the workload.
#[inline(always)]
pub fn quarantine(ctx: *mut __sk_buff) -> Verdict {
    // SAFETY: a context load, rewritten by the verifier.
    let index = maps::pointer_of(unsafe { (*ctx).ifindex }).binding();
    match maps::endpoint(index) {
        Some(endpoint) if is_quarantined(index, endpoint) => {
            let verdict = Verdict::Drop(DropReason::Quarantined);
            count(ctx, endpoint.slot, verdict, u32::from(shut(endpoint).number()), true);
            verdict
        }
        _ => Verdict::Pass,
    }
}

#[inline(always)]
const fn is_quarantined(index: u32, endpoint: &Endpoint) -> bool {
    index != 0 && endpoint.quarantine != 0
}

/// Adds one frame to what passed on this CPU.
#[inline(always)]
fn count_passed(ctx: *mut __sk_buff, slot: u32) {
    if let Some(counters) = counters(slot) {
        add(&mut counters.allowed, len(ctx));
    }
}

/// Adds one frame that is worth an event, by the code of what was found.
#[inline(always)]
fn count(ctx: *mut __sk_buff, slot: u32, verdict: Verdict, code: u32, reported: bool) {
    let Some(counters) = counters(slot) else {
        return;
    };
    let total = match verdict {
        Verdict::Pass | Verdict::PassReported(_) => &mut counters.allowed,
        Verdict::Audit(_) => &mut counters.audited,
        Verdict::Drop(_) => &mut counters.dropped,
    };
    add(total, len(ctx));
    if let Some(cell) = counters.reasons.get_mut((code & REASON_MASK) as usize) {
        *cell = cell.wrapping_add(1);
    }
    if code & Finding::MILD != 0 {
        counters.mild = counters.mild.wrapping_add(1);
    }
    if !reported {
        counters.unsampled = counters.unsampled.wrapping_add(1);
    }
}

/// This CPU's counters. Plain additions do: nothing else runs on this CPU in the middle of a program,
/// and no other CPU writes here.
#[inline(always)]
fn counters(slot: u32) -> Option<&'static mut Counters> {
    // SAFETY: the pointer is this CPU's value, valid as long as the program runs, and each caller is
    // done with one before it asks for another.
    maps::counters(slot).map(|counters| unsafe { &mut *counters })
}

#[inline(always)]
fn len(ctx: *mut __sk_buff) -> u64 {
    // SAFETY: a context load, rewritten by the verifier.
    u64::from(unsafe { (*ctx).len })
}

#[inline(always)]
fn add(total: &mut Count, len: u64) {
    total.packets = total.packets.wrapping_add(1);
    total.bytes = total.bytes.wrapping_add(len);
}

/// An event that found the ring buffer full.
#[inline(always)]
pub fn lost(slot: u32) {
    if let Some(counters) = counters(slot) {
        counters.lost = counters.lost.wrapping_add(1);
    }
}
