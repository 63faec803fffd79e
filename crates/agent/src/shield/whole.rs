//! The shield's part of the desired state, replaced at once.

use jiff::Timestamp;
use portcullis_policy::api::{BlocklistEntry, PlaceSpec, ShieldSection};
use portcullis_policy::shield::book::{Builder, SourceList};

use super::failsafe::forbid;
use super::places::{self, Place};
use super::{Keeper, Manner, blocklist};
use crate::control::Fault;
use crate::core::Agent;
use crate::store::{meant, written};

/// The source of entries that are added one by one.
const BY_HAND: &str = "api";

/// How many were created, updated and removed.
type Counts = (u32, u32, u32);

impl Keeper {
    /// What was asked for by hand.
    pub(super) fn section(&self) -> ShieldSection {
        let by_hand =
            self.book.source(BY_HAND).map(|list| list.iter().map(|entry| written(BY_HAND, &entry)).collect());
        ShieldSection {
            guard: self.guard.clone(),
            places: self.places.iter().map(|place| place.spec().clone()).collect(),
            rules: self.rules.values().cloned().collect(),
            entries: by_hand.unwrap_or_default(),
        }
    }

    /// Has what was asked for by hand be this, whole or not at all.
    pub(super) fn apply(
        &mut self,
        agent: &Agent,
        wanted: ShieldSection,
        force: bool,
    ) -> Result<Counts, Fault> {
        let before = self.section();
        if before == wanted {
            return Ok((0, 0, 0));
        }
        match self.try_apply(agent, wanted, force) {
            Ok(counts) => Ok(counts),
            Err(fault) => {
                if let Err(second) = self.try_apply(agent, before, true) {
                    return Err(Fault::Failed(format!("{fault}; and it could not be put back: {second}")));
                }
                Err(fault)
            }
        }
    }

    fn try_apply(&mut self, agent: &Agent, wanted: ShieldSection, force: bool) -> Result<Counts, Fault> {
        let rules = self.replace_rules(agent, wanted.rules, Manner { force, dry_run: false })?;
        let entries = self.replace_entries(agent, &wanted.entries, force)?;
        let places = self.replace_places(agent, wanted.places)?;
        let guard = match (&self.guard, &wanted.guard) {
            (None, Some(_)) => (1, 0, 0),
            (Some(before), Some(after)) if before != after => (0, 1, 0),
            (Some(_), None) => (0, 0, 1),
            _ => (0, 0, 0),
        };
        self.put_guard(agent, wanted.guard)?;
        let all = [rules, entries, places, guard];
        Ok(all.into_iter().fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2)))
    }

    fn replace_entries(
        &mut self,
        agent: &Agent,
        wanted: &[BlocklistEntry],
        force: bool,
    ) -> Result<Counts, Fault> {
        let list = list_of(wanted)?;
        let none = SourceList::default();
        let before = self.book.source(BY_HAND).unwrap_or(&none);
        let count = |of: u64| u32::try_from(of).unwrap_or(u32::MAX);
        let (created, removed) = (count(list.count_beyond(before)), count(before.count_beyond(&list)));
        let differs = |entry: &portcullis_policy::shield::book::Entry| {
            before.get(entry.net, entry.allow).is_some_and(|before| before != *entry)
        };
        let updated = count(list.iter().filter(differs).count() as u64);
        if created + updated + removed == 0 {
            return Ok((0, 0, 0));
        }
        let dangers = self.dangers();
        let before = self.book.replace(BY_HAND, list).unwrap_or_default();
        let done = self
            .room(true)
            .and_then(|()| forbid(&self.newly_blocked(&dangers), force))
            .and_then(|()| self.open(agent).map(drop))
            .and_then(|()| self.write_lists())
            .and_then(|()| self.keep_list(BY_HAND));
        if let Err(fault) = done {
            self.book.replace(BY_HAND, before);
            self.write_lists()?;
            return Err(fault);
        }
        self.changed.insert(BY_HAND.to_owned(), Timestamp::now());
        self.forget_sources();
        Ok((created, updated, removed))
    }

    fn replace_places(&mut self, agent: &Agent, wanted: Vec<PlaceSpec>) -> Result<Counts, Fault> {
        wanted.iter().try_for_each(places::check)?;
        let gone: Vec<PlaceSpec> = self
            .places
            .iter()
            .map(|place| place.spec().clone())
            .filter(|spec| !wanted.contains(spec))
            .collect();
        for spec in &gone {
            self.detach(&places::id_of(spec))?;
        }
        let fresh: Vec<PlaceSpec> =
            wanted.into_iter().filter(|spec| !self.places.iter().any(|place| place.spec() == spec)).collect();
        let created = fresh.len();
        if created > 0 {
            self.open(agent)?;
            // What is not there yet is waited for.
            self.places.extend(fresh.into_iter().map(Place::new));
            self.sort_places();
            self.keep_places()?;
            self.look_after(agent);
        }
        Ok((created as u32, 0, gone.len() as u32))
    }
}

fn list_of(wanted: &[BlocklistEntry]) -> Result<SourceList, Fault> {
    let now = Timestamp::now();
    let mut builder = Builder::default();
    for entry in wanted {
        if entry.source != BY_HAND {
            return Err(Fault::Invalid(format!(
                "the entry {}: only entries of source \"{BY_HAND}\" are part of the desired state, others are imported",
                entry.prefix
            )));
        }
        // What has expired since the file was written is not there, and no mistake.
        if entry.expires.is_some_and(|expires| expires <= now) {
            continue;
        }
        let entry = meant(&blocklist::resolved(entry, now)?);
        builder.push(entry.net, entry.allow, entry.protocol, entry.expires, entry.comment.as_deref());
    }
    Ok(builder.finish())
}
