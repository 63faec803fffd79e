//! The shield's kernel side, opened when there is something for it to hold.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use portcullis_abi::Counters;
use portcullis_datapath::Error as KernelError;
use portcullis_datapath::shield::{EventBudget, Kind, Profile, Shield, Table};
use portcullis_policy::shield::guard::Guard;
use portcullis_policy::shield::list4::Book as Book4;
use portcullis_policy::shield::list6::Book6;
use portcullis_policy::shield::rules::{Compiled, Numbers, Rule};
use portcullis_policy::shield::{Listing, Lists, NotInPlace, prefix4, prefix6};

use crate::control::Fault;

/// Entries that are changed one by one; of more the lists are compiled anew.
const SINGLE_CHANGES: usize = 1024;

/// After a change, until no program runs any more that was running then.
const GRACE: Duration = Duration::from_millis(200);

/// Compiled lists and rules of the node's own firewall, and where they are.
#[derive(Debug)]
pub(super) struct Kernel {
    pub shield: Shield,
    profile: Profile,
    lists: Lists,
    table4: Option<(Table, Book4)>,
    table6: Option<(Table, Book6)>,
    numbers: Numbers,
    /// When a table in use was changed last.
    changed: Instant,
}

impl Kernel {
    pub fn new(shield: Shield, profile: Profile) -> Self {
        Self {
            shield,
            profile,
            lists: Lists::default(),
            table4: None,
            table6: None,
            numbers: Numbers::default(),
            changed: Instant::now(),
        }
    }

    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Has the lists be these, in one step each.
    pub fn put_lists(&mut self, lists: Lists) -> Result<(), Fault> {
        // Compiled aside before anything is exchanged: what does not fit changes nothing.
        let table4 = if lists.v4.is_empty() { None } else { Some(compile4(&lists)?) };
        let table6 = if lists.v6.is_empty() { None } else { Some(compile6(&lists)?) };
        match &table4 {
            Some((table, _)) => self.shield.publish(self.profile, table).map_err(failed)?,
            None => drop(self.shield.withdraw(self.profile, Kind::List4).map_err(failed)?),
        }
        self.table4 = table4;
        match &table6 {
            Some((table, _)) => self.shield.publish(self.profile, table).map_err(failed)?,
            None => drop(self.shield.withdraw(self.profile, Kind::List6(0)).map_err(failed)?),
        }
        self.table6 = table6;
        self.lists = lists;
        Ok(())
    }

    /// Has these prefixes say this: in the tables in use, where that can be done, else in fresh ones.
    pub fn change_lists(&mut self, changes: &[(IpNet, Listing)]) -> Result<(), Fault> {
        if changes.len() <= SINGLE_CHANGES {
            let mut done = 0;
            let in_place: Result<(), NotInPlace> = changes.iter().try_for_each(|(net, listing)| {
                self.change_in_place(*net, *listing)?;
                done += 1;
                Ok(())
            });
            if in_place == Ok(()) {
                return Ok(());
            }
            tracing::debug!(done, "the blocklist is compiled anew");
        }
        let mut lists = self.lists.clone();
        for (net, listing) in changes {
            match net {
                IpNet::V4(net) => drop(lists.v4.set(prefix4(*net), *listing)),
                IpNet::V6(net) => drop(lists.v6.set(prefix6(*net), *listing)),
            }
        }
        self.put_lists(lists)
    }

    fn change_in_place(&mut self, net: IpNet, listing: Listing) -> Result<(), NotInPlace> {
        self.changed = Instant::now();
        match net {
            IpNet::V4(net) => {
                let (table, book) = self.table4.as_mut().ok_or(NotInPlace)?;
                self.lists.v4.change(prefix4(net), listing, table, book)?;
            }
            IpNet::V6(net) => {
                let (table, book) = self.table6.as_mut().ok_or(NotInPlace)?;
                self.lists.v6.change(prefix6(net), listing, table, book)?;
            }
        }
        Ok(())
    }

    /// Makes room of what changes have left behind, once no program can be reading it any more.
    pub fn clean(&mut self) {
        if self.changed.elapsed() < GRACE {
            return;
        }
        if let Some((table, book)) = self.table4.as_mut().filter(|(_, book)| book.is_stale()) {
            self.lists.v4.clean(table, book);
        }
        if let Some((table, book)) = self.table6.as_mut().filter(|(_, book)| book.is_stale()) {
            self.lists.v6.clean(table, book);
        }
    }

    /// A rule that was there before the agent was started keeps its counters.
    pub fn remember_counter(&mut self, rule: &str, counter: u16) {
        self.numbers.restore(self.profile.number(), rule, counter);
    }

    /// The number of a rule's counters.
    pub fn counter_of(&self, rule: &str) -> Option<u16> {
        self.numbers.of(self.profile.number(), rule)
    }

    /// Has the rules be these, in one step.
    pub fn put_rules(&mut self, rules: &[Rule]) -> Result<(), Fault> {
        if rules.is_empty() {
            self.numbers.assign(self.profile.number(), rules).map_err(invalid)?;
            return self.shield.withdraw(self.profile, Kind::Rules).map(drop).map_err(failed);
        }
        let mut numbers = self.numbers.clone();
        let assigned = numbers.assign(self.profile.number(), rules).map_err(invalid)?;
        let mut table = Table::new(Kind::Rules).map_err(failed)?;
        let number = |name: &str| numbers.of(self.profile.number(), name).unwrap_or(u16::MAX);
        Compiled::write(rules, number, &mut table).map_err(invalid)?;
        for counter in assigned.fresh {
            self.shield.reset_rule_count(counter).map_err(failed)?;
        }
        self.shield.publish(self.profile, &table).map_err(failed)?;
        self.numbers = numbers;
        Ok(())
    }

    /// Has the flood guard do this.
    pub fn put_guard(&self, guard: Option<&Guard>) -> Result<(), Fault> {
        const EVENTS: EventBudget = EventBudget { per_second: 100, burst: 200 };
        let config = guard.map(Guard::compile).transpose().map_err(invalid)?;
        self.shield.configure(self.profile, EVENTS, config).map_err(failed)
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.shield.counters(self.profile).unwrap_or_default()
    }
}

fn compile4(lists: &Lists) -> Result<(Table, Book4), Fault> {
    let mut table = Table::new(Kind::List4).map_err(failed)?;
    let book = lists.v4.compile(&mut table).map_err(|_| too_many(lists))?;
    Ok((table, book))
}

fn compile6(lists: &Lists) -> Result<(Table, Book6), Fault> {
    let mut table = Table::new(Kind::List6(lists.v6.shape().lines())).map_err(failed)?;
    let book = lists.v6.compile(&mut table).map_err(|_| too_many(lists))?;
    Ok((table, book))
}

fn too_many(lists: &Lists) -> Fault {
    Fault::Invalid(format!(
        "the kernel's table has no room for a blocklist of {} entries as these are: nothing was changed; join neighbouring addresses to prefixes, or leave lists out",
        lists.len()
    ))
}

pub(super) fn failed(error: KernelError) -> Fault {
    Fault::Failed(error.to_string())
}

fn invalid(error: impl std::error::Error) -> Fault {
    Fault::Invalid(error.to_string())
}
