//! Quarantines that hold for a workload: whoever restarts is not released by that.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portcullis_policy::model::{EndpointSpec, Workload};

use crate::store::{Sentence, Store, StoreError};

/// So long after its last sandbox went a pod may come back with its UID. (Containers say when they are removed
/// for good; sandboxes of one pod come and go.)
const POD_MEMORY: Duration = Duration::from_secs(3600);

/// All sentences, in memory and on disk.
#[derive(Debug, Default)]
pub struct Sentences {
    by_key: BTreeMap<String, Sentence>,
    /// Pods without a sandbox, and since when.
    gone: HashMap<String, Instant>,
}

impl Sentences {
    /// Those that the store kept.
    pub fn load(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { by_key: store.sentences()?, gone: HashMap::new() })
    }

    /// The sentence that holds for an endpoint.
    #[must_use]
    pub fn of(&self, spec: &EndpointSpec) -> Option<&Sentence> {
        self.by_key.get(&key(spec))
    }

    /// A workload came (back): its sentence is not forgotten.
    pub fn came(&mut self, workload: &Workload) {
        if !self.gone.is_empty() {
            self.gone.remove(&whose(workload));
        }
    }

    /// Puts an endpoint's workload under a sentence; the disk first.
    pub fn impose(
        &mut self,
        store: &Store,
        spec: &EndpointSpec,
        sentence: Sentence,
    ) -> Result<(), StoreError> {
        let key = key(spec);
        store.put_sentence(&key, &sentence)?;
        self.by_key.insert(key, sentence);
        Ok(())
    }

    /// Ends the sentence of an endpoint's workload; answers what it was.
    pub fn lift(&mut self, store: &Store, spec: &EndpointSpec) -> Result<Option<Sentence>, StoreError> {
        let key = key(spec);
        if self.by_key.contains_key(&key) {
            store.remove_sentences(&[&key])?;
        }
        Ok(self.by_key.remove(&key))
    }

    /// A container, or a pod's sandbox, was removed and does not come back under its id.
    pub fn removed(&mut self, store: &Store, workload: &Workload, now: Instant) -> Result<(), StoreError> {
        let whose = whose(workload);
        if workload.uid.is_some() {
            if self.of_whom(&whose).next().is_some() {
                self.gone.insert(whose, now);
            }
            return Ok(());
        }
        self.forget(store, &whose)
    }

    /// Keys of the sentences whose time has come. Which endpoints they are for, [`Self::key_of`] tells: names
    /// may have changed.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Vec<String> {
        let over = |sentence: &Sentence| sentence.until.is_some_and(|until| until <= now);
        self.by_key.iter().filter(|(_, sentence)| over(sentence)).map(|(key, _)| key.clone()).collect()
    }

    /// What the sentence of an endpoint is found by.
    #[must_use]
    pub fn key_of(spec: &EndpointSpec) -> String {
        key(spec)
    }

    /// A sentence is served.
    pub fn served(&mut self, store: &Store, key: &str) -> Result<(), StoreError> {
        if self.by_key.contains_key(key) {
            store.remove_sentences(&[key])?;
            self.by_key.remove(key);
        }
        Ok(())
    }

    /// Forgets pods that did not come back.
    pub fn forget_lost(&mut self, store: &Store, now: Instant) -> Result<(), StoreError> {
        let lost = |since: &Instant| now.saturating_duration_since(*since) >= POD_MEMORY;
        let lost: Vec<String> =
            self.gone.iter().filter(|(_, since)| lost(since)).map(|(pod, _)| pod.clone()).collect();
        for pod in lost {
            self.gone.remove(&pod);
            self.forget(store, &pod)?;
        }
        Ok(())
    }

    /// When the next sentence is over by itself.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.by_key.values().filter_map(|sentence| sentence.until).min()
    }

    fn of_whom<'a>(&'a self, whose: &'a str) -> impl Iterator<Item = &'a String> {
        // No id has a space, so that one workload's keys are no other's.
        self.by_key.keys().filter(move |key| key.split_once(' ').is_some_and(|(w, _)| w == whose))
    }

    fn forget(&mut self, store: &Store, whose: &str) -> Result<(), StoreError> {
        let keys: Vec<String> = self.of_whom(whose).cloned().collect();
        store.remove_sentences(&keys.iter().map(String::as_str).collect::<Vec<_>>())?;
        for key in keys {
            self.by_key.remove(&key);
        }
        Ok(())
    }
}

/// The workload, and which of its attachments: names may change, a container's networks stay its networks.
fn key(spec: &EndpointSpec) -> String {
    match whose(&spec.workload).as_str() {
        "" => format!("endpoint:{} ", spec.name),
        whose => format!("{whose} {}", spec.network.as_deref().unwrap_or_default()),
    }
}

/// What tells a workload from all others, also after it was started anew. Ids are random: the runtime need
/// not stand here, and what two sources tell of one container comes to the same.
fn whose(workload: &Workload) -> String {
    let plain = |text: &str| text.replace(' ', "_");
    match (&workload.uid, &workload.container) {
        (Some(uid), _) => format!("pod:{}", plain(uid)),
        (None, Some(id)) => format!("container:{}", plain(id)),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(workload: serde_json::Value, network: &str) -> EndpointSpec {
        let value = serde_json::json!({"name": "web", "interface": {"name": "v"}, "addresses": ["10.0.0.2"],
            "workload": workload, "network": network});
        serde_json::from_value(value).unwrap()
    }

    fn sentence(until: Option<&str>) -> Sentence {
        Sentence {
            endpoint: "web".into(),
            since: "2026-11-21T10:00:00Z".parse().unwrap(),
            until: until.map(|until| until.parse().unwrap()),
            policy: None,
            message: "m".into(),
        }
    }

    fn lab() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap().0;
        (dir, store)
    }

    #[test]
    fn a_sentence_outlives_the_agent_and_ends_with_its_container() {
        let (_dir, store) = lab();
        let web = spec(serde_json::json!({"container": "aa"}), "front");
        let longer = spec(serde_json::json!({"container": "aaa"}), "front");
        let mut sentences = Sentences::load(&store).unwrap();
        sentences.impose(&store, &web, sentence(None)).unwrap();
        sentences.impose(&store, &longer, sentence(None)).unwrap();
        let mut sentences = Sentences::load(&store).unwrap();
        assert!(sentences.of(&web).is_some());
        let mut renamed = web.clone();
        renamed.name = "other".into();
        renamed.interface.name = "veth9".into();
        assert!(sentences.of(&renamed).is_some(), "the workload counts");
        assert!(sentences.of(&spec(serde_json::json!({"container": "aa"}), "back")).is_none());
        sentences.removed(&store, &web.workload, Instant::now()).unwrap();
        assert!(sentences.of(&web).is_none() && sentences.of(&longer).is_some());
        assert_eq!(store.sentences().unwrap().len(), 1);
        assert!(sentences.lift(&store, &longer).unwrap().is_some());
        assert_eq!(sentences.lift(&store, &longer).unwrap(), None);
        assert!(store.sentences().unwrap().is_empty());
    }

    #[test]
    fn a_pod_may_come_back_with_another_sandbox() {
        let (_dir, store) = lab();
        let pod = |id: &str| spec(serde_json::json!({"container": id, "uid": "u-1", "pod": "web"}), "k8s");
        let mut sentences = Sentences::default();
        sentences.impose(&store, &pod("s1"), sentence(None)).unwrap();
        let start = Instant::now();
        sentences.removed(&store, &pod("s1").workload, start).unwrap();
        assert!(sentences.of(&pod("s2")).is_some());
        sentences.came(&pod("s2").workload);
        sentences.forget_lost(&store, start + POD_MEMORY).unwrap();
        assert!(sentences.of(&pod("s2")).is_some());
        sentences.removed(&store, &pod("s2").workload, start).unwrap();
        sentences.forget_lost(&store, start + POD_MEMORY).unwrap();
        assert!(sentences.of(&pod("s3")).is_none());
    }

    #[test]
    fn what_is_due_is_released_and_the_next_one_known() {
        let (_dir, store) = lab();
        let mut sentences = Sentences::default();
        for (id, until) in
            [("a", Some("2026-11-21T10:10:00Z")), ("b", Some("2026-11-21T10:20:00Z")), ("c", None)]
        {
            let spec = spec(serde_json::json!({ "container": id }), "n");
            sentences.impose(&store, &spec, Sentence { endpoint: id.into(), ..sentence(until) }).unwrap();
        }
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(sentences.next(), Some(at("2026-11-21T10:10:00Z")));
        assert_eq!(sentences.due(at("2026-11-21T10:09:59Z")), [""; 0]);
        assert_eq!(sentences.due(at("2026-11-21T10:10:00Z")), ["container:a n"]);
        let mut renamed = spec(serde_json::json!({"container": "a"}), "n");
        renamed.name = "other".into();
        assert_eq!(Sentences::key_of(&renamed), "container:a n", "whatever it is called by now");
        sentences.served(&store, "container:a n").unwrap();
        assert_eq!(sentences.next(), Some(at("2026-11-21T10:20:00Z")));
        assert_eq!(sentences.due(at("2027-11-21T10:10:00Z")), ["container:b n"]);
        sentences.served(&store, "container:b n").unwrap();
        assert_eq!((sentences.next(), store.sentences().unwrap().len()), (None, 1));
    }

    #[test]
    fn a_binding_by_hand_has_a_sentence_of_its_own() {
        let (_dir, store) = lab();
        let mut hand = spec(serde_json::json!({}), "n");
        let mut sentences = Sentences::default();
        sentences.impose(&store, &hand, sentence(None)).unwrap();
        assert!(sentences.of(&hand).is_some());
        hand.name = "db".into();
        assert!(sentences.of(&hand).is_none());
    }
}
