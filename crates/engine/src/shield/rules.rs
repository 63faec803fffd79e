//! Which rule a packet meets ([`layout`]).

use portcullis_abi::shield::rules::{self as layout, Action, ClassWord, End, Rate};

use super::facts::{Facts, Family};
use super::{Lines, Row};

/// What the rules say of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Met {
    /// The first rule that decides, by its place in the order of priority; none: no rule.
    pub deciding: Option<u32>,
    /// The first rule that only logs and comes before it.
    pub logging: Option<u32>,
}

/// Steps of a binary search over all boundaries.
const STEPS: u32 = 12;
const _: () = assert!(1 << STEPS > layout::BOUNDARIES);

/// The classes of a packet's four fields.
#[derive(Clone, Copy)]
pub struct Classes {
    /// Source, destination, port, kind.
    pub words: [ClassWord; 4],
}

/// Finds the classes of a packet. In the kernel each address's class is found by a function of its own.
#[inline(always)]
pub fn classes_of<R: Lines>(rules: &R, facts: &Facts) -> Option<Classes> {
    let address = |end, address: [u64; 2]| match facts.family {
        Family::V4 => class4(rules, end, address[1] as u32),
        Family::V6 => class6(rules, end, address),
    };
    let source = address(End::Source, facts.source)?;
    let destination = address(End::Destination, facts.destination)?;
    Some(Classes { words: [source, destination, class_of_port(rules, facts)?, class_of_kind(rules, facts)?] })
}

/// The class of a packet's destination port.
#[inline(always)]
pub fn class_of_port<R: Lines>(rules: &R, facts: &Facts) -> Option<ClassWord> {
    class_at(rules, layout::port_at(facts.port))
}

/// The class of a packet's kind.
#[inline(always)]
pub fn class_of_kind<R: Lines>(rules: &R, facts: &Facts) -> Option<ClassWord> {
    class_at(rules, layout::kind_at(layout::kind_of(facts.protocol, facts.fragment as u8, facts.detail)))
}

/// The rules that packets of these classes meet.
#[inline(always)]
pub fn met<R: Lines>(rules: &R, classes: Classes) -> Met {
    let deciding = first(rules, classes, layout::DECIDING_AT);
    let logging = if has_log(rules) { first(rules, classes, layout::LOGGING_AT) } else { None };
    Met { deciding, logging: logging.filter(|logging| deciding.is_none_or(|deciding| *logging < deciding)) }
}

/// Whether there are rules that only log.
#[inline(always)]
pub fn has_log<R: Lines>(rules: &R) -> bool {
    rules.row(layout::HEADER_AT).is_some_and(|header| header.word(0) & layout::HAS_LOG != 0)
}

/// The first rule of those of a mask, by its first line, that packets of these classes meet.
#[inline(always)]
pub fn first<R: Lines>(rules: &R, classes: Classes, mask: u32) -> Option<u32> {
    let [source, destination, port, kind] = classes.words;
    let mut summary = source.summary() & destination.summary() & port.summary() & kind.summary();
    for _ in 0..layout::VECTOR_WORDS {
        if summary == 0 {
            break;
        }
        let word = summary.trailing_zeros() & 15;
        summary &= summary - 1;
        let vector = |class: ClassWord| rules.field(layout::vector_at(class.vector(), word)).unwrap_or(0);
        let among = rules.field(layout::mask_at(mask, word)).unwrap_or(0);
        let hits = vector(source) & vector(destination) & vector(port) & vector(kind) & among;
        if hits != 0 {
            return Some(word * 64 + hits.trailing_zeros());
        }
    }
    None
}

/// What a rule does.
#[inline(always)]
pub fn action_of<R: Lines>(rules: &R, rule: u32) -> Option<Action> {
    rules.field(layout::rule_at(rule)).map(Action::from_word)
}

/// The rate of a rule that limits.
#[inline(always)]
pub fn rate_of<R: Lines>(rules: &R, rule: u32) -> Option<Rate> {
    let place = layout::rule_at(rule);
    let row = rules.row(place.line)?;
    Some(Rate { cost: row.word_at(place.word + 1), burst: row.word_at(place.word + 2) })
}

/// Charges a bucket. It holds when it will be empty again; `None`: the burst would be exceeded, nothing changes.
#[inline(always)]
#[must_use]
pub const fn charge(bucket: u64, now: u64, rate: Rate, units: u64) -> Option<u64> {
    let idle = now.wrapping_sub(bucket) as i64 >= 0;
    let from = if idle { now } else { bucket };
    let until = from.wrapping_add(rate.cost.wrapping_mul(units));
    if until.wrapping_sub(now) > rate.burst { None } else { Some(until) }
}

/// The part of a source that tells buckets apart.
#[inline(always)]
#[must_use]
pub const fn bucket_source(facts: &Facts, action: Action) -> [u64; 2] {
    match facts.family {
        Family::V4 => [0, facts.source[1] & (mask(action.per_source4) >> 32)],
        Family::V6 => {
            let len = action.per_source6;
            let low = if len > 64 { mask(len - 64) } else { 0 };
            [facts.source[0] & mask(len), facts.source[1] & low]
        }
    }
}

/// The first bits of 64.
#[inline(always)]
const fn mask(len: u8) -> u64 {
    match len {
        0 => 0,
        1..64 => u64::MAX << (64 - len as u32),
        _ => u64::MAX,
    }
}

#[inline(always)]
fn class_at<R: Lines>(rules: &R, place: portcullis_abi::shield::list4::Place) -> Option<ClassWord> {
    rules.field(place).map(|field| ClassWord(field as u32))
}

/// The class of an IPv4 address.
#[inline(always)]
pub fn class4<R: Lines>(rules: &R, end: End, address: u32) -> Option<ClassWord> {
    let mut class = class_at(rules, layout::address4_at(end, address >> 16))?;
    if let Some(table) = class.to_table() {
        class = class_at(rules, layout::table_at(table, address >> 8))?;
    }
    let Some((first, count)) = class.to_search() else {
        return Some(class);
    };
    // The last boundary that is not behind the address; the first of them never is.
    let (mut from, mut to) = (first, first + count);
    for _ in 0..STEPS {
        if to - from <= 1 {
            break;
        }
        let middle = (from + to) / 2;
        let boundary = rules.field(layout::boundary4_at(end, middle))?;
        if (boundary >> 32) as u32 <= address { from = middle } else { to = middle }
    }
    class_at(rules, layout::boundary4_at(end, from))
}

/// The class of an IPv6 address.
#[inline(always)]
pub fn class6<R: Lines>(rules: &R, end: End, address: [u64; 2]) -> Option<ClassWord> {
    let count = rules.field(layout::boundaries6_at(end))? as u32;
    let (mut from, mut to) = (0, count);
    for _ in 0..STEPS {
        if to - from <= 1 {
            break;
        }
        let middle = (from + to) / 2;
        let place = layout::boundary6_at(end, middle);
        let row = rules.row(place.line)?;
        let (high, low) = (row.word_at(place.word), row.word_at(place.word + 1));
        // All ones where the boundary is not behind the address, without a branch for the verifier to follow.
        let reached = borrow(address, [high, low]).wrapping_sub(1) as u32;
        from ^= (from ^ middle) & reached;
        to ^= (to ^ middle) & !reached;
    }
    let place = layout::boundary6_at(end, from);
    Some(ClassWord(rules.row(place.line)?.word_at(place.word + 2) as u32))
}

/// 1 where `a - b` borrows, that is `a < b`, of numbers of two words, the higher one first.
#[inline(always)]
const fn borrow(a: [u64; 2], b: [u64; 2]) -> u64 {
    let low = (!a[1] & b[1] | (!a[1] | b[1]) & a[1].wrapping_sub(b[1])) >> 63;
    let rest = a[0].wrapping_sub(b[0]).wrapping_sub(low);
    (!a[0] & b[0] | (!a[0] | b[0]) & rest) >> 63
}

#[cfg(test)]
mod tests {
    use super::borrow;

    #[test]
    fn borrowing_is_being_less() {
        let words = [0, 1, 2, u64::MAX >> 1, 1 << 63, u64::MAX - 1, u64::MAX];
        let all = || words.into_iter().flat_map(move |high| words.into_iter().map(move |low| [high, low]));
        for a in all() {
            for b in all() {
                assert_eq!(borrow(a, b), u64::from(a < b), "{a:?} {b:?}");
            }
        }
    }
}
