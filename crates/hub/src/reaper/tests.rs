use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use portcullis_kubernetes::crd::{GatePolicy, Offender, TerminationMethod};
use portcullis_kubernetes::translate::Cluster;
use proptest::prelude::*;

use super::work::Work;
use super::*;
use crate::clock::Moment;
use crate::rules::Rules;

fn seconds(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub fn rules(specs: &[(&str, &str)]) -> Rules {
    let object = |(name, spec): &(&str, &str)| {
        let mut policy = GatePolicy::new(name, serde_yaml_ng::from_str(spec).unwrap());
        policy.metadata.generation = Some(1);
        (policy.name_any(), Arc::new(policy))
    };
    Rules::new(&specs.iter().map(object).collect(), &Cluster::default())
}

fn offender(namespace: &str, pod: &str) -> Offender {
    Offender {
        namespace: namespace.into(),
        pod: pod.into(),
        uid: "uid-1".into(),
        endpoint: format!("{namespace}/{pod}"),
        attempts: 10,
        threshold: 10,
        window: "60s".into(),
        reasons: BTreeMap::from([("spoofed-ipv4".to_owned(), 12), ("spoofed-mac".to_owned(), 3)]),
        policy: "strict".into(),
        time: "2026-11-21T10:00:00Z".into(),
    }
}

fn facts() -> Facts {
    Facts {
        uid: "uid-1".into(),
        node: Some("n1".into()),
        labels: labels(&[("app", "web")]),
        controller: Some(Controller {
            kind: "ReplicaSet".into(),
            name: "web-5d7".into(),
            uid: "rs-1".into(),
        }),
        age: Some(Duration::from_secs(600)),
        ..Facts::default()
    }
}

struct World {
    node: &'static str,
    offender: Offender,
    pod: Option<Facts>,
    namespace: BTreeMap<String, String>,
    rules: Rules,
    own: Own,
    dry_run: bool,
    leads: bool,
}

fn world() -> World {
    World {
        node: "n1",
        offender: offender("shop", "web-1"),
        pod: Some(facts()),
        namespace: BTreeMap::new(),
        rules: rules(&[("strict", "{response: terminate}")]),
        own: Own { namespace: "portcullis-system".into(), pod: "hub-0".into() },
        dry_run: false,
        leads: true,
    }
}

impl World {
    fn decide(&self) -> Verdict {
        let case = Case {
            node: self.node,
            offender: &self.offender,
            pod: self.pod.as_ref(),
            namespace: &self.namespace,
            rules: &self.rules,
            own: &self.own,
            dry_run: self.dry_run,
            leads: self.leads,
        };
        decide(&case, |_| Ok(()))
    }
}

fn after(change: impl FnOnce(&mut World)) -> Verdict {
    let mut world = world();
    change(&mut world);
    world.decide()
}

fn pod(world: &mut World) -> &mut Facts {
    world.pod.as_mut().unwrap()
}

fn reason(verdict: &Verdict) -> Option<(Reason, &str)> {
    match verdict {
        Verdict::Withheld(order) => Some((order.reason, order.why.as_str())),
        _ => None,
    }
}

#[test]
fn a_pod_is_ended_as_the_policy_says() {
    let Verdict::End(end) = world().decide() else { panic!() };
    assert_eq!((end.method, end.grace, end.policy.as_str()), (TerminationMethod::Delete, None, "strict"));
    let spec = "{response: terminate, termination: {method: evict, gracePeriodSeconds: 5}}";
    let Verdict::End(end) = after(|world| world.rules = rules(&[("soft", spec)])) else { panic!() };
    assert_eq!((end.method, end.grace, end.policy.as_str()), (TerminationMethod::Evict, Some(5), "soft"));
    assert_eq!(
        sentence::ended(&offender("shop", "web-1"), &end),
        "evicted after 10 hostile attempts within 60s (spoofed-ipv4 12, spoofed-mac 3), as GatePolicy soft says; \
         ReplicaSet web-5d7 makes a new one"
    );
}

#[test]
fn what_is_gone_or_going_is_left_alone() {
    for change in [
        (|world: &mut World| world.pod = None) as fn(&mut World),
        |world| pod(world).uid = "uid-2".into(),
        |world| pod(world).ending = true,
        |world| pod(world).over = true,
        // Not even the reason is looked at.
        |world| {
            pod(world).uid = "uid-2".into();
            world.leads = false;
        },
    ] {
        assert!(matches!(after(change), Verdict::Settled(_)));
    }
}

#[test]
fn what_must_not_be_ended_is_not_and_it_is_said_why() {
    let exempt = || labels(&[(facts::EXEMPT, "true")]);
    type Change = fn(&mut World);
    let cases: [(Change, Reason, &str); 15] = [
        (|world| world.leads = false, Reason::NotLeading, "does not lead"),
        (|world| pod(world).node = Some("n2".into()), Reason::Foreign, "it runs on n2"),
        (|world| pod(world).node = None, Reason::Foreign, "no node"),
        (
            |world| {
                world.offender.namespace = "portcullis-system".into();
                pod(world).labels = labels(&[("app.kubernetes.io/name", "portcullis")]);
            },
            Reason::Own,
            "never ended",
        ),
        (|world| world.offender = offender("portcullis-system", "hub-0"), Reason::Own, "never ended"),
        (|world| pod(world).mirror = true, Reason::Static, "static pod"),
        (|world| pod(world).labels = labels(&[(facts::EXEMPT, "true")]), Reason::Exempt, "has the label"),
        (|world| world.namespace = labels(&[(facts::EXEMPT, "true")]), Reason::Exempt, "namespace shop has"),
        (|world| world.offender.namespace = "kube-system".into(), Reason::Vital, "kube-system"),
        (|world| world.rules = rules(&[]), Reason::NoPolicy, "no GatePolicy says"),
        (
            |world| world.rules = rules(&[("strict", "{response: quarantine}")]),
            Reason::NoPolicy,
            "GatePolicy strict says quarantine for it now",
        ),
        (
            |world| {
                world.rules =
                    rules(&[("strict", "{response: terminate, podSelector: {matchLabels: {app: db}}}")])
            },
            Reason::NoPolicy,
            "no GatePolicy says",
        ),
        (
            |world| world.rules = rules(&[("strict", "{response: terminate, mode: audit}")]),
            Reason::NoPolicy,
            "mode audit",
        ),
        (|world| world.dry_run = true, Reason::DryRun, "--dry-run"),
        (
            |world| world.rules = rules(&[("strict", "{response: terminate, dryRun: true}")]),
            Reason::DryRun,
            "GatePolicy strict says dryRun",
        ),
    ];
    for (change, wanted, words) in cases {
        let verdict = after(change);
        let (reason, why) = reason(&verdict).unwrap_or_else(|| panic!("{words}: {verdict:?}"));
        assert_eq!(reason, wanted, "{why}");
        assert!(why.contains(words), "{why}");
        assert!(!why.contains("gatepolicy/"), "{why}");
    }
    // Another's pod with our label is not ours; another value of the label is none.
    assert!(matches!(
        after(|world| pod(world).labels = labels(&[("app.kubernetes.io/name", "portcullis")])),
        Verdict::End(_)
    ));
    assert!(matches!(after(|world| pod(world).labels = labels(&[(facts::EXEMPT, "yes")])), Verdict::End(_)));
    assert!(matches!(
        after(|world| {
            world.offender.namespace = "kube-system".into();
            world.rules = rules(&[("dns", "{response: terminate, namespaces: [kube-system]}")]);
        }),
        Verdict::End(_)
    ));
    assert!(Facts::is_exempt(&exempt()));
}

#[test]
fn whether_it_may_be_ended_is_asked_last_and_once() {
    let world = world();
    let case = |dry_run| Case {
        node: "n1",
        offender: &world.offender,
        pod: world.pod.as_ref(),
        namespace: &world.namespace,
        rules: &world.rules,
        own: &world.own,
        dry_run,
        leads: true,
    };
    decide(&case(true), |_| panic!("nothing is about to be ended"));
    let verdict = decide(&case(false), |_| Err((Reason::Limit, "enough".into(), seconds(7))));
    let Verdict::Withheld(order) = verdict else { panic!() };
    assert_eq!(
        (order.reason, order.again, order.policy.as_deref()),
        (Reason::Limit, seconds(7), Some("strict"))
    );
}

#[test]
fn facts_are_read_from_the_pod() {
    let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "web-1", "uid": "u", "labels": {"a": "b"}, "creationTimestamp": "2026-11-21T10:00:00Z",
            "annotations": {"kubernetes.io/config.mirror": "x"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "1"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "2", "controller": true}]},
        "spec": {"nodeName": "n1", "containers": []}, "status": {"phase": "Succeeded"}
    }))
    .unwrap();
    let facts = Facts::new(&pod, "2026-11-21T10:01:00Z".parse().ok());
    assert_eq!((facts.age, facts.node.as_deref()), (Some(seconds(60)), Some("n1")));
    assert!(facts.mirror && facts.over && !facts.ending);
    assert_eq!(facts.controller.unwrap().name, "rs");
}

#[test]
fn a_controller_whose_pods_all_forge_is_waited_for_longer_and_longer() {
    let mut owners = Owners::default();
    let old = Some(seconds(3000));
    let mut now = seconds(10_000);
    owners.ended("rs", old, now);
    // The other replicas were there before: they are ended at once.
    assert_eq!(owners.permit("rs", old, now), Ok(()));
    owners.ended("rs", old, now);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let ended = now;
        // A new one, a second later; it forges three seconds after that.
        now += seconds(4);
        while owners.permit("rs", Some(now - ended - seconds(1)), now).is_err() {
            now += seconds(1);
        }
        owners.ended("rs", Some(now - ended - seconds(1)), now);
        pauses.push((now - ended).as_secs());
    }
    assert_eq!(pauses[..6], [10, 20, 40, 80, 160, 320]);
    assert_eq!(pauses[11], 3600);
    assert_eq!(owners.permit("other", Some(seconds(1)), now), Ok(()));
    assert!(
        owners.permit("rs", None, now).is_err(),
        "of one whose age nobody told it is taken that it is new"
    );
    now += seconds(3 * 3600);
    assert_eq!(owners.permit("rs", Some(seconds(1)), now), Ok(()), "forgotten");
}

#[test]
fn the_limit_is_a_sliding_window_and_what_came_to_nothing_does_not_count() {
    let mut limiter = Limiter::per_minute(2);
    assert_eq!(limiter.permit(seconds(0)), Ok(()));
    assert_eq!(limiter.permit(seconds(30)), Ok(()));
    assert_eq!(limiter.permit(seconds(40)), Err(seconds(20)));
    limiter.give_back();
    assert_eq!(limiter.permit(seconds(41)), Ok(()));
    assert_eq!(limiter.permit(seconds(60)), Ok(()));
    assert!(Limiter::per_minute(0).permit(seconds(0)).is_err());
}

#[test]
fn offenders_are_examined_at_once_when_new_and_never_twice_at_a_time() {
    let node: Arc<str> = "n1".into();
    let (a, mut b) = (offender("shop", "a"), Offender { uid: "uid-b".into(), ..offender("shop", "b") });
    let mut work = Work::default();
    work.set(seconds(0), [(&node, &a), (&node, &b)].into_iter());
    let taken = work.take(seconds(0), 1);
    assert_eq!(taken.len(), 1);
    assert_eq!(work.take(seconds(0), 9).len(), 1);
    assert!(work.take(seconds(9), 9).is_empty(), "both are being examined");
    // One changes meanwhile: it is examined again as soon as that is done.
    b.attempts = 11;
    work.set(seconds(1), [(&node, &a), (&node, &b)].into_iter());
    let (key_a, key_b) = ((Arc::clone(&node), "uid-1".to_owned()), (Arc::clone(&node), "uid-b".to_owned()));
    work.done(&key_a, seconds(1), seconds(10));
    work.done(&key_b, seconds(1), seconds(10));
    let taken: Vec<_> = work.take(seconds(1), 9).into_iter().map(|(key, _)| key).collect();
    assert_eq!(taken, std::slice::from_ref(&key_b));
    work.failed(&key_b, seconds(1), seconds(0));
    assert_eq!(work.next(), Some(seconds(2)));
    work.take(seconds(2), 9);
    work.failed(&key_b, seconds(2), seconds(0));
    assert_eq!(work.next(), Some(seconds(4)), "the pause grows");
    work.touch(seconds(3));
    assert_eq!(work.take(seconds(3), 9).len(), 2);
    work.set(seconds(4), std::iter::empty());
    assert_eq!((work.len(), work.next()), (0, None));
    work.done(&key_a, seconds(5), seconds(10));
    assert_eq!(work.next(), None, "it is gone");
}

#[test]
fn the_same_is_said_every_five_minutes_and_something_else_at_once() {
    let node: Arc<str> = "n1".into();
    let a = offender("shop", "a");
    let mut work = Work::default();
    work.set(seconds(0), [(&node, &a)].into_iter());
    let key = (node, "uid-1".to_owned());
    assert!(work.tell(&key, seconds(0), Reason::Limit, "ended in 20 s"));
    assert!(!work.tell(&key, seconds(299), Reason::Limit, "ended in 19 s"));
    assert!(work.tell(&key, seconds(299), Reason::Exempt, "label"));
    assert!(!work.tell(&key, seconds(598), Reason::Exempt, "label"));
    assert!(work.tell(&key, seconds(599), Reason::Exempt, "label"));
}

proptest! {
    /// Whatever comes and goes: nothing is lost, nothing is handed out twice, and everything is examined in the end.
    #[test]
    fn work_is_never_lost(steps in prop::collection::vec((0..6_u8, 0..4_u8, 0..20_u64), 0..120)) {
        let node: Arc<str> = "n1".into();
        let make = |n: u8| Offender { uid: n.to_string(), ..offender("shop", "a") };
        let (mut present, mut out) = (std::collections::BTreeSet::new(), Vec::new());
        let (mut work, mut now) = (Work::default(), Duration::ZERO);
        for (step, n, pause) in steps {
            now += Duration::from_secs(pause);
            match step {
                0 | 1 => {
                    if step == 0 { present.insert(n); } else { present.remove(&n); }
                    let all: Vec<Offender> = present.iter().map(|n| make(*n)).collect();
                    out.retain(|(key, _): &(super::work::Key, _)| all.iter().any(|offender| offender.uid == key.1));
                    work.set(now, all.iter().map(|offender| (&node, offender)));
                }
                2 => work.touch(now),
                3 => {
                    for (key, offender) in work.take(now, 2) {
                        prop_assert!(out.iter().all(|(other, _)| *other != key));
                        out.push((key, offender));
                    }
                }
                _ => if let Some((key, _)) = out.pop() {
                    if step == 4 { work.done(&key, now, seconds(10)) } else { work.failed(&key, now, seconds(0)) }
                }
            }
            prop_assert_eq!(work.len(), present.len());
        }
        for (key, _) in out.drain(..) { work.done(&key, now, seconds(10)); }
        let due = work.take(now + seconds(60), 100);
        prop_assert_eq!(due.len(), present.len());
    }
}
