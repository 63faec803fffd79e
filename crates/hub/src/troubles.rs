//! What is wrong just now, one sentence each; shown in the status, in `/readyz` where it is vital, in metrics, and as
//! Events on this hub's pod.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// What the API server says of an error is shown up to here.
const MOST_SHOWN: usize = 240;
/// More are never kept: some are named by what others choose.
const MOST: usize = 64;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One sentence.
    pub why: String,
    /// Without it a hub is of no use.
    pub vital: bool,
}

/// All that is wrong; shared.
#[derive(Clone, Debug)]
pub struct Troubles(Arc<watch::Sender<BTreeMap<String, Trouble>>>);

impl Default for Troubles {
    fn default() -> Self {
        Self(Arc::new(watch::channel(BTreeMap::new()).0))
    }
}

impl Troubles {
    /// This is wrong, under a name of its own.
    pub fn set(&self, name: &str, why: String, vital: bool) {
        self.0.send_if_modified(|all| {
            if all.get(name).is_some_and(|known| known.why == why) || all.len() >= MOST {
                return false;
            }
            tracing::warn!("{why}");
            all.insert(name.to_owned(), Trouble { why, vital });
            true
        });
    }

    /// That is not wrong any more.
    pub fn clear(&self, name: &str) {
        self.0.send_if_modified(|all| all.remove(name).is_some());
    }

    /// Sets or clears.
    pub fn say(&self, name: &str, why: Option<String>, vital: bool) {
        match why {
            Some(why) => self.set(name, why, vital),
            None => self.clear(name),
        }
    }

    /// All that is wrong.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Trouble> {
        self.0.borrow().clone()
    }

    /// Follows what is wrong.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<BTreeMap<String, Trouble>> {
        self.0.subscribe()
    }
}

/// What was asked of the API server, for people.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// `get`, `delete`, ….
    pub verb: &'static str,
    /// `pods`, ….
    pub resource: &'static str,
    /// Which of the chart's roles gives that.
    pub role: &'static str,
}

impl Asking {
    /// Why it failed: one sentence.
    #[must_use]
    pub fn failed(self, error: &kube::Error) -> String {
        let Self { verb, resource, role } = self;
        let kube::Error::Api(status) = error else {
            return format!("the API server cannot be asked to {verb} {resource}: {}", cut(&in_words(error)));
        };
        let said = cut(&status.message);
        match status.code {
            401 => format!("the API server does not accept the hub's credentials to {verb} {resource} (401)"),
            403 => {
                format!("RBAC gives the hub no right to {verb} {resource} (403): apply the chart's {role}")
            }
            404 => format!("the API server has nothing to {verb} at {resource} (404): {said}"),
            429 => format!("the API server is too busy to {verb} {resource} (429)"),
            code => format!("the API server refused to {verb} {resource} ({code}): {said}"),
        }
    }

    /// It did not answer.
    #[must_use]
    pub fn silent(self, patience: Duration) -> String {
        let Self { verb, resource, .. } = self;
        format!("the API server did not {verb} {resource} within {} s", patience.as_secs_f32())
    }
}

fn in_words(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let more = deeper.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = deeper.source();
    }
    text
}

/// The beginning of a text, on one line.
#[must_use]
pub fn cut(text: &str) -> String {
    let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut short: String = clean.take(MOST_SHOWN).collect();
    if text.chars().nth(MOST_SHOWN).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_missing_right_names_verb_resource_and_role() {
        let asking = Asking { verb: "delete", resource: "pods", role: "ClusterRole portcullis-hub" };
        let error = kube::Error::Api(
            Status::failure("pods \"web\" is forbidden", "Forbidden").with_code(403).boxed(),
        );
        assert_eq!(
            asking.failed(&error),
            "RBAC gives the hub no right to delete pods (403): apply the chart's ClusterRole portcullis-hub"
        );
        assert_eq!(cut(&"x\n".repeat(300)).chars().count(), MOST_SHOWN + 1);
    }

    #[test]
    fn troubles_come_and_go() {
        let troubles = Troubles::default();
        let mut follower = troubles.follow();
        troubles.set("a", "a is wrong".into(), true);
        assert!(follower.has_changed().unwrap());
        follower.mark_unchanged();
        troubles.set("a", "a is wrong".into(), true);
        assert!(!follower.has_changed().unwrap(), "the same again is no change");
        troubles.clear("a");
        assert!(troubles.all().is_empty());
        (0..200).for_each(|n| troubles.set(&n.to_string(), "x".into(), false));
        assert_eq!(troubles.all().len(), MOST);
    }
}
