//! Lists from elsewhere: a source says what its file says, all or nothing.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::ops::ControlFlow;
use std::time::Instant;

use jiff::Timestamp;
use portcullis_abi::shield::Class;
use portcullis_policy::api::{EntryAction, EntryProtocol, ImportOutcome};
use portcullis_policy::shield::book::{Builder, MAX_ENTRIES, SourceList};
use portcullis_policy::shield::import::{self, Format, Item, LineError, Options};
use portcullis_policy::span::Span;

use super::blocklist::check_source;
use super::failsafe::{forbid, sentences};
use super::{Keeper, seconds, unkept};
use crate::control::Fault;
use crate::core::Agent;

/// Lines that are named, of those that are skipped.
const NAMED: usize = 20;

/// How a list is to be read, and what becomes of it.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// The source whose entries these are.
    pub source: String,
    /// The format; none: it is told by the content.
    pub format: Option<Format>,
    /// Of CSV: the column with the addresses; none: it is told by the header.
    pub column: Option<String>,
    /// Whether these are blocked or allowed.
    pub action: EntryAction,
    /// The only protocol that they block.
    pub protocol: Option<EntryProtocol>,
    /// How long they last, where the list says nothing.
    pub expires_in: Option<Span>,
    /// Bits beyond a prefix's length make a line wrong.
    pub strict: bool,
    /// Lines that are wrong are left out; else the first ends the import.
    pub skip_invalid: bool,
    /// Do it even where it blocks what keeps this host reachable.
    pub force: bool,
    /// Say what would change, and change nothing.
    pub dry_run: bool,
}

/// What was read.
#[derive(Debug)]
pub struct Imported {
    list: SourceList,
    outcome: ImportOutcome,
    began: Instant,
}

impl ImportRequest {
    /// Reads a list. What is wrong with it is said before anything is changed.
    pub fn read(&self, reader: impl BufRead) -> Result<Imported, Fault> {
        check_source(&self.source)?;
        if self.action == EntryAction::Allow && self.protocol.is_some() {
            return Err(Fault::Invalid(
                "what is allowed is allowed for every protocol: leave the protocol out".to_owned(),
            ));
        }
        let began = Instant::now();
        let options = Options { format: self.format, strict: self.strict, column: self.column.clone() };
        let mut reading = Reading {
            request: self,
            now: seconds(Timestamp::now()),
            builder: Builder::default(),
            skipped: 0,
            named: Vec::new(),
            end: None,
        };
        let summary = import::read(reader, &options, |_, item| reading.take(item))
            .map_err(|error| Fault::Invalid(format!("{error}: nothing was changed")))?;
        if let Some(fault) = reading.end {
            return Err(fault);
        }
        let (taken, left_out) = (reading.builder.taken(), reading.builder.comments_left_out());
        let list = reading.builder.finish();
        let mut outcome = ImportOutcome {
            source: self.source.clone(),
            format: summary.format.to_string(),
            lines: summary.lines,
            entries: list.len() as u64,
            duplicates: taken - list.len() as u64,
            skipped: reading.skipped,
            skipped_lines: reading.named,
            dry_run: self.dry_run,
            ..ImportOutcome::default()
        };
        if summary.with_host_bits > 0 {
            outcome.warnings.push(format!(
                "{} lines have bits beyond their prefix's length, the first is line {}: the prefix was taken (--strict refuses them)",
                summary.with_host_bits,
                summary.first_host_bits_line.unwrap_or(0)
            ));
        }
        if left_out > 0 {
            outcome.warnings.push(format!("{left_out} comments were left out: together they are too long"));
        }
        // More often a download that failed than a list that has nothing to say any more.
        if outcome.entries == 0 && !self.force {
            return Err(Fault::Invalid(format!(
                "the list is empty: nothing was changed (`portcullis blocklist clear {}` removes what it said before)",
                self.source
            )));
        }
        Ok(Imported { list, outcome, began })
    }
}

struct Reading<'a> {
    request: &'a ImportRequest,
    now: u64,
    builder: Builder,
    skipped: u64,
    named: Vec<String>,
    end: Option<Fault>,
}

impl Reading<'_> {
    fn take(&mut self, item: Result<Item<'_>, LineError>) -> ControlFlow<()> {
        let item = match item {
            Ok(item) => item,
            Err(error) => return self.skip(&error),
        };
        if self.builder.taken() >= MAX_ENTRIES as u64 {
            self.end = Some(Fault::Invalid(format!(
                "the list has more than the {MAX_ENTRIES} entries that a blocklist may have: nothing was changed"
            )));
            return ControlFlow::Break(());
        }
        let protocol = self.request.protocol.map_or(Class::ANY, EntryProtocol::class);
        let span = item.timeout.or(self.request.expires_in);
        let expires =
            span.map(|span| self.now.saturating_add(u64::from(span.millis().div_ceil(1000))).max(1));
        self.builder.push(
            item.net,
            self.request.action == EntryAction::Allow,
            protocol,
            expires,
            item.comment,
        );
        ControlFlow::Continue(())
    }

    fn skip(&mut self, error: &LineError) -> ControlFlow<()> {
        if !self.request.skip_invalid {
            self.end = Some(Fault::Invalid(format!(
                "{error}: nothing was changed (--skip-invalid leaves such lines out)"
            )));
            return ControlFlow::Break(());
        }
        self.skipped += 1;
        if self.named.len() < NAMED {
            self.named.push(error.to_string());
        }
        ControlFlow::Continue(())
    }
}

impl Keeper {
    pub(super) fn put_import(
        &mut self,
        agent: &Agent,
        request: &ImportRequest,
        imported: Imported,
    ) -> Result<ImportOutcome, Fault> {
        let Imported { list, mut outcome, began } = imported;
        let source = request.source.as_str();
        let none = SourceList::default();
        let before = self.book.source(source).unwrap_or(&none);
        (outcome.added, outcome.removed) = (list.count_beyond(before), before.count_beyond(&list));
        let dangers = self.dangers();
        let before = self.book.replace(source, list);
        let checked = self.room(request.action == EntryAction::Allow).and_then(|()| {
            let newly = self.newly_blocked(&dangers);
            outcome.warnings.extend(sentences(&newly));
            forbid(&newly, request.force || request.dry_run)
        });
        if checked.is_err() || request.dry_run {
            self.book.replace(source, before.unwrap_or_default());
            return checked.map(|()| outcome);
        }
        if let Err(fault) = self.open(agent).map(drop).and_then(|()| self.write_and_keep(source)) {
            self.book.replace(source, before.unwrap_or_default());
            let _restored = self.write_lists();
            return Err(fault);
        }
        self.changed.insert(source.to_owned(), Timestamp::now());
        self.forget_sources();
        outcome.took_ms = began.elapsed().as_secs_f64() * 1e3;
        let sources: BTreeSet<&str> = self.book.sources().map(|(name, _)| name).collect();
        let message = format!(
            "the blocklist's source {source} has {} entries now ({} new, {} gone); {} in all from {} sources",
            outcome.entries,
            outcome.added,
            outcome.removed,
            self.book.len(),
            sources.len()
        );
        self.bus.notice("blocklist", None, message);
        Ok(outcome)
    }

    /// Into the kernel, and on the disk beside it: both take a tenth of a second for a million entries.
    fn write_and_keep(&mut self, source: &str) -> Result<(), Fault> {
        self.store.fold(&mut self.journal).map_err(unkept)?;
        let Self { store, book, kernel, .. } = self;
        std::thread::scope(|scope| {
            let keeping = scope.spawn(|| store.put_lists(&[(source, book.source(source))], false));
            let written = kernel.as_mut().map_or(Ok(()), |kernel| kernel.put_lists(book.lists()));
            let kept = match keeping.join() {
                Ok(kept) => kept.map_err(unkept),
                Err(panic) => std::panic::resume_unwind(panic),
            };
            written.and(kept)
        })
    }
}
