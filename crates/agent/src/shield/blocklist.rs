//! The blocklist: changes, expiry, what it says of an address.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use portcullis_abi::shield::Class;
use portcullis_policy::api::{
    AddressTest, AddressVerdict, BlocklistChange, BlocklistChanged, BlocklistEntry, BlocklistPage,
    EntryAction, EntryKey, EntryProtocol, SourceView,
};
use portcullis_policy::shield::Listing;
use portcullis_policy::shield::book::{Book, Entry, MAX_ALLOWED, MAX_ENTRIES, MAX_SOURCES};

use super::failsafe::{forbid, sentences};
use super::{Keeper, seconds, unkept};
use crate::control::Fault;
use crate::core::Agent;
use crate::store::{ListChange, ShieldChange, meant, written};

/// Entries of one answer.
pub(super) const PAGE_MAX: usize = 10_000;
const COMMENT_MAX: usize = 256;
const SOURCE_MAX: usize = 63;

/// Which part of the blocklist.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only of this source.
    pub source: Option<String>,
    /// Only entries within this prefix.
    pub within: Option<IpNet>,
    /// Where the answer before ended.
    pub after: Option<String>,
    /// Entries at the most; none: as many as an answer may have.
    pub limit: Option<usize>,
}

/// What takes a change back.
struct Undo {
    source: String,
    net: IpNet,
    allow: bool,
    before: Option<Entry>,
}

impl Keeper {
    pub(super) fn change_blocklist(
        &mut self,
        agent: &Agent,
        change: BlocklistChange,
    ) -> Result<BlocklistChanged, Fault> {
        let now = Timestamp::now();
        let entries = change.add.iter().map(|entry| resolved(entry, now)).collect::<Result<Vec<_>, _>>()?;
        change.remove.iter().try_for_each(|key| self.find(key).map(drop))?;
        let dangers = self.dangers();
        let mut undo = Vec::new();
        let mut changed = BlocklistChanged { dry_run: change.dry_run, ..BlocklistChanged::default() };
        for key in &change.remove {
            let allow = key.action == EntryAction::Allow;
            let before = self.book.remove(&key.source, key.prefix, allow);
            changed.removed += u64::from(before.is_some());
            undo.push(Undo { source: key.source.clone(), net: key.prefix, allow, before });
        }
        for (source, entry) in entries.iter().map(|entry| (&entry.source, meant(entry))) {
            let before = self.book.put(source, &entry);
            changed.added += u64::from(before.is_none());
            changed.updated += u64::from(before.as_ref().is_some_and(|before| *before != entry));
            undo.push(Undo { source: source.clone(), net: entry.net, allow: entry.allow, before });
        }
        changed.entries = self.book.len() as u64;
        let allows = entries.iter().any(|entry| entry.action == EntryAction::Allow);
        let outcome = self.room(allows).and_then(|()| {
            let newly = self.newly_blocked(&dangers);
            changed.warnings = sentences(&newly);
            forbid(&newly, change.force || change.dry_run)
        });
        if outcome.is_err() || change.dry_run {
            self.take_back(undo);
            return outcome.map(|()| changed);
        }
        if changed.added + changed.updated + changed.removed == 0 {
            return Ok(changed);
        }
        let nets: Vec<IpNet> = undo.iter().map(|undo| undo.net).collect();
        let kept = change.remove.into_iter().map(ListChange::Remove);
        let kept: Vec<ListChange> = kept.chain(entries.into_iter().map(ListChange::Put)).collect();
        let done = self.write_changes(agent, &nets).and_then(|()| self.keep_changes(kept));
        if let Err(fault) = done {
            self.take_back(undo);
            // As it was before: what this needs has been there already.
            let _restored = self.write_changes(agent, &nets);
            return Err(fault);
        }
        for undo in undo {
            self.changed.insert(undo.source, now);
        }
        self.forget_sources();
        Ok(changed)
    }

    fn find(&self, key: &EntryKey) -> Result<Entry, Fault> {
        let found = self
            .book
            .source(&key.source)
            .and_then(|list| list.get(key.prefix, key.action == EntryAction::Allow));
        found.ok_or_else(|| {
            Fault::NotFound(format!(
                "there is no entry that {}s {} from source \"{}\": `portcullis blocklist test {}` shows which there are",
                key.action,
                key.prefix,
                key.source,
                key.prefix.addr()
            ))
        })
    }

    /// Whether a blocklist may be as large as it is now; `allows`: entries that allow have come.
    pub(super) fn room(&self, allows: bool) -> Result<(), Fault> {
        if self.book.len() > MAX_ENTRIES {
            return Err(Fault::Invalid(format!(
                "a blocklist has at most {MAX_ENTRIES} entries, and this would be {}: nothing was changed",
                self.book.len()
            )));
        }
        if allows {
            // Walked only then: a blocklist may have millions.
            let allowed = self.book.allowed().count();
            if allowed > MAX_ALLOWED {
                return Err(Fault::Invalid(format!(
                    "an allowlist has at most {MAX_ALLOWED} entries, and this would be {allowed}: nothing was changed"
                )));
            }
        }
        let sources = self.book.sources().count();
        if sources > MAX_SOURCES {
            return Err(Fault::Invalid(format!(
                "entries may come from {MAX_SOURCES} sources at most: remove one first"
            )));
        }
        Ok(())
    }

    fn take_back(&mut self, undo: Vec<Undo>) {
        for Undo { source, net, allow, before } in undo.into_iter().rev() {
            match before {
                Some(before) => drop(self.book.put(&source, &before)),
                None => drop(self.book.remove(&source, net, allow)),
            }
        }
    }

    /// Has the kernel hold what is said of these prefixes now.
    fn write_changes(&mut self, agent: &Agent, nets: &[IpNet]) -> Result<(), Fault> {
        let changes: Vec<(IpNet, Listing)> = nets.iter().map(|net| (*net, self.book.listing(*net))).collect();
        self.open(agent)?.change_lists(&changes)
    }

    fn keep_changes(&mut self, changes: Vec<ListChange>) -> Result<(), Fault> {
        self.journal.append(changes.into_iter().map(ShieldChange::List).collect()).map_err(unkept)
    }

    /// Takes away what has expired.
    pub(super) fn expire(&mut self) {
        let gone = self.book.expire(seconds(Timestamp::now()));
        if gone.is_empty() {
            return;
        }
        let nets = gone.iter().flat_map(|(_, nets)| nets.iter().copied());
        let changes: Vec<(IpNet, Listing)> = nets.map(|net| (net, self.book.listing(net))).collect();
        if let Some(kernel) = &mut self.kernel
            && let Err(fault) = kernel.change_lists(&changes)
        {
            tracing::error!(%fault, "expired entries of the blocklist are still in the kernel");
        }
        let kept = gone.iter().try_for_each(|(name, _)| self.keep_list(name));
        if let Err(error) = kept {
            tracing::warn!(%error, "expired entries of the blocklist are still on the disk");
        }
        for (name, nets) in &gone {
            let message = match nets.as_slice() {
                [net] => format!("the blocklist's entry {net} (source {name}) has expired"),
                nets => format!("{} entries of the blocklist (source {name}) have expired", nets.len()),
            };
            self.bus.notice("blocklist", None, message);
        }
        self.forget_sources();
    }

    pub(super) fn forget_sources(&mut self) {
        let book = &self.book;
        self.changed.retain(|name, _| book.source(name).is_some());
    }

    pub(super) fn source_views(&self) -> Vec<SourceView> {
        let view = |(name, list): (&str, &portcullis_policy::shield::book::SourceList)| SourceView {
            name: name.to_owned(),
            entries: list.len() as u64,
            changed: self.changed.get(name).map(ToString::to_string).unwrap_or_default(),
        };
        self.book.sources().map(view).collect()
    }

    pub(super) fn list(&self, query: &ListQuery) -> Result<BlocklistPage, Fault> {
        let (after_source, after_place) = query.after.as_deref().map(place).transpose()?.unzip();
        let limit = query.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let mut page = BlocklistPage { sources: self.source_views(), ..BlocklistPage::default() };
        let fits = |entry: &Entry| query.within.is_none_or(|net| net.contains(&entry.net));
        for (name, list) in
            self.book.sources().filter(|(name, _)| query.source.as_deref().is_none_or(|s| s == *name))
        {
            page.total += match query.within {
                None => list.len() as u64,
                Some(_) => list.iter().filter(fits).count() as u64,
            };
            if after_source.as_deref().is_some_and(|source| name < source) || page.next.is_some() {
                continue;
            }
            let from = if after_source.as_deref() == Some(name) { after_place.unwrap_or(0) } else { 0 };
            for (place, entry) in list.iter_from(from).filter(|(_, entry)| fits(entry)) {
                if page.entries.len() == limit {
                    page.next = Some(format!("{place}.{name}"));
                    break;
                }
                page.entries.push(written(name, &entry));
            }
        }
        Ok(page)
    }

    pub(super) fn remove_source(&mut self, source: &str) -> Result<u64, Fault> {
        let Some(before) = self.book.replace(source, portcullis_policy::shield::book::SourceList::default())
        else {
            return Err(Fault::NotFound(format!(
                "no entries come from source \"{source}\": `portcullis blocklist sources` shows all"
            )));
        };
        let done = self.write_lists().and_then(|()| self.keep_list(source));
        if let Err(fault) = done {
            self.book.replace(source, before);
            let _restored = self.write_lists();
            return Err(fault);
        }
        self.forget_sources();
        Ok(before.len() as u64)
    }

    /// Has the kernel hold all lists anew.
    pub(super) fn write_lists(&mut self) -> Result<(), Fault> {
        let lists = self.book.lists();
        self.kernel.as_mut().map_or(Ok(()), |kernel| kernel.put_lists(lists))
    }
}

/// Where an answer ended, as `next` says it.
fn place(text: &str) -> Result<(String, usize), Fault> {
    let read =
        text.split_once('.').and_then(|(place, source)| Some((source.to_owned(), place.parse().ok()?)));
    read.ok_or_else(|| {
        Fault::Invalid(format!("`after` is the `next` of an answer before, and {text:?} is none"))
    })
}

/// An entry as it is kept, if it may be.
pub(super) fn resolved(entry: &BlocklistEntry, now: Timestamp) -> Result<BlocklistEntry, Fault> {
    check_source(&entry.source)?;
    let prefix = entry.prefix;
    let refuse = |why: &str| Fault::Invalid(format!("the entry {prefix}: {why}"));
    if entry.comment.as_ref().is_some_and(|comment| comment.chars().count() > COMMENT_MAX) {
        return Err(refuse("a comment has at most 256 characters"));
    }
    if entry.action == EntryAction::Allow && entry.protocol.is_some() {
        return Err(refuse("what is allowed is allowed for every protocol: leave the protocol out"));
    }
    let expires = match (entry.expires, entry.expires_in) {
        (Some(_), Some(_)) => return Err(refuse("write `expires` or `expires_in`, not both")),
        (None, Some(span)) => {
            Some(now.checked_add(span.duration()).map_err(|_| refuse("it would end too late"))?)
        }
        (expires, None) => expires,
    };
    if expires.is_some_and(|expires| expires <= now) {
        return Err(refuse("it has expired already"));
    }
    Ok(BlocklistEntry { prefix: prefix.trunc(), expires, expires_in: None, ..entry.clone() })
}

pub(super) fn check_source(name: &str) -> Result<(), Fault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'/');
    if name.is_empty() || name.len() > SOURCE_MAX || !name.bytes().all(plain) {
        return Err(Fault::Invalid(format!(
            "a source's name is 1 to {SOURCE_MAX} letters, digits and `.` `_` `-` `:` `/`, and {:?} is not",
            name.chars().take(70).collect::<String>()
        )));
    }
    Ok(())
}

/// What the blocklist says of an address.
pub(super) fn test(book: &Book, address: IpAddr) -> AddressTest {
    let address = address.to_canonical();
    let found = book.explain(address);
    let is_blocked = !found.blocks.is_none();
    let verdict = match (found.is_allowed, is_blocked) {
        (true, _) => AddressVerdict::Allowed,
        (false, true) => AddressVerdict::Blocked,
        (false, false) => AddressVerdict::NotListed,
    };
    let protocols: Vec<EntryProtocol> = match found.blocks == Class::ANY {
        true => Vec::new(),
        false => {
            let all = EntryProtocol::ALL.iter().copied();
            all.filter(|protocol| found.blocks.bits() & protocol.class().bits() != 0).collect()
        }
    };
    let explanation = explanation(address, verdict, &protocols, &found.decisive, found.others.len());
    let views =
        |entries: Vec<(String, Entry)>| entries.iter().map(|(name, entry)| written(name, entry)).collect();
    AddressTest {
        address: address.to_string(),
        verdict,
        protocols,
        explanation,
        decided_by: views(found.decisive),
        others: views(found.others),
    }
}

fn explanation(
    address: IpAddr,
    verdict: AddressVerdict,
    protocols: &[EntryProtocol],
    decisive: &[(String, Entry)],
    others: usize,
) -> String {
    let Some((source, entry)) = decisive.first() else {
        return format!("{address} is in no entry: it passes the blocklist");
    };
    let more = if decisive.len() > 1 { format!(" and {} more", decisive.len() - 1) } else { String::new() };
    let around = match others {
        0 => String::new(),
        1 => "; one other entry holds it too".to_owned(),
        others => format!("; {others} other entries hold it too"),
    };
    match verdict {
        AddressVerdict::Allowed => {
            format!(
                "{address} is allowed by {} (source {source}{more}), and what is allowed is never blocked{around}",
                entry.net
            )
        }
        _ => {
            let words: Vec<&str> = protocols.iter().map(|protocol| protocol.name()).collect();
            let limit = if words.is_empty() { String::new() } else { format!(" for {}", words.join(", ")) };
            format!(
                "{address} is blocked{limit} by {} (source {source}{more}), the longest prefix around it{around}",
                entry.net
            )
        }
    }
}
