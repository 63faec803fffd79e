//! The flood guard: what it says of a packet that lists and rules let pass.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use portcullis_abi::shield::guard::{Destination, PeerKey, Source};
use portcullis_abi::shield::rules::TICKS_PER_NS;
use portcullis_abi::shield::{Config, ProtectedKey};
use portcullis_engine::DropReason;
use portcullis_engine::shield::facts::{Facts, Family};
use portcullis_engine::shield::guard::{self as engine, Now, Part, Standing};

use crate::{maps, settings, tell};

/// Asks it about the packet that was seen; answers as [`crate::judge::weigh`] does.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn guard() -> u32 {
    let (Some(facts), Some(config)) = (maps::facts(), maps::config()) else {
        return 0;
    };
    // SAFETY: this CPU's value, and a value of an array; nothing writes to the former meanwhile, and of the latter
    // single fields may be old or new.
    let (facts, config): (&Facts, &Config) = unsafe { (&*facts, &*config) };
    let source_key = engine::source_key(facts, settings::profile());
    let now = now();
    let before = maps::block(&source_key);
    if before.is_some_and(|block| engine::is_blocked(&block, now)) {
        return dropped(DropReason::Blocklisted);
    }
    let part = engine::part_of(facts);
    let Noted { standing, source, fresh, answers } = note_source(&source_key, config, part, now);
    match standing {
        Standing::Within => {}
        Standing::Over => return dropped(DropReason::RateLimited),
        Standing::Struck => {
            if engine::may_block(&source, &config.guard, is_protected(facts)) && has_share(config, now) {
                let block = engine::block(before, &config.guard, DropReason::RateLimited, now);
                maps::set_block(&source_key, &block);
                return BLOCKED | dropped(DropReason::RateLimited);
            }
            return dropped(DropReason::RateLimited);
        }
    }
    if part == Part::None {
        return 0;
    }
    let cookies = settings::has_cookies() && config.guard.cookies != 0;
    if note_destination(facts, config, part, answers, now) {
        return flooded(&source_key, &source, cookies);
    }
    if cookies && engine::may_prove(&source, part, fresh, answers) { tell::PROOF } else { 0 }
}

/// What becomes of a SYN to a destination that is flooded.
#[inline(always)]
fn flooded(key: &PeerKey, source: &Source, cookies: bool) -> u32 {
    // Where it is not answered, whoever has gone on with a handshake may begin another.
    let otherwise = match source.flags & Source::ANSWERED {
        0 => dropped(DropReason::SynFlood),
        _ => 0,
    };
    if !cookies {
        return otherwise;
    }
    if source.flags & Source::PROVED != 0 {
        return 0;
    }
    mark(key, Source::ASKED, 0);
    tell::ANSWER | otherwise
}

/// The ACK that was seen proves that its source is real.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn proved() -> u32 {
    if let Some(facts) = maps::facts() {
        // SAFETY: this CPU's value; nothing writes to it meanwhile.
        let key = engine::source_key(unsafe { &*facts }, settings::profile());
        mark(&key, Source::PROVED, Source::ASKED);
    }
    1
}

/// Sets flags of a source, and takes others away.
#[inline(always)]
fn mark(key: &PeerKey, set: u32, clear: u32) {
    if let Some(source) = maps::source(key) {
        // SAFETY: a value of a hash table, valid while the program runs; four aligned bytes are never half written.
        unsafe { (*source).flags = (*source).flags & !clear | set };
    }
}

/// What [`note_source`] found.
struct Noted {
    standing: Standing,
    source: Source,
    /// Nothing was known of it.
    fresh: bool,
    /// It had begun a handshake, and goes on with it for the first time.
    answers: bool,
}

/// The packet had its source blocked: told in any case.
pub const BLOCKED: u32 = 1 << 9;

/// Whether the firewall may block one more source.
#[inline(always)]
fn has_share(config: &Config, now: Now) -> bool {
    // SAFETY: a value of an array, valid while the program runs; CPUs race for it, and what may come of that is a
    // block too many.
    maps::block_count().is_some_and(|count| engine::take_share(unsafe { &mut *count }, &config.guard, now))
}

#[inline(always)]
fn dropped(reason: DropReason) -> u32 {
    tell::DROPPED | u32::from(reason.number())
}

#[inline(always)]
fn now() -> Now {
    // SAFETY: a helper without arguments.
    let ns = unsafe { bpf_ktime_get_ns() };
    Now { ns, ticks: ns.wrapping_mul(TICKS_PER_NS) }
}

#[inline(always)]
fn note_source(key: &PeerKey, config: &Config, part: Part, now: Now) -> Noted {
    let Some(source) = maps::source(key) else {
        let mut source = Source { bucket: now.ticks, ..Source::default() };
        let standing = engine::note_source(&mut source, &config.guard, part, now);
        maps::make_source(key, &source);
        return Noted { standing, source, fresh: true, answers: false };
    };
    // SAFETY: a value of a hash table, valid while the program runs; CPUs race for its fields, and what may come of
    // that is a packet that is not counted.
    let source = unsafe { &mut *source };
    let answered = source.flags & Source::ANSWERED;
    let standing = engine::note_source(source, &config.guard, part, now);
    Noted { standing, source: *source, fresh: false, answers: source.flags & Source::ANSWERED != answered }
}

#[inline(always)]
fn note_destination(facts: &Facts, config: &Config, part: Part, answers: bool, now: Now) -> bool {
    if part == Part::GoesOn && !answers {
        return false;
    }
    let key = engine::destination_key(facts, settings::profile());
    let Some(destination) = maps::destination(&key) else {
        let mut destination = Destination { bucket: now.ticks, window_ns: now.ns, ..Destination::default() };
        let flooded = engine::note_destination(&mut destination, &config.guard, part, answers, now);
        maps::make_destination(&key, &destination);
        return flooded;
    };
    // SAFETY: as above.
    engine::note_destination(unsafe { &mut *destination }, &config.guard, part, answers, now)
}

#[inline(always)]
fn is_protected(facts: &Facts) -> bool {
    let address = match facts.family {
        Family::V4 => [0, 0xffff_0000_0000 | facts.source[1]],
        Family::V6 => facts.source,
    };
    maps::is_protected(&ProtectedKey::lookup(settings::profile(), address))
}
