//! The container network map: who is here, what is bound for them, and what needs a look.

mod dot;
pub mod group;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use jiff::Timestamp;
use portcullis_policy::api::{ContainerMap, MapRow, MapState, SourceState, SourceStatus};

use super::endpoint::{at, labels, words};
use super::units::since as age;
use super::{Paint, Style, Table, clean};
pub use dot::graph;
use group::{Group, groups};

/// Notes under the table; who has more troubles than this asks for `-o wide`.
const MOST_NOTES: usize = 20;

/// The table, troubles first, then why, then the whole in one line: whoever looks at the end of a long table
/// sees that something is amiss, and whoever looks at its top sees what.
pub fn show(map: &ContainerMap, now: Timestamp, style: &Style, wide: bool) -> String {
    let groups = groups(&map.rows);
    let mut text = match (groups.is_empty(), wide) {
        (true, _) => String::new(),
        (false, true) => wide_table(&groups, now, &style.unwrapped()),
        (false, false) => table(&groups, style),
    };
    let mut below = String::new();
    if !wide {
        notes(&mut below, &groups);
    }
    for source in map.sources.iter().filter(|source| is_stale(source)) {
        stale(&mut below, source, now);
    }
    if !text.is_empty() {
        text.push('\n');
    }
    below.push_str(&summary(&groups, &map.sources));
    below.push('\n');
    text.push_str(&Paint::resolve(&below, style));
    text
}

fn table(groups: &[Group<'_>], style: &Style) -> String {
    let head = ["CONTAINER", "STATE", "NETWORK", "INSIDE", "INTERFACE", "ADDRESSES"];
    let mut table = Table::new(style, &head).name(0).optional(&[3, 2]);
    for (group, row, first) in lines(groups) {
        table.row([
            name(group, first),
            state(row.state),
            optional(row.network.as_deref()),
            optional(row.inside.as_deref()),
            interface(row),
            words(&row.addresses),
        ]);
    }
    table.render()
}

/// The host's side, or that there is none: the long path of a workload's namespace says nothing to people.
fn interface(row: &MapRow) -> String {
    match &row.interface {
        Some(interface) if interface.netns.is_some() && Some(&interface.name) == row.inside.as_ref() => {
            "(inside)".to_owned()
        }
        Some(interface) => at(interface),
        None => String::new(),
    }
}

fn wide_table(groups: &[Group<'_>], now: Timestamp, style: &Style) -> String {
    let mut table = Table::new(
        style,
        &[
            "CONTAINER",
            "STATE",
            "RUNTIME",
            "IMAGE",
            "NETWORK",
            "INSIDE",
            "INTERFACE",
            "ADDRESSES",
            "MACS",
            "ENDPOINT",
            "SOURCES",
            "AGE",
            "WHY",
            "LABELS",
        ],
    );
    for (group, row, first) in lines(groups) {
        table.row([
            name(group, first),
            state(row.state),
            optional(row.workload.runtime.as_deref()),
            optional(row.workload.image.as_deref()),
            optional(row.network.as_deref()),
            optional(row.inside.as_deref()),
            row.interface.as_ref().map(at).unwrap_or_default(),
            words(&row.addresses),
            words(&row.macs),
            optional(row.endpoint.as_deref()),
            row.sources.iter().map(|owner| owner.name()).collect::<Vec<_>>().join(" "),
            row.since.as_deref().map(|since| age(since, now)).unwrap_or_default(),
            optional(row.message.as_deref()),
            labels(&row.workload),
        ]);
    }
    table.render()
}

fn lines<'a>(groups: &'a [Group<'a>]) -> impl Iterator<Item = (&'a Group<'a>, &'a MapRow, bool)> {
    groups
        .iter()
        .flat_map(|group| group.rows.iter().enumerate().map(move |(place, row)| (group, *row, place == 0)))
}

/// Repeated on each line of a container, so that `grep` finds it with each of its interfaces.
fn name(group: &Group<'_>, first: bool) -> String {
    let name = clean(&group.name());
    if first { name } else { Paint::Faint.on(&name) }
}

fn optional(text: Option<&str>) -> String {
    clean(text.unwrap_or_default())
}

/// The word, loud where somebody should look.
fn state(state: MapState) -> String {
    let word = if group::is_trouble(state) { state.name().to_uppercase() } else { state.name().to_owned() };
    paint(state).on(&word)
}

fn paint(state: MapState) -> Paint {
    match state {
        MapState::Bound => Paint::Good,
        MapState::Shared | MapState::NoNetwork => Paint::Faint,
        MapState::HostNetwork | MapState::NotProtectable | MapState::Held | MapState::Orphan => {
            Paint::Doubtful
        }
        MapState::Unbound | MapState::Quarantined => Paint::Bad,
    }
}

/// Why each trouble is one.
fn notes(text: &mut String, groups: &[Group<'_>]) {
    let noted = |state| group::is_trouble(state) || state == MapState::NotProtectable;
    let mut troubles = lines(groups).filter(|(_, row, _)| noted(row.state));
    for (group, row, _) in troubles.by_ref().take(MOST_NOTES) {
        let why = row.message.as_deref().unwrap_or(match row.state {
            MapState::Unbound => "its frames are not verified",
            MapState::Held => "everything that it sends is dropped until it is bound",
            MapState::Orphan => "a binding whose container or interface is not there",
            MapState::Quarantined => "every frame from and to it is dropped",
            _ => "its frames are not verified: it has no host side",
        });
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {}: {}", state(row.state), clean(&group.name()), clean(why));
    }
    match troubles.count() {
        0 => {}
        more => {
            let _ = writeln!(text, "… and {more} more: portcullis map -o wide says why");
        }
    }
}

/// Whether rows may be out of date because of it.
fn is_stale(source: &SourceStatus) -> bool {
    match source.state {
        SourceState::Connected => false,
        SourceState::Absent => source.containers > 0,
        SourceState::Connecting | SourceState::Failing => true,
    }
}

fn stale(text: &mut String, source: &SourceStatus, now: Timestamp) {
    let why = source.message.as_deref().map(|why| format!(": {}", clean(why))).unwrap_or_default();
    let _ = writeln!(
        text,
        "{} {} for {}{why}; its containers are shown as it told of them last",
        Paint::Bad.on(&clean(&source.name)),
        source.state,
        age(&source.since, now),
    );
}

/// `12 containers: 10 bound, 1 host network, 1 UNBOUND`.
fn summary(groups: &[Group<'_>], sources: &[SourceStatus]) -> String {
    let (containers, others): (Vec<_>, Vec<_>) = groups.iter().partition(|group| group.is_container());
    let mut text = match containers.len() {
        0 => "no containers".to_owned(),
        1 => format!("1 container: {}", counts(&containers)),
        many => format!("{many} containers: {}", counts(&containers)),
    };
    if containers.is_empty() && !sources.iter().any(|source| source.state == SourceState::Connected) {
        let sources: Vec<_> = sources.iter().map(|s| format!("{} {}", clean(&s.name), s.state)).collect();
        let which = if sources.is_empty() { "none is configured".to_owned() } else { sources.join(", ") };
        let _ = write!(text, ", and no source that could tell of them ({which})");
    }
    match others.len() {
        0 => {}
        1 => {
            let _ = write!(text, "; 1 interface without a container: {}", counts(&others));
        }
        many => {
            let _ = write!(text, "; {many} interfaces without a container: {}", counts(&others));
        }
    }
    text
}

/// Each counted once, by the worst of its states.
fn counts(groups: &[&Group<'_>]) -> String {
    let said = |state: MapState| {
        let word = state.name().replace('-', " ");
        let word = if group::is_trouble(state) { word.to_uppercase() } else { word };
        match groups.iter().filter(|group| group.worst() == state).count() {
            0 => None,
            count if paint(state) == Paint::Bad => Some(Paint::Bad.on(&format!("{count} {word}"))),
            count => Some(format!("{count} {word}")),
        }
    };
    group::LOUDEST_LAST.into_iter().filter_map(said).collect::<Vec<_>>().join(", ")
}
