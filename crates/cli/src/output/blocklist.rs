//! The blocklist.

use portcullis_policy::api::{
    AddressTest, AddressVerdict, BlocklistChanged, BlocklistEntry, BlocklistPage, EntryAction, ImportOutcome,
    SourceView,
};

use super::{Paint, Style, Table, clean};

/// Entries, a row each.
pub fn list(page: &BlocklistPage, style: &Style, wide: bool) -> String {
    if page.entries.is_empty() {
        return match page.total {
            0 => "no entries; add one: portcullis blocklist add 192.0.2.7\n".to_owned(),
            _ => String::new(),
        };
    }
    let head: &[&str] = match wide {
        true => &["PREFIX", "ACTION", "PROTOCOL", "EXPIRES", "SOURCE", "COMMENT"],
        false => &["PREFIX", "ACTION", "PROTOCOL", "SOURCE", "COMMENT"],
    };
    let mut table = Table::new(style, head).name(0);
    for entry in &page.entries {
        table.row(row(entry, wide));
    }
    let more = match page.total.saturating_sub(page.entries.len() as u64) {
        0 => String::new(),
        more => format!("… and {more} more (--limit 0 shows all)\n"),
    };
    table.render() + &more
}

fn row(entry: &BlocklistEntry, wide: bool) -> Vec<String> {
    let protocol = entry.protocol.map(|protocol| protocol.to_string());
    let protocol =
        protocol.unwrap_or_else(|| if entry.action == EntryAction::Block { "all" } else { "" }.to_owned());
    let mut cells = vec![entry.prefix.to_string(), entry.action.to_string(), protocol];
    if wide {
        cells.push(entry.expires.map(|at| at.to_string()).unwrap_or_default());
    }
    cells.extend([clean(&entry.source), entry.comment.as_deref().map(clean).unwrap_or_default()]);
    cells
}

/// Where entries come from.
pub fn sources(sources: &[SourceView], style: &Style) -> String {
    if sources.is_empty() {
        return "no entries; import some: portcullis blocklist import FILE\n".to_owned();
    }
    let mut table = Table::new(style, &["SOURCE", "ENTRIES", "CHANGED"]).name(0).right(&[1]);
    for source in sources {
        table.row(vec![clean(&source.name), source.entries.to_string(), clean(&source.changed)]);
    }
    table.render()
}

/// What `blocklist test` says.
pub fn test(test: &AddressTest, style: &Style) -> String {
    let (paint, word) = match test.verdict {
        AddressVerdict::Blocked => (Paint::Bad, "blocked"),
        AddressVerdict::Allowed => (Paint::Good, "allowed"),
        AddressVerdict::NotListed => (Paint::Good, "not listed"),
    };
    let mut text = format!("{}: {}\n", paint.on(word), clean(&test.explanation));
    let decisive = test.decided_by.iter().map(|entry| ("decides", entry));
    for (part, entry) in decisive.chain(test.others.iter().map(|entry| ("also", entry))) {
        let limit = entry.protocol.map(|protocol| format!(" {protocol}")).unwrap_or_default();
        let until = entry.expires.map(|at| format!(" until {at}")).unwrap_or_default();
        let comment = entry.comment.as_deref().map(|text| format!(" ({})", clean(text))).unwrap_or_default();
        text.push_str(&format!(
            "  {part:<8} {} {}{limit} from {}{until}{comment}\n",
            entry.action,
            entry.prefix,
            clean(&entry.source)
        ));
    }
    Paint::resolve(&text, style)
}

/// The line after a change.
pub fn changed(changed: &BlocklistChanged) -> String {
    let would = if changed.dry_run { "would be " } else { "" };
    format!(
        "{would}added {}, changed {}, removed {}; {} entries in all\n",
        changed.added, changed.updated, changed.removed, changed.entries
    )
}

/// The line after an import.
pub fn imported(outcome: &ImportOutcome) -> String {
    let would = if outcome.dry_run { "would have " } else { "has " };
    let skipped =
        if outcome.skipped > 0 { format!(", {} lines left out", outcome.skipped) } else { String::new() };
    let twice =
        if outcome.duplicates > 0 { format!(", {} twice", outcome.duplicates) } else { String::new() };
    let took = if outcome.dry_run { String::new() } else { format!(" in {:.0} ms", outcome.took_ms) };
    format!(
        "source {} {would}{} entries ({} new, {} gone{twice}{skipped}) from {} lines of {}{took}\n",
        clean(&outcome.source),
        outcome.entries,
        outcome.added,
        outcome.removed,
        outcome.lines,
        clean(&outcome.format)
    )
}
