//! The firewall's rules: what they say, and their compilation into the table that the kernel programs search.

mod compile;
mod model;
mod numbers;

#[cfg(test)]
mod tests;

pub use compile::{Compiled, TooMany};
pub use model::{Action, FlagMatch, Packet, Per, Pieces, Ports, Protocol, Rate, Rule, RuleError, Unit};
pub use numbers::{Assigned, Numbers};

/// The rules in the order in which they are asked: by priority, the lowest number first, then by name.
#[must_use]
pub fn in_order(rules: &[Rule]) -> Vec<&Rule> {
    let mut ordered: Vec<&Rule> = rules.iter().collect();
    ordered.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
    ordered
}

/// The rule that decides about a packet, and the first one before it that only logs: rule by rule, as a person would
/// read them.
#[must_use]
pub fn met<'a>(ordered: &[&'a Rule], packet: &Packet) -> (Option<&'a Rule>, Option<&'a Rule>) {
    let mut logging = None;
    for rule in ordered.iter().filter(|rule| rule.matches(packet)) {
        if rule.action != Action::Log {
            return (Some(rule), logging);
        }
        logging.get_or_insert(*rule);
    }
    (None, logging)
}
