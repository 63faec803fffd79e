//! Who may do what: roles and bindings, walked.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::object::Object;

/// One thing that somebody may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Everywhere, or in our namespace only.
    pub everywhere: bool,
    /// `group/resource` (the core group has no name), or a path of the API.
    pub what: String,
    /// Names that it is limited to; none: all.
    pub names: Vec<String>,
    /// What may be done.
    pub verb: String,
}

/// Everything that a ServiceAccount may do by the roles that are bound to it.
pub fn of_account(objects: &[Object], account: &str) -> Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    for binding in objects.iter().filter(|object| object.kind().ends_with("RoleBinding")) {
        if !list(binding.at("/subjects")).any(|subject| subject["name"] == account) {
            continue;
        }
        let everywhere = binding.kind() == "ClusterRoleBinding";
        let role = format!("{}/{}", binding.text("/roleRef/kind"), binding.text("/roleRef/name"));
        let role = objects.iter().find(|object| object.id() == role);
        rights.extend(of_role(role.with_context(|| format!("{} binds nothing", binding.id()))?, everywhere)?);
    }
    Ok(rights)
}

/// Everything that a role gives.
pub fn of_role(role: &Object, everywhere: bool) -> Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    for rule in list(role.at("/rules")) {
        let texts = |key: &str| -> Vec<String> {
            list(&rule[key]).filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let names = texts("resourceNames");
        let resources = texts("apiGroups").into_iter().flat_map(|group| {
            let slash = if group.is_empty() { "" } else { "/" };
            texts("resources").into_iter().map(move |resource| format!("{group}{slash}{resource}"))
        });
        let what: Vec<String> = resources.chain(texts("nonResourceURLs")).collect();
        let verbs = texts("verbs");
        if what.is_empty() || verbs.is_empty() {
            bail!("{} has a rule that says nothing: {rule}", role.id());
        }
        for (what, verb) in what.iter().flat_map(|what| verbs.iter().map(move |verb| (what, verb))) {
            rights.insert(Right { everywhere, what: what.clone(), names: names.clone(), verb: verb.clone() });
        }
    }
    Ok(rights)
}

/// Rights as lines of a table, one for each thing: `WHERE | WHAT | VERBS`.
#[must_use]
pub fn table(rights: &BTreeSet<Right>) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for right in rights {
        let place = if right.everywhere { "cluster" } else { "own namespace" };
        let names =
            if right.names.is_empty() { String::new() } else { format!(" `{}`", right.names.join("` `")) };
        let line = format!("{place} | {}{names}", right.what);
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, verbs)) => verbs.push(&right.verb),
            None => lines.push((line, vec![&right.verb])),
        }
    }
    lines.into_iter().map(|(line, verbs)| format!("{line} | {}", verbs.join(" "))).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
