use serde_json::json;

use super::*;

fn stored(name: &str, generation: i64, spec: serde_json::Value) -> Stored {
    serde_json::from_value(json!({"metadata": {"name": name, "generation": generation}, "spec": spec}))
        .unwrap()
}

fn namespace(name: &str, tier: &str) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"tier": tier}}})).unwrap()
}

fn names(set: &PolicySet) -> Vec<&str> {
    set.policies.iter().map(|policy| policy.name.as_str()).collect()
}

fn trouble(set: &PolicySet, name: &str) -> Option<String> {
    set.applied.iter().find(|applied| applied.name == name).unwrap().trouble.clone()
}

#[test]
fn one_that_cannot_hold_takes_no_other_along() {
    let mut book = Book::default();
    assert_eq!(book.set(), None, "nothing is known yet");
    book.all(vec![
        stored("good", 3, json!({"mode": "audit"})),
        stored("newer", 1, json!({"mode": "lenient"})),
        stored("odd", 1, json!([1, 2])),
        stored("bad", 2, json!({"addresses": ["10.0.0.300"]})),
        stored("empty", 1, json!({})),
    ]);
    let set = book.set().unwrap();
    assert_eq!(names(&set), ["gatepolicy/good"]);
    assert_eq!((trouble(&set, "good"), set.applied.len()), (None, 5));
    for (name, word) in [
        ("newer", "another release"),
        ("odd", "another release"),
        ("bad", "10.0.0.300"),
        ("empty", "no effect"),
    ] {
        let why = trouble(&set, name).unwrap();
        assert!(why.contains(word) && !why.contains('\n') && why.chars().count() <= 201, "{name}: {why}");
    }
    book.put(stored("bad", 3, json!({"addresses": ["10.0.0.3"]})));
    book.gone(&stored("good", 3, json!({})));
    let set = book.set().unwrap();
    assert_eq!(names(&set), ["gatepolicy/bad"]);
    assert_eq!(set.applied.iter().find(|applied| applied.name == "bad").unwrap().generation, 3);
}

#[test]
fn namespaces_are_needed_only_where_their_labels_are_asked_for() {
    let mut book = Book::default();
    book.all(vec![stored("plain", 1, json!({"mode": "audit", "namespaces": ["shop"]}))]);
    assert!(!book.needs_namespaces() && book.set().is_some());
    let selector = json!({"matchLabels": {"tier": "front"}});
    book.put(stored("labels", 1, json!({"mode": "enforce", "namespaceSelector": selector})));
    assert!(book.needs_namespaces());
    assert_eq!(book.set(), None, "not before they are known");
    assert!(book.give_up_on_namespaces() && !book.give_up_on_namespaces());
    let set = book.set().unwrap();
    assert_eq!(names(&set), ["gatepolicy/plain"], "that one does not wait");
    assert!(trouble(&set, "labels").unwrap().contains("cannot be read"));
    book.all_namespaces(vec![namespace("shop", "front"), namespace("db", "back")]);
    let held = |book: &Book| {
        let set = book.set().unwrap();
        let policy = set.policies.iter().find(|policy| policy.name == "gatepolicy/labels").cloned();
        policy.map(|policy| policy.selector.namespaces)
    };
    assert_eq!(held(&book).unwrap(), ["shop"]);
    book.put_namespace(namespace("db", "front"));
    assert_eq!(held(&book).unwrap(), ["db", "shop"]);
    book.namespace_gone(&namespace("shop", "front"));
    book.put_namespace(namespace("db", "back"));
    assert_eq!(held(&book), None);
    let set = book.set().unwrap();
    assert_eq!(trouble(&set, "labels"), None, "it concerns nothing, which is no trouble");
}

#[test]
fn too_many_are_said_to_be() {
    let mut book = Book::default();
    let all = (0..2000).map(|number| stored(&format!("p{number:04}"), 1, json!({"mode": "audit"}))).collect();
    book.all(all);
    let set = book.set().unwrap();
    let refused = set.applied.iter().filter(|applied| applied.trouble.is_some()).count();
    assert_eq!(set.policies.len() + refused, 2000);
    guard::Policies::new(set.policies).unwrap();
}

mod talking {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::script::script;

    fn object(name: &str, version: u64, spec: serde_json::Value) -> serde_json::Value {
        let metadata = json!({"name": name, "generation": 1, "resourceVersion": version.to_string()});
        json!({"metadata": metadata, "spec": spec})
    }

    #[tokio::test(start_paused = true)]
    async fn namespaces_are_watched_while_somebody_needs_them() {
        let (client, mut script) = script();
        let (sender, mut sets) = mpsc::unbounded_channel();
        let standing = Arc::new(Mutex::new(Vec::new()));
        let stands = Arc::clone(&standing);
        let task = tokio::spawn(run(
            client,
            move |set| sender.send(set).unwrap(),
            move |standing| stands.lock().unwrap().push(standing),
        ));
        script.next().await.text(hyper::StatusCode::NOT_FOUND, "404 page not found");
        let list = script.next().await;
        assert!(list.uri.starts_with("/apis/portcullis.dev/v1alpha1/gatepolicies?"), "{}", list.uri);
        let Some(Standing::Failing(why)) = standing.lock().unwrap().last().cloned() else { panic!() };
        assert!(why.contains("gatepolicies.portcullis.dev") && why.contains("404"), "{why}");
        list.list("10", &[object("plain", 3, json!({"mode": "audit"}))]);
        assert_eq!(names(&sets.recv().await.unwrap()), ["gatepolicy/plain"]);
        assert_eq!(standing.lock().unwrap().last(), Some(&Standing::Connected));
        let policies = script.next().await.stream();
        let selector = json!({"namespaceSelector": {"matchLabels": {"tier": "front"}}, "mode": "enforce"});
        policies.event("ADDED", &object("front", 11, selector));
        let list = script.next().await;
        assert!(
            list.uri.starts_with("/api/v1/namespaces?") && list.accept.contains("PartialObjectMetadataList")
        );
        list.list(
            "20",
            &[json!({"metadata": {"name": "shop", "labels": {"tier": "front"}, "resourceVersion": "5"}})],
        );
        assert_eq!(names(&sets.recv().await.unwrap()), ["gatepolicy/front", "gatepolicy/plain"]);
        let watch = script.next().await;
        assert!(watch.is_watch() && watch.accept.contains("as=PartialObjectMetadata;"));
        let namespaces = watch.stream();
        namespaces.event("MODIFIED", &json!({"metadata": {"name": "shop", "resourceVersion": "21"}}));
        assert_eq!(names(&sets.recv().await.unwrap()), ["gatepolicy/plain"]);
        // Changes at about the same time are told as one.
        policies.event("DELETED", &object("front", 12, json!({})));
        policies.event("MODIFIED", &object("plain", 13, json!({"mode": "off"})));
        let set = sets.recv().await.unwrap();
        assert_eq!((names(&set), set.applied.len()), (vec!["gatepolicy/plain"], 1));
        // Nobody needs the namespaces any more.
        assert!(script.quiet(Duration::from_secs(100)).await);
        policies.break_off();
        let watch = script.next().await;
        assert!(watch.uri.starts_with("/apis/portcullis.dev/"), "{}", watch.uri);
        task.abort();
    }
}
