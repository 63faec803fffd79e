//! Counting and reporting.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use portcullis_abi::shield::MONITOR_RATE;
use portcullis_abi::{CAPTURE_LEN, DropEvent};

use crate::{maps, settings};

/// A verdict's number: the reason, whether the frame is dropped for it, and the rule's counter + 1.
pub const REASON: u32 = 0xff;
pub const DROPPED: u32 = 1 << 8;
/// A rule lets the packet pass.
pub const DECIDED: u32 = 1 << 10;
/// The SYN is to be answered; where it cannot be, it is dropped if it says so.
pub const ANSWER: u32 = 1 << 11;
/// The ACK may be a proof that its source is real.
pub const PROOF: u32 = 1 << 12;
/// The frame has become the answer to what it was.
pub const SENT: u32 = 1 << 13;
pub const RULE_SHIFT: u32 = 16;

const NS_PER_S: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3600 * NS_PER_S;

/// Counts a frame that is dropped; says whether it is to be reported.
#[inline(always)]
pub fn count(len: u32, reason: u32) -> bool {
    let Some(counters) = maps::counters() else {
        return false;
    };
    // SAFETY: this CPU's value, valid as long as the program runs; nothing else has it meanwhile.
    let counters = unsafe { &mut *counters };
    counters.dropped.packets = counters.dropped.packets.wrapping_add(1);
    counters.dropped.bytes = counters.dropped.bytes.wrapping_add(u64::from(len));
    if let Some(cell) = counters.reasons.get_mut(maps::bounded::<31>(reason)) {
        *cell = cell.wrapping_add(1);
    }
    let is_due = is_due(false);
    if !is_due {
        counters.unsampled = counters.unsampled.wrapping_add(1);
    }
    is_due
}

/// Whether there is budget for an event of a frame that passes, which is then taken from it; else it is counted.
#[inline(always)]
pub fn may_report() -> bool {
    let is_due = is_due(false);
    if !is_due {
        with_counters(|counters| counters.unsampled = counters.unsampled.wrapping_add(1));
    }
    is_due
}

/// Whether there is budget for an event, which is then taken from it.
///
/// The time is read once in each tick of the kernel's clock: reading the tick costs a nanosecond, the time twenty.
#[inline(always)]
fn is_due(of_monitor: bool) -> bool {
    let Some(budget) = maps::budget(of_monitor) else {
        return false;
    };
    // SAFETY: a value of an array, valid while the program runs; CPUs race for it, and what may come of that is an
    // event too many.
    let budget = unsafe { &mut *budget };
    // SAFETY: a helper without arguments (5.5), which the verifier turns into a load.
    let tick = unsafe { bpf_jiffies64() };
    if budget.tick != tick {
        budget.tick = tick;
        refill(u32::from(of_monitor));
    }
    if budget.tokens == 0 {
        return false;
    }
    budget.tokens -= 1;
    true
}

/// Whether the monitor is to show the frame in hand: one of so many, within its own budget.
#[inline(always)]
pub fn is_shown() -> bool {
    let (Some(skips), Some(config)) = (maps::skips(), maps::config()) else {
        return false;
    };
    // SAFETY: this CPU's value, and a value of an array, valid as long as the program runs.
    let (skips, every) = unsafe { (&mut *skips, u64::from((*config).monitor_every)) };
    // Where it is asked for more than before, what is left of the old number does not count.
    if *skips != 0 && *skips < every {
        *skips -= 1;
        return false;
    }
    *skips = every.wrapping_sub(1);
    every != 0 && is_due(true)
}

/// Fills a budget up for the time that has gone by.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn refill(of_monitor: u32) -> u32 {
    let (Some(budget), Some(config)) = (maps::budget(of_monitor != 0), maps::config()) else {
        return 0;
    };
    // SAFETY: values of arrays, as above; a helper without arguments.
    let (budget, now, config) = unsafe { (&mut *budget, bpf_ktime_get_ns(), &*config) };
    let (rate, burst) = match of_monitor {
        0 => (u64::from(config.event_rate), u64::from(config.event_burst)),
        _ => (u64::from(MONITOR_RATE), u64::from(MONITOR_RATE)),
    };
    // An hour fills any bucket; the bound keeps the product within 64 bits.
    let elapsed = now.wrapping_sub(budget.refilled_ns);
    let elapsed = if elapsed < HOUR_NS { elapsed } else { HOUR_NS };
    let earned = elapsed.wrapping_mul(rate) / NS_PER_S;
    if earned != 0 {
        let tokens = budget.tokens + earned;
        budget.tokens = if tokens < burst { tokens } else { burst };
        budget.refilled_ns = now;
    }
    1
}

#[inline(always)]
fn with_counters(change: impl FnOnce(&mut portcullis_abi::Counters)) {
    if let Some(counters) = maps::counters() {
        // SAFETY: as in `count`.
        change(unsafe { &mut *counters });
    }
}

/// What an event says of its frame.
pub struct Note {
    /// A reason's number.
    pub reason: u32,
    /// The rule's counter and one more; 0: none.
    pub rule: u32,
    /// Whether it is dropped.
    pub dropped: bool,
    /// Interface.
    pub ifindex: u32,
    /// Length of the frame.
    pub len: u32,
}

/// Sends an event, or counts that it could not. The frame lies from `data` to `end`.
#[inline(always)]
pub fn send(note: Note, data: usize, end: usize) -> u32 {
    let Some(mut entry) = maps::events().reserve(0) else {
        with_counters(|counters| counters.lost = counters.lost.wrapping_add(1));
        return 0;
    };
    let event: *mut DropEvent = entry.as_mut_ptr();
    // SAFETY: the event is ours until it is submitted, and each field is written in place; a helper without
    // arguments. Beyond what is captured `frame` keeps what an earlier event left.
    unsafe {
        (*event).timestamp_ns = bpf_ktime_get_ns();
        (*event).cgroup_id = 0;
        (*event).socket_cookie = 0;
        (*event).netns = settings::netns();
        (*event).ifindex = note.ifindex;
        (*event).slot = DropEvent::SHIELD_SLOT;
        (*event).len = note.len;
        (*event).reason = note.reason as u8;
        (*event).dropped = u8::from(note.dropped);
        (*event).vlan_tci = [0; 2];
        (*event).attempts = note.rule;
        (*event).threshold = settings::profile() as u16;
        (*event).evidence = 0;
        (*event).tripped = 0;
        (*event).captured = capture(data, end, (&raw mut (*event).frame).cast());
    }
    entry.submit(0);
    1
}

/// Copies the first bytes of the frame, sixteen at a time; answers how many.
///
/// # Safety
/// `frame` must be `CAPTURE_LEN` bytes that may be written.
#[inline(always)]
unsafe fn capture(data: usize, end: usize, frame: *mut u8) -> u32 {
    const STEP: usize = 16;
    let mut captured = 0;
    for step in 0..CAPTURE_LEN / STEP {
        let from = data + step * STEP;
        if from + STEP > end {
            break;
        }
        // SAFETY: within the frame, as just checked, and within the destination.
        unsafe {
            let bytes = (from as *const [u64; 2]).read_unaligned();
            frame.add(step * STEP).cast::<[u64; 2]>().write_unaligned(bytes);
        }
        captured = ((step + 1) * STEP) as u32;
    }
    captured
}
