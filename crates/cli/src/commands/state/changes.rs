//! What `apply` would change.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use portcullis_policy::api::{
    BlocklistEntry, Endpoint, PlaceSpec, PolicyView, RuleSpec, ShieldSection, State,
};
use portcullis_policy::guard::Policies;
use portcullis_policy::model::Owner;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::clean;

/// Names by what would become of them.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    endpoints: Kind,
    policies: Kind,
    places: Kind,
    rules: Kind,
    entries: Kind,
    guard: Kind,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Kind {
    created: Vec<String>,
    updated: Vec<String>,
    removed: Vec<String>,
}

impl Changes {
    /// Compares what is wanted with what is there, as far as it is the API's.
    pub fn between(
        wanted: &State,
        there: &State,
        endpoints: &[Endpoint],
        policies: &[PolicyView],
    ) -> Result<Self> {
        let invalid = |errors: String| Failure::usage(errors);
        let joined = |errors: Vec<_>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let specs = wanted.clone().validate().map_err(|errors| invalid(joined(errors)))?;
        Policies::new(wanted.policies.clone()).map_err(|errors| invalid(errors.to_string()))?;
        let owners = endpoints.iter().map(|endpoint| (endpoint.name.as_str(), endpoint.owner)).collect();
        let before = there.endpoints.iter().map(|spec| (spec.name.as_str(), spec)).collect();
        let specs = specs.iter().map(|spec| (spec.name.as_str(), &**spec));
        let endpoints = kind("endpoint", specs, &before, &owners)?;
        let owners = policies.iter().map(|view| (view.policy.name.as_str(), view.owner)).collect();
        let before = policies.iter().map(|view| (view.policy.name.as_str(), &view.policy)).collect();
        let named = wanted.policies.iter().map(|policy| (policy.name.as_str(), policy));
        let policies = kind("policy", named, &before, &owners)?;
        let (wanted, there) = (&wanted.shield, &there.shield);
        wanted
            .rules
            .iter()
            .try_for_each(|rule| rule.rule().map(drop))
            .map_err(|error| invalid(error.to_string()))?;
        let guard =
            |section: &ShieldSection| section.guard.clone().map(|guard| ("flood guard".to_owned(), guard));
        Ok(Self {
            endpoints,
            policies,
            places: ours(wanted.places.iter().map(by_place), there.places.iter().map(by_place)),
            rules: ours(wanted.rules.iter().map(by_name), there.rules.iter().map(by_name)),
            entries: ours(wanted.entries.iter().map(by_prefix), there.entries.iter().map(by_prefix)),
            guard: ours(guard(wanted).into_iter(), guard(there).into_iter()),
        })
    }
}

fn by_place(place: &PlaceSpec) -> (String, PlaceSpec) {
    let texts = [&place.container, &place.netns, &place.interface].into_iter().flatten().cloned();
    let hook = place.hook.map(|hook| hook.to_string());
    (texts.chain(hook).collect::<Vec<_>>().join(":"), place.clone())
}

fn by_name(rule: &RuleSpec) -> (String, RuleSpec) {
    (rule.name.clone(), rule.clone())
}

fn by_prefix(entry: &BlocklistEntry) -> (String, BlocklistEntry) {
    (format!("{} {}", entry.action, entry.prefix), entry.clone())
}

/// The same of what has no other owner.
fn ours<T: PartialEq>(
    wanted: impl Iterator<Item = (String, T)>,
    there: impl Iterator<Item = (String, T)>,
) -> Kind {
    let mut left: BTreeMap<String, T> = there.collect();
    let mut kind = Kind::default();
    for (name, wanted) in wanted {
        match left.remove(&name) {
            None => kind.created.push(name),
            Some(before) if before != wanted => kind.updated.push(name),
            Some(_) => {}
        }
    }
    kind.removed = left.into_keys().collect();
    kind
}

fn kind<'a, T: PartialEq>(
    what: &str,
    wanted: impl Iterator<Item = (&'a str, &'a T)>,
    before: &BTreeMap<&'a str, &'a T>,
    owners: &BTreeMap<&'a str, Owner>,
) -> Result<Kind> {
    let mut kind = Kind::default();
    let mut left: Vec<&str> =
        owners.iter().filter(|(_, owner)| **owner == Owner::Api).map(|(name, _)| *name).collect();
    for (name, wanted) in wanted {
        left.retain(|other| *other != name);
        match owners.get(name) {
            None => kind.created.push(name.to_owned()),
            Some(Owner::Api) if before.get(name).is_some_and(|before| *before == wanted) => {}
            Some(Owner::Api) => kind.updated.push(name.to_owned()),
            Some(owner) => {
                return Err(Failure::conflict(format!(
                    "{what} \"{name}\" belongs to another owner ({owner}): take it out of the file"
                )));
            }
        }
    }
    kind.removed = left.into_iter().map(str::to_owned).collect();
    Ok(kind)
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = [0; 3];
        let kinds = [
            ("endpoint", &self.endpoints),
            ("policy", &self.policies),
            ("place", &self.places),
            ("rule", &self.rules),
            ("entry", &self.entries),
            ("guard", &self.guard),
        ];
        for (what, kind) in kinds {
            let lists = [("create", &kind.created), ("update", &kind.updated), ("remove", &kind.removed)];
            for ((verb, names), count) in lists.into_iter().zip(&mut counts) {
                *count += names.len();
                for name in names {
                    writeln!(f, "{verb} {what} \"{}\"", clean(name))?;
                }
            }
        }
        let [created, updated, removed] = counts;
        writeln!(
            f,
            "would apply: {created} created, {updated} updated, {removed} removed; nothing was changed"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::output::fixture;
    use super::*;

    fn policy(name: &str, owner: Owner, attempts: u16) -> PolicyView {
        let value = serde_json::json!({"name": name, "match": {"name": "*"}, "attempts": attempts, "owner": owner,
            "endpoints": []});
        serde_json::from_value(value).unwrap()
    }

    fn endpoint(name: &str) -> portcullis_policy::model::EndpointSpec {
        let value =
            serde_json::json!({"name": name, "interface": {"name": "veth1"}, "addresses": ["10.0.0.2"]});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_would_change_is_named() {
        let there = State { endpoints: vec![endpoint("web-1"), endpoint("db")], ..State::default() };
        let policies =
            [policy("same", Owner::Api, 3), policy("other", Owner::Api, 3), policy("f", Owner::File, 3)];
        let wanted = State {
            endpoints: vec![endpoint("web-1"), endpoint("new")],
            policies: vec![policies[0].policy.clone(), policy("other", Owner::Api, 4).policy],
            ..State::default()
        };
        let changes = Changes::between(&wanted, &there, &fixture::endpoints(), &policies).unwrap();
        assert_eq!(
            changes.to_string(),
            "create endpoint \"new\"\nremove endpoint \"db\"\nupdate policy \"other\"\n\
             would apply: 1 created, 1 updated, 1 removed; nothing was changed\n"
        );
        let of_file = State { policies: vec![policies[2].policy.clone()], ..State::default() };
        let error = Changes::between(&of_file, &there, &[], &policies).unwrap_err();
        assert_eq!(crate::failure::exit_of(&error), crate::failure::Exit::Conflict);
        let bad = State { policies: vec![policy("a b", Owner::Api, 3).policy], ..State::default() };
        let error = Changes::between(&bad, &there, &[], &policies).unwrap_err();
        assert_eq!(crate::failure::exit_of(&error), crate::failure::Exit::Usage);
    }
}
