//! What concerns all rows of a node, so that nobody has to look at half a million rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use portcullis_policy::api::MapState;
use portcullis_policy::model::Mode;

use super::pool::Pool;
use super::row::Row;

/// How a row stands.
pub type Standing = (Option<Mode>, MapState);

/// Rows in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Pods by the policies that match them.
    pub matched: Vec<Matched>,
    /// Rows by mode and state.
    pub standing: Vec<(Standing, u32)>,
}

/// Pods that the same policies match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The policies, the first to be asked first.
    pub policies: Arc<[Arc<str>]>,
    /// How many pods.
    pub pods: u32,
    /// One of them.
    pub example: Box<str>,
}

impl Digest {
    pub(super) fn new(rows: &[Row]) -> Self {
        let mut standing: Vec<(Standing, u32)> = Vec::new();
        let mut matched: Vec<Matched> = Vec::new();
        let mut seen = BTreeSet::new();
        for row in rows {
            let stands = (row.mode, row.state);
            match standing.iter_mut().find(|(known, _)| *known == stands) {
                Some((_, count)) => *count += 1,
                None => standing.push((stands, 1)),
            }
            // A pod may have several attachments, and is one pod.
            if row.policies.is_empty() || !seen.insert(row.title()) {
                continue;
            }
            match matched.iter_mut().find(|known| known.policies == row.policies) {
                Some(known) => known.pods += 1,
                None => matched.push(Matched {
                    policies: Arc::clone(&row.policies),
                    pods: 1,
                    example: row.title().into(),
                }),
            }
        }
        Self { matched, standing }
    }

    pub(super) fn adopt(&mut self, pool: &mut Pool) {
        for matched in &mut self.matched {
            matched.policies = pool.set(&matched.policies);
        }
    }

    /// Adds up digests of nodes.
    pub fn sum<'a>(
        digests: impl Iterator<Item = &'a Self>,
    ) -> (Vec<Matched>, BTreeMap<(&'static str, &'static str), u64>) {
        let mut sets: HashMap<&Arc<[Arc<str>]>, Matched> = HashMap::new();
        let mut standing = BTreeMap::new();
        for digest in digests {
            for matched in &digest.matched {
                let sum = sets.entry(&matched.policies);
                sum.and_modify(|sum| sum.pods += matched.pods).or_insert_with(|| matched.clone());
            }
            for ((mode, state), count) in &digest.standing {
                let mode = mode.map_or("", Mode::name);
                *standing.entry((mode, state.name())).or_insert(0) += u64::from(*count);
            }
        }
        let mut matched: Vec<Matched> = sets.into_values().collect();
        matched.sort_by(|a, b| a.policies.cmp(&b.policies));
        (matched, standing)
    }
}
