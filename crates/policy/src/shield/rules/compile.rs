//! From rules to the table of bit vectors.

use std::collections::HashMap;

use ipnet::IpNet;
use portcullis_abi::shield::LineStore;
use portcullis_abi::shield::list4::Place;
use portcullis_abi::shield::rules::{self as layout, ClassWord, End, Verb};
use thiserror::Error;

use super::{Action, Per, Rule, Unit, in_order};

/// More rules than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} rules are more than the {max} there is room for", max = layout::RULES)]
pub struct TooMany(pub usize);

/// A bit for each rule.
type Vector = [u64; layout::VECTOR_WORDS as usize];

/// Rules that are written into a table, in the order in which the kernel numbers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Names, by the rule's number.
    pub names: Vec<String>,
}

impl Compiled {
    /// Writes rules, each with the number of its counters, into a table of zeros that nobody reads yet. They must have
    /// been checked.
    pub fn write(
        rules: &[Rule],
        counter_of: impl Fn(&str) -> u16,
        table: &mut (impl LineStore + ?Sized),
    ) -> Result<Self, TooMany> {
        if rules.len() > layout::RULES as usize {
            return Err(TooMany(rules.len()));
        }
        let ordered = in_order(rules);
        let mut writer = Writer { table, rules: &ordered, vectors: HashMap::new(), tables: 0 };
        writer.actions(counter_of);
        writer.kinds();
        writer.ports();
        for end in [End::Source, End::Destination] {
            writer.addresses4(end);
            writer.addresses6(end);
        }
        Ok(Self { names: ordered.iter().map(|rule| rule.name.clone()).collect() })
    }
}

struct Writer<'a, S: ?Sized> {
    table: &'a mut S,
    rules: &'a [&'a Rule],
    vectors: HashMap<Vector, ClassWord>,
    /// Tables by the third byte that are written.
    tables: u32,
}

impl<S: LineStore + ?Sized> Writer<'_, S> {
    fn set(&mut self, place: Place, value: u64) {
        self.table.set(place.line, place.word, value);
    }

    fn set32(&mut self, place: Place, value: u32) {
        let word = self.table.get(place.line, place.word);
        let mask = u64::from(u32::MAX) << place.shift;
        self.set(place, word & !mask | u64::from(value) << place.shift);
    }

    /// The class of a vector, which is written when it is new.
    fn class(&mut self, vector: &Vector) -> ClassWord {
        if let Some(class) = self.vectors.get(vector) {
            return *class;
        }
        let summary =
            (0..).zip(vector).filter(|(_, word)| **word != 0).fold(0, |all, (bit, _)| all | 1u16 << bit);
        let number = self.vectors.len() as u32;
        let class = ClassWord::new(number, summary);
        for (word, bits) in (0..).zip(vector) {
            self.set(layout::vector_at(number, word), *bits);
        }
        self.vectors.insert(*vector, class);
        class
    }

    fn vector(&self, of: impl Fn(&Rule) -> bool) -> Vector {
        let mut vector = Vector::default();
        (0..).zip(self.rules).filter(|(_, rule)| of(rule)).for_each(|(number, _)| flip(&mut vector, number));
        vector
    }

    fn actions(&mut self, counter_of: impl Fn(&str) -> u16) {
        let logging = self.vector(|rule| rule.action == Action::Log);
        let deciding = self.vector(|rule| rule.action != Action::Log);
        for (line, vector) in [(layout::DECIDING_AT, deciding), (layout::LOGGING_AT, logging)] {
            for (word, bits) in (0..).zip(vector) {
                self.set(layout::mask_at(line, word), bits);
            }
        }
        if logging != Vector::default() {
            self.table.set(layout::HEADER_AT, 0, layout::HAS_LOG);
        }
        for (number, rule) in (0..).zip(self.rules) {
            let place = layout::rule_at(number);
            self.set(place, action(rule, counter_of(&rule.name)).word());
            if let Action::Limit(rate) = rule.action {
                let (cost, burst) = ticks(rate.per_second, rate.burst);
                self.table.set(place.line, place.word + 1, cost);
                self.table.set(place.line, place.word + 2, burst);
            }
        }
    }

    fn kinds(&mut self) {
        // Rules that look at kinds alike are asked once.
        let key =
            |rule: &Rule| (rule.protocol, rule.ports.is_some(), rule.flags, rule.icmp_type, rule.pieces);
        let mut alike: HashMap<_, (&Rule, Vector)> = HashMap::new();
        for (number, rule) in (0..).zip(self.rules) {
            flip(&mut alike.entry(key(rule)).or_insert((rule, Vector::default())).1, number);
        }
        let alike: Vec<(&Rule, Vector)> = alike.into_values().collect();
        for kind in 0..layout::KINDS {
            let (protocol, piece, detail) = layout::kind_from(kind);
            let mut vector = Vector::default();
            for (_, bits) in alike.iter().filter(|(rule, _)| rule.matches_kind(protocol, piece, detail)) {
                vector.iter_mut().zip(bits).for_each(|(word, bits)| *word |= bits);
            }
            let class = self.class(&vector);
            self.set32(layout::kind_at(kind), class.0);
        }
    }

    fn ports(&mut self) {
        let vector = self.vector(|rule| rule.ports.is_none());
        let ranges = (0..).zip(self.rules).filter_map(|(number, rule)| {
            rule.ports.map(|ports| (u128::from(ports.first()), u128::from(ports.last()), number))
        });
        let boundaries = self.boundaries(vector, ranges.collect());
        for (at, (first, class)) in boundaries.iter().enumerate() {
            let end = boundaries.get(at + 1).map_or(1 << 16, |(next, _)| *next as u32);
            (*first as u32..end).for_each(|port| self.set32(layout::port_at(port as u16), class.0));
        }
    }

    /// Where the class changes, in order, the first value included.
    fn boundaries(&mut self, mut vector: Vector, ranges: Vec<(u128, u128, usize)>) -> Vec<(u128, ClassWord)> {
        let mut changes: Vec<(u128, usize)> = Vec::with_capacity(ranges.len() * 2);
        for (first, last, number) in ranges {
            changes.push((first, number));
            changes.extend(last.checked_add(1).map(|behind| (behind, number)));
        }
        changes.sort_unstable();
        let mut boundaries: Vec<(u128, ClassWord)> = Vec::with_capacity(changes.len() + 1);
        let mut at = 0;
        let mut value = 0;
        loop {
            while let Some((_, number)) = changes.get(at).filter(|(change, _)| *change == value) {
                flip(&mut vector, *number);
                at += 1;
            }
            let class = self.class(&vector);
            if boundaries.last().is_none_or(|(_, before)| *before != class) {
                boundaries.push((value, class));
            }
            match changes.get(at) {
                Some((change, _)) => value = *change,
                None => return boundaries,
            }
        }
    }

    fn addresses4(&mut self, end: End) {
        let vector = self.vector(|rule| of(end, rule).is_none());
        let ranges = (0..).zip(self.rules).filter_map(|(number, rule)| match of(end, rule) {
            Some(IpNet::V4(net)) => {
                Some((u128::from(net.network().to_bits()), u128::from(net.broadcast().to_bits()), number))
            }
            _ => None,
        });
        // What is behind the last address is none.
        let mut boundaries = self.boundaries(vector, ranges.collect());
        boundaries.retain(|(first, _)| *first <= u128::from(u32::MAX));
        for (index, (first, class)) in (0..).zip(&boundaries) {
            self.set(layout::boundary4_at(end, index), (*first as u64) << 32 | u64::from(class.0));
        }
        let mut next = 0;
        for block in 0..1u32 << 16 {
            let (first, count) = advance(&boundaries, &mut next, block << 16, 16);
            let word = if count <= layout::FEW_BOUNDARIES || self.tables >= layout::TABLES {
                to_find(&boundaries, first, count)
            } else {
                let table = self.tables;
                self.tables += 1;
                let mut within = first;
                for third in 0..256u32 {
                    let (first, count) = advance(&boundaries, &mut within, block << 16 | third << 8, 8);
                    self.set32(layout::table_at(table, third), to_find(&boundaries, first, count).0);
                }
                ClassWord::table(table)
            };
            self.set32(layout::address4_at(end, block), word.0);
        }
    }

    fn addresses6(&mut self, end: End) {
        let vector = self.vector(|rule| of(end, rule).is_none());
        let ranges = (0..).zip(self.rules).filter_map(|(number, rule)| match of(end, rule) {
            Some(IpNet::V6(net)) => Some((net.network().to_bits(), net.broadcast().to_bits(), number)),
            _ => None,
        });
        let boundaries = self.boundaries(vector, ranges.collect());
        for (index, (first, class)) in (0..).zip(&boundaries) {
            let place = layout::boundary6_at(end, index);
            self.table.set(place.line, place.word, (*first >> 64) as u64);
            self.table.set(place.line, place.word + 1, *first as u64);
            self.table.set(place.line, place.word + 2, u64::from(class.0));
        }
        self.set(layout::boundaries6_at(end), boundaries.len() as u64);
    }
}

/// The boundaries of a block of so many bits: the last one that is not behind its start, and how many there are from it
/// on. `next` is the first that was not looked at.
fn advance(boundaries: &[(u128, ClassWord)], next: &mut usize, block: u32, bits: u32) -> (usize, u32) {
    let begins = u128::from(block);
    let ends = begins + (1 << bits);
    while boundaries.get(*next).is_some_and(|(first, _)| *first <= begins) {
        *next += 1;
    }
    let first = next.saturating_sub(1);
    while boundaries.get(*next).is_some_and(|(first, _)| *first < ends) {
        *next += 1;
    }
    (first, (*next - first) as u32)
}

/// The class of all that begins at a boundary, or where to search for it.
fn to_find(boundaries: &[(u128, ClassWord)], first: usize, count: u32) -> ClassWord {
    match boundaries.get(first) {
        Some((_, class)) if count == 1 => *class,
        _ => ClassWord::search(first as u32, count),
    }
}

fn of(end: End, rule: &Rule) -> Option<IpNet> {
    match end {
        End::Source => rule.source,
        End::Destination => rule.destination,
    }
}

fn flip(vector: &mut Vector, number: usize) {
    if let Some(word) = vector.get_mut(number / 64) {
        *word ^= 1 << (number % 64);
    }
}

fn action(rule: &Rule, counter: u16) -> layout::Action {
    let (verb, rate) = match rule.action {
        Action::Drop => (Verb::Drop, None),
        Action::Pass => (Verb::Pass, None),
        Action::Log => (Verb::Log, None),
        Action::Limit(rate) => (Verb::Limit, Some(rate)),
    };
    let (per_source4, per_source6) = match rate.map(|rate| rate.per) {
        Some(Per::Source(v4, v6)) => (v4, v6),
        Some(Per::Total) | None => (0, 0),
    };
    let by_bytes = rate.is_some_and(|rate| rate.unit == Unit::Bytes);
    layout::Action { verb, report: rule.report, by_bytes, counter, per_source4, per_source6 }
}

/// What one of them costs and a burst may owe.
fn ticks(per_second: u64, burst: u64) -> (u64, u64) {
    const PER_SECOND: u128 = 1_000_000_000 * layout::TICKS_PER_NS as u128;
    let cost = (PER_SECOND / u128::from(per_second.max(1))).max(1);
    (cost as u64, u64::try_from(cost * u128::from(burst)).unwrap_or(u64::MAX))
}
