use jiff::Timestamp;
use portcullis_kubernetes::crd::{AppliedPolicy, EndpointMapStatus, EndpointRow, GatePolicyStatus};

use super::assess::Said;
use super::conditions::{is_same, news, status};
use super::*;
use crate::map::NodeMap;
use crate::reaper::tests::rules;
use crate::rules::Rules;

fn node(name: &str, pods: &[(&str, &[&str])], applied: &[(&str, i64, Option<&str>)]) -> NodeMap {
    let row = |(pod, policies): &(&str, &[&str])| -> EndpointRow {
        serde_json::from_value(serde_json::json!({
            "name": format!("shop/{pod}"), "namespace": "shop", "pod": pod, "uid": format!("{name}-{pod}"),
            "state": "bound", "policies": policies,
        }))
        .unwrap()
    };
    let policy = |(name, generation, trouble): &(&str, i64, Option<&str>)| AppliedPolicy {
        name: (*name).to_owned(),
        generation: *generation,
        trouble: trouble.map(str::to_owned),
    };
    NodeMap::new(
        name,
        Some(EndpointMapStatus {
            endpoints: pods.iter().map(row).collect(),
            policies: applied.iter().map(policy).collect(),
            ..EndpointMapStatus::default()
        }),
    )
}

fn assessed(rules: &Rules, nodes: &[NodeMap], own: &[OwnPod], policy: &str) -> Assessment {
    assess(rules, &Picture::new(nodes.iter()), own).remove(policy).unwrap()
}

fn condition<'a>(assessment: &'a Assessment, kind: &str) -> &'a Said {
    assessment.conditions.iter().find(|said| said.kind == kind).unwrap()
}

fn short(assessment: &Assessment, kind: &str) -> (&'static str, &'static str) {
    let said = condition(assessment, kind);
    (said.status, said.reason)
}

#[test]
fn a_policy_that_holds_everywhere() {
    let rules = rules(&[("strict", "{mode: enforce, namespaces: [shop]}")]);
    let nodes = [
        node("n1", &[("web", &["strict"]), ("db", &["strict"])], &[("strict", 1, None)]),
        node("n2", &[("api", &["strict"]), ("other", &[])], &[("strict", 1, None)]),
    ];
    let assessment = assessed(&rules, &nodes, &[], "strict");
    assert_eq!((assessment.pods, assessment.nodes, assessment.generation), (3, 2, Some(1)));
    for (kind, wanted) in [
        ("Accepted", ("True", "Accepted")),
        ("Matching", ("True", "Matches")),
        ("Conflicting", ("False", "NoConflict")),
        ("Spared", ("False", "Nothing")),
        ("Applied", ("True", "AllNodes")),
    ] {
        assert_eq!(short(&assessment, kind), wanted, "{kind}");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    let rules = rules(&[
        ("bad", "{mode: enforce, addresses: [127.0.0.1]}"),
        ("nobody", "{mode: audit, podSelector: {matchLabels: {app: none}}}"),
        ("late", "{mode: audit}"),
    ]);
    let nodes = [
        node("n1", &[("web", &["late"])], &[("late", 1, None)]),
        node("n2", &[], &[("late", 0, None)]),
        node("n3", &[], &[("late", 1, Some("addresses: no room"))]),
        node("n4", &[], &[]),
        // Its agent has said nothing yet: it does not count.
        NodeMap::new("n5", None),
    ];
    let bad = assessed(&rules, &nodes, &[], "bad");
    assert_eq!(short(&bad, "Accepted"), ("False", "Refused"));
    assert!(condition(&bad, "Accepted").message.contains("loopback"));
    assert_eq!((short(&bad, "Applied").1, short(&bad, "Matching").1), ("Refused", "Refused"));
    let nobody = assessed(&rules, &nodes, &[], "nobody");
    assert_eq!(short(&nobody, "Matching"), ("False", "NothingMatches"));
    let late = assessed(&rules, &nodes, &[], "late");
    assert_eq!(short(&late, "Applied"), ("False", "Troubled"));
    assert_eq!(
        condition(&late, "Applied").message,
        "1 of 4 nodes apply generation 1; n3: addresses: no room"
    );
    assert_eq!(short(&assessed(&rules, &[], &[], "late"), "Applied"), ("Unknown", "NoNodes"));
}

#[test]
fn policies_that_contradict_each_other_name_each_other() {
    let rules = rules(&[
        ("a", "{mode: enforce, response: quarantine}"),
        ("b", "{mode: audit}"),
        ("c", "{priority: 5, mode: off}"),
        ("d", "{response: quarantine}"),
    ]);
    let conflicting = |nodes: &[NodeMap], policy: &str| {
        condition(&assessed(&rules, nodes, &[], policy), "Conflicting").clone()
    };
    let both = [node("n1", &[("web", &["a", "b", "d"])], &[])];
    let a = conflicting(&both, "a");
    assert_eq!(
        a.message,
        "mode: enforce here and audit in b, which has the same priority 0 and matches the same pods, such as shop/web; \
         a decides, since it is the first by name"
    );
    assert!(conflicting(&both, "b").message.starts_with("mode: audit here and enforce in a"));
    assert_eq!(conflicting(&both, "d").status, "False", "it says the same");
    // One of a higher priority decides: then there is no contradiction.
    assert_eq!(conflicting(&[node("n1", &[("web", &["c", "a", "b"])], &[])], "a").status, "False");
    // They are for different pods.
    assert_eq!(conflicting(&[node("n1", &[("x", &["a"]), ("y", &["b"])], &[])], "a").status, "False");
}

#[test]
fn a_policy_that_would_end_its_own_hub_is_told_that_it_does_not() {
    let hub = OwnPod {
        whose: "the hub's",
        namespace: "portcullis-system".into(),
        name: "portcullis-hub-1".into(),
        labels: [("app.kubernetes.io/component".to_owned(), "hub".to_owned())].into(),
    };
    let rules = rules(&[
        ("all", "{response: terminate}"),
        ("some", "{response: terminate, namespaces: [shop]}"),
        ("kube", "{response: terminate, namespaces: ['kube-*']}"),
        ("named", "{response: terminate, namespaces: [kube-system]}"),
        ("soft", "{response: quarantine}"),
        (
            "hub",
            "{response: terminate, namespaces: [portcullis-system], podSelector: {matchLabels: {app.kubernetes.io/component: hub}}}",
        ),
    ]);
    let spared = |policy: &str| short(&assessed(&rules, &[], std::slice::from_ref(&hub), policy), "Spared");
    assert_eq!(spared("all"), ("True", "SelectsPortcullis"));
    assert_eq!(spared("hub"), ("True", "SelectsPortcullis"));
    assert_eq!(spared("kube"), ("True", "SelectsVital"));
    for harmless in ["some", "named", "soft"] {
        assert_eq!(spared(harmless), ("False", "Nothing"), "{harmless}");
    }
    let assessment = assessed(&rules, &[], std::slice::from_ref(&hub), "hub");
    assert_eq!(
        condition(&assessment, "Spared").message,
        "it selects the hub's own pods (portcullis-system/portcullis-hub-1), which are never ended"
    );
}

#[test]
fn times_change_with_the_status_alone_and_nothing_is_written_twice() {
    let rules = rules(&[("strict", "{mode: enforce}")]);
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let before = status(&assessed(&rules, &[], &[], "strict"), None, 3, time("2026-11-21T10:00:00.5Z"));
    assert_eq!(before.terminated, 3);
    assert_eq!(before.conditions[0].last_transition_time.0, time("2026-11-21T10:00:00Z"));
    let again = status(&assessed(&rules, &[], &[], "strict"), Some(&before), 3, time("2026-11-21T11:00:00Z"));
    assert!(is_same(&before, &again));
    let mut shuffled: GatePolicyStatus = before.clone();
    shuffled.conditions.reverse();
    assert!(is_same(&before, &shuffled));
    let nodes = [node("n1", &[("web", &["strict"])], &[("strict", 1, None)])];
    let later =
        status(&assessed(&rules, &nodes, &[], "strict"), Some(&before), 3, time("2026-11-21T12:00:00Z"));
    assert!(!is_same(&before, &later));
    let changed: Vec<(&str, Timestamp)> =
        later.conditions.iter().map(|c| (c.type_.as_str(), c.last_transition_time.0)).collect();
    assert!(changed.contains(&("Matching", time("2026-11-21T12:00:00Z"))));
    assert!(changed.contains(&("Accepted", time("2026-11-21T10:00:00Z"))));
    let kinds = |before, now| news(before, now).map(|condition| condition.type_.clone()).collect::<Vec<_>>();
    assert_eq!(kinds(None, &before), ["Matching"]);
    assert!(kinds(Some(&before), &again).is_empty());
    assert!(kinds(Some(&before), &later).is_empty());
    assert_eq!(kinds(Some(&later), &before), ["Matching"]);
}
