//! Rows of the map by container, the ones that need a look first.

use std::collections::BTreeMap;

use portcullis_policy::api::{MapRow, MapState};

/// From what is as it should be to what is not.
pub const LOUDEST_LAST: [MapState; 9] = [
    MapState::Bound,
    MapState::Shared,
    MapState::NoNetwork,
    MapState::HostNetwork,
    MapState::NotProtectable,
    MapState::Quarantined,
    MapState::Held,
    MapState::Orphan,
    MapState::Unbound,
];

/// All rows of one container; or one interface that has none.
pub struct Group<'a> {
    /// Its rows; at least one.
    pub rows: Vec<&'a MapRow>,
}

/// Whether somebody should look. Containers in the host's network and such that cannot be protected from
/// outside are none: whoever started them wanted them so, and they would cry for ever.
pub fn is_trouble(state: MapState) -> bool {
    match state {
        MapState::Unbound | MapState::Held | MapState::Orphan | MapState::Quarantined => true,
        MapState::Bound
        | MapState::Shared
        | MapState::NoNetwork
        | MapState::HostNetwork
        | MapState::NotProtectable => false,
    }
}

impl Group<'_> {
    /// The container; in parentheses the endpoint or interface of a binding whose container nobody knows.
    pub fn name(&self) -> String {
        let of = |row: &&MapRow| match (&row.container, &row.endpoint, &row.interface) {
            (Some(container), ..) => Some(container.clone()),
            (None, Some(endpoint), _) => Some(format!("({endpoint})")),
            (None, None, Some(interface)) => Some(format!("({})", interface.name)),
            (None, None, None) => row.workload.container.clone(),
        };
        self.rows.iter().find_map(of).unwrap_or_default()
    }

    /// Whether this is a container that is there, not a binding that is left of one or never had one.
    pub fn is_container(&self) -> bool {
        self.rows.iter().any(|row| identity(row).is_some() && row.state != MapState::Orphan)
    }

    /// The loudest of its states.
    pub fn worst(&self) -> MapState {
        let states = self.rows.iter().map(|row| row.state);
        states.max_by_key(|state| loudness(*state)).unwrap_or(MapState::Bound)
    }
}

/// The rows by container: loud ones first, then those that are not verified, then by name.
pub fn groups(rows: &[MapRow]) -> Vec<Group<'_>> {
    let mut known: BTreeMap<(&str, &str), Vec<&MapRow>> = BTreeMap::new();
    let mut groups = Vec::new();
    for row in rows {
        match identity(row) {
            Some(identity) => known.entry(identity).or_default().push(row),
            None => groups.push(Group { rows: vec![row] }),
        }
    }
    groups.extend(known.into_values().map(|rows| Group { rows }));
    for group in &mut groups {
        group.rows.sort_by(|a, b| (&a.inside, &a.network).cmp(&(&b.inside, &b.network)));
    }
    let quiet = loudness(MapState::NotProtectable);
    groups.sort_by_cached_key(|group| {
        let loud = loudness(group.worst());
        (std::cmp::Reverse(if loud < quiet { 0 } else { loud }), group.name())
    });
    groups
}

/// What the rows of one container have in common: its id, whichever source tells of it, or its name there.
fn identity(row: &MapRow) -> Option<(&str, &str)> {
    match (&row.workload.container, &row.container) {
        (Some(id), _) => Some(("", id)),
        (None, Some(name)) => Some((row.workload.runtime.as_deref().unwrap_or_default(), name)),
        (None, None) => None,
    }
}

fn loudness(state: MapState) -> usize {
    LOUDEST_LAST.iter().position(|other| *other == state).unwrap_or_default()
}
