//! Which counters belong to which rule: a rule keeps its number while others come and go.

use std::collections::{BTreeSet, HashMap};

use portcullis_abi::shield::RULE_COUNTERS;

use super::{Rule, TooMany};

/// The numbers of all firewalls' rules, each under the firewall's number and the rule's name.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    by_name: HashMap<(u32, String), u16>,
    free: BTreeSet<u16>,
    next: u16,
}

/// What an assignment has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Numbers of new rules: their counters are to be set to zero before the rules are published.
    pub fresh: Vec<u16>,
}

impl Numbers {
    /// Gives numbers to a firewall's rules, and takes those back of rules that are not there any more. Where there are
    /// not enough, nothing changes.
    pub fn assign(&mut self, profile: u32, rules: &[Rule]) -> Result<Assigned, TooMany> {
        let mut next = self.clone();
        let wanted: BTreeSet<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        let mut given_back = Vec::new();
        next.by_name.retain(|(owner, name), number| {
            let keep = *owner != profile || wanted.contains(name.as_str());
            if !keep {
                given_back.push(*number);
            }
            keep
        });
        let mut assigned = Assigned::default();
        for rule in rules {
            let key = (profile, rule.name.clone());
            if next.by_name.contains_key(&key) {
                continue;
            }
            let number = next.take().ok_or(TooMany(rules.len()))?;
            next.by_name.insert(key, number);
            assigned.fresh.push(number);
        }
        // Not at once, so that a frame that still meets an old rule is not counted for a new one.
        next.free.extend(given_back);
        *self = next;
        Ok(assigned)
    }

    /// Gives a rule the number that it had before, unless another has it.
    pub fn restore(&mut self, profile: u32, name: &str, number: u16) {
        if u32::from(number) >= RULE_COUNTERS || self.by_name.values().any(|taken| *taken == number) {
            return;
        }
        self.free.extend(self.next..number);
        self.free.remove(&number);
        self.next = self.next.max(number + 1);
        self.by_name.insert((profile, name.to_owned()), number);
    }

    /// The number of a rule.
    #[must_use]
    pub fn of(&self, profile: u32, name: &str) -> Option<u16> {
        self.by_name.get(&(profile, name.to_owned())).copied()
    }

    /// The rule with this number, as an event tells it: its firewall and its name.
    #[must_use]
    pub fn name_of(&self, number: u16) -> Option<(u32, &str)> {
        let found = self.by_name.iter().find(|(_, known)| **known == number);
        found.map(|((profile, name), _)| (*profile, name.as_str()))
    }

    fn take(&mut self) -> Option<u16> {
        if u32::from(self.next) < RULE_COUNTERS {
            self.next += 1;
            return Some(self.next - 1);
        }
        self.free.pop_first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> Rule {
        let spec: crate::api::RuleSpec =
            serde_json::from_value(serde_json::json!({"name": name, "action": "drop"})).unwrap();
        spec.rule().unwrap()
    }

    #[test]
    fn rules_keep_their_numbers_also_over_a_restart() {
        let mut numbers = Numbers::default();
        numbers.restore(0, "old", 5);
        numbers.restore(0, "twice", 5);
        let assigned = numbers.assign(0, &[rule("old"), rule("twice"), rule("new")]).unwrap();
        assert_eq!(numbers.of(0, "old"), Some(5));
        assert_eq!(assigned.fresh.len(), 2);
        let mut all: Vec<u16> =
            ["old", "twice", "new"].iter().filter_map(|name| numbers.of(0, name)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 3);
        numbers.assign(0, &[rule("new")]).unwrap();
        assert_eq!(numbers.of(0, "old"), None);
        assert_eq!(numbers.name_of(5), None);
    }
}
