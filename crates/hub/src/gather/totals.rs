//! Counters of all nodes together. They never go back: not when an agent begins anew, not when a node goes.

use std::collections::BTreeMap;

use portcullis_policy::api::Counters;

/// Reasons that are told apart; there are about twenty.
const MOST_REASONS: usize = 64;
const LONGEST_REASON: usize = 32;

/// Sums over all nodes, as far as this hub has asked them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames that kept to their binding.
    pub allowed: u64,
    /// Frames dropped.
    pub dropped: u64,
    /// Frames that audit mode let pass.
    pub audited: u64,
    /// Frames by reason.
    pub reasons: BTreeMap<String, u64>,
    last: BTreeMap<String, Counters>,
}

impl Totals {
    /// A node counts so many now.
    pub fn told(&mut self, node: &str, counters: Counters) {
        let before = self.last.get(node).cloned().unwrap_or_default();
        self.allowed += growth(before.allowed.packets, counters.allowed.packets);
        self.dropped += growth(before.dropped.packets, counters.dropped.packets);
        self.audited += growth(before.audited.packets, counters.audited.packets);
        for (reason, count) in &counters.reasons {
            let more = growth(before.reasons.get(reason).copied().unwrap_or(0), *count);
            let room = self.reasons.len() < MOST_REASONS;
            if is_word(reason) && (room || self.reasons.contains_key(reason)) {
                *self.reasons.entry(reason.clone()).or_insert(0) += more;
            }
        }
        self.last.insert(node.to_owned(), counters);
    }

    /// A node is gone. What it counted stays.
    pub fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.last.retain(|node, _| exists(node));
    }
}

/// A counter that is lower than before began anew.
const fn growth(before: u64, now: u64) -> u64 {
    if now >= before { now - before } else { now }
}

/// It becomes a label: nothing that a node could choose as it likes.
fn is_word(text: &str) -> bool {
    text.len() <= LONGEST_REASON
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-' || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use portcullis_policy::api::Count;

    use super::*;

    #[test]
    fn sums_never_go_back() {
        let counters = |dropped: u64| Counters {
            dropped: Count { packets: dropped, bytes: 0 },
            reasons: BTreeMap::from([("spoofed-ipv4".to_owned(), dropped), ("x\"}".to_owned(), 1)]),
            ..Counters::default()
        };
        let mut totals = Totals::default();
        totals.told("a", counters(10));
        totals.told("b", counters(5));
        totals.told("a", counters(12));
        assert_eq!(totals.dropped, 17);
        totals.told("a", counters(1));
        assert_eq!(totals.dropped, 18, "its agent began anew");
        totals.retain(|node| node == "a");
        totals.told("b", counters(2));
        assert_eq!((totals.dropped, totals.reasons["spoofed-ipv4"], totals.reasons.len()), (20, 20, 1));
    }
}
