//! Rules: changes, and what would become of a packet.

use std::collections::BTreeMap;

use portcullis_policy::api::{AddressVerdict, PacketSpec, PacketVerdict, RuleAction, RuleSpec, RuleView};
use portcullis_policy::shield::rules::{Packet, Rule, in_order, met};

use super::failsafe::forbid;
use super::{Keeper, Manner, blocklist, unkept};
use crate::control::{Fault, Outcome};
use crate::core::Agent;
use crate::store::{KeptRule, ShieldChange};

/// Rules as they are compiled.
pub(super) fn compiled<'a>(rules: impl Iterator<Item = &'a RuleSpec>) -> Result<Vec<Rule>, Fault> {
    rules.map(|rule| rule.rule().map_err(|error| Fault::Invalid(error.to_string()))).collect()
}

/// What rules are ordered by.
fn place(rule: &RuleSpec) -> (u32, &str) {
    (rule.priority, &rule.name)
}

impl Keeper {
    pub(super) fn rule_views(&self) -> Vec<RuleView> {
        let Ok(rules) = compiled(self.rules.values()) else { return Vec::new() };
        let ordered = in_order(&rules).into_iter().filter_map(|rule| self.rules.get(&rule.name));
        (1..).zip(ordered).map(|(order, rule)| self.rule_view(order, rule)).collect()
    }

    fn rule_view(&self, order: u32, rule: &RuleSpec) -> RuleView {
        let count = self.kernel.as_ref().and_then(|kernel| {
            let counter = kernel.counter_of(&rule.name)?;
            kernel.shield.rule_count(counter).ok()
        });
        let count = count.unwrap_or_default();
        RuleView { rule: rule.clone(), order, packets: count.packets, bytes: count.bytes }
    }

    fn view_of(&self, name: &str) -> Result<RuleView, Fault> {
        let rule = self.rules.get(name).ok_or_else(|| no_such_rule(name))?;
        let before = self.rules.values().filter(|other| place(other) < place(rule)).count();
        Ok(self.rule_view(u32::try_from(before + 1).unwrap_or(u32::MAX), rule))
    }

    /// Puts a rule; where there is another of that name, only if it may be `replace`d.
    pub(super) fn put_rule(
        &mut self,
        agent: &Agent,
        rule: RuleSpec,
        replace: bool,
        manner: Manner,
    ) -> Result<(RuleView, Outcome), Fault> {
        rule.rule().map_err(|error| Fault::Invalid(error.to_string()))?;
        let name = rule.name.clone();
        let outcome = match self.rules.get(&name) {
            None => Outcome::Created,
            Some(before) if *before == rule => return Ok((self.view_of(&name)?, Outcome::Unchanged)),
            Some(_) if replace => Outcome::Updated,
            Some(_) => {
                return Err(Fault::Conflict(format!(
                    "there is another rule {name:?}: remove it, or replace it"
                )));
            }
        };
        let mut rules = self.rules.clone();
        rules.insert(name.clone(), rule.clone());
        let order = rules.values().filter(|other| place(other) <= place(&rule)).count();
        let order = u32::try_from(order).unwrap_or(u32::MAX);
        self.take_rules(agent, rules, manner)?;
        let view = if manner.dry_run {
            RuleView { rule, order, packets: 0, bytes: 0 }
        } else {
            self.view_of(&name)?
        };
        Ok((view, outcome))
    }

    pub(super) fn remove_rule(
        &mut self,
        agent: &Agent,
        name: &str,
        manner: Manner,
    ) -> Result<RuleView, Fault> {
        let view = self.view_of(name)?;
        let mut rules = self.rules.clone();
        rules.remove(name);
        self.take_rules(agent, rules, manner)?;
        Ok(view)
    }

    pub(super) fn replace_rules(
        &mut self,
        agent: &Agent,
        wanted: Vec<RuleSpec>,
        manner: Manner,
    ) -> Result<(u32, u32, u32), Fault> {
        let mut rules = BTreeMap::new();
        for rule in wanted {
            if let Some(twice) = rules.insert(rule.name.clone(), rule) {
                return Err(Fault::Invalid(format!("there are two rules of the name {:?}", twice.name)));
            }
        }
        let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
        let created = count(rules.keys().filter(|name| !self.rules.contains_key(*name)).count());
        let removed = count(self.rules.keys().filter(|name| !rules.contains_key(*name)).count());
        let differs =
            |(name, rule): &(&String, &RuleSpec)| self.rules.get(*name).is_some_and(|before| before != *rule);
        let updated = count(rules.iter().filter(differs).count());
        self.take_rules(agent, rules, manner)?;
        Ok((created, updated, removed))
    }

    /// Has the rules be these: in the kernel, then on the disk.
    fn take_rules(
        &mut self,
        agent: &Agent,
        rules: BTreeMap<String, RuleSpec>,
        manner: Manner,
    ) -> Result<(), Fault> {
        let (before, after) = (compiled(self.rules.values())?, compiled(rules.values())?);
        let newly = self.newly_dropped(&before, &after);
        forbid(&newly, manner.force)?;
        if manner.dry_run || rules == self.rules {
            return Ok(());
        }
        self.open(agent)?.put_rules(&after)?;
        if let Err(fault) = self.keep_rules(&rules) {
            let _restored = self.open(agent)?.put_rules(&before);
            return Err(fault);
        }
        self.rules = rules;
        Ok(())
    }

    fn keep_rules(&mut self, rules: &BTreeMap<String, RuleSpec>) -> Result<(), Fault> {
        let gone = self.rules.keys().filter(|name| !rules.contains_key(*name)).cloned();
        let put =
            rules.iter().filter(|(name, rule)| self.rules.get(*name) != Some(rule)).map(|(name, rule)| {
                KeptRule {
                    rule: rule.clone(),
                    counter: self.kernel.as_ref().and_then(|kernel| kernel.counter_of(name)).unwrap_or(0),
                }
            });
        let changes = gone.map(ShieldChange::RemoveRule).chain(put.map(ShieldChange::PutRule)).collect();
        self.journal.append(changes).map_err(unkept)
    }

    /// What would become of a packet: as the kernel programs ask, list first, then rules, then the guard.
    pub(super) fn test_packet(&self, spec: &PacketSpec) -> PacketVerdict {
        let packet = spec.packet();
        let list = blocklist::test(&self.book, packet.source);
        let is_blocked = list.verdict == AddressVerdict::Blocked
            && (list.protocols.is_empty()
                || list.protocols.iter().any(|protocol| protocol.class().blocks(packet.protocol)));
        if is_blocked {
            let explanation = format!("dropped by the blocklist: {}", list.explanation);
            return PacketVerdict {
                verdict: "drop".to_owned(),
                stage: "blocklist".to_owned(),
                rule: None,
                logged_by: None,
                blocklist: list,
                explanation,
            };
        }
        let rules = compiled(self.rules.values()).unwrap_or_default();
        let (deciding, logging) = met(&in_order(&rules), &packet);
        let logged_by = logging.map(|rule| rule.name.clone());
        let found = deciding.and_then(|rule| self.rules.get(&rule.name));
        let (verdict, stage, explanation) = self.decided(found, &packet);
        PacketVerdict {
            verdict: verdict.to_owned(),
            stage: stage.to_owned(),
            rule: found.map(|rule| rule.name.clone()),
            logged_by,
            blocklist: list,
            explanation,
        }
    }

    fn decided(&self, found: Option<&RuleSpec>, packet: &Packet) -> (&'static str, &'static str, String) {
        match found {
            Some(rule) => match rule.action {
                RuleAction::Drop => ("drop", "rule", format!("dropped by rule {:?}", rule.name)),
                RuleAction::Pass | RuleAction::Log => {
                    ("pass", "rule", format!("passed by rule {:?}; the flood guard is not asked", rule.name))
                }
                RuleAction::Limit => {
                    let rate = rule.rate.map(|rate| rate.to_string()).unwrap_or_default();
                    (
                        "limit",
                        "rule",
                        format!("passes within the {rate} of rule {:?}, else is dropped", rule.name),
                    )
                }
            },
            None if self.guard.is_some() => {
                let text = format!(
                    "no rule decides about packets from {}; the flood guard limits its rate",
                    packet.source
                );
                ("pass", "guard", text)
            }
            None => {
                ("pass", "default", format!("no entry and no rule is about packets from {}", packet.source))
            }
        }
    }
}

fn no_such_rule(name: &str) -> Fault {
    Fault::NotFound(format!("there is no rule {name:?}: `portcullis rule list` shows all"))
}
