//! The CRI source against a runtime that misbehaves as a test wants it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod fake;
mod source;

use std::time::Duration;

use fake::{Fake, FakePod, Served};
use portcullis_policy::container::Networking;
use portcullis_policy::guard::Termination;
use portcullis_runtimes::source::{Report, Request};
use source::{PATIENCE, Source, names};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::Code;

#[tokio::test]
async fn pods_are_followed_by_containerds_events() {
    let mut fake = Fake::new(Served::Containerd);
    fake.script().pods.insert("a1".into(), FakePod::host("a1", "web"));
    fake.up();
    let mut source = Source::follow(&fake);
    let containers = source.snapshot().await;
    assert_eq!(names(&containers), ["default/web"]);
    let web = &containers[0];
    assert_eq!(web.networking, Networking::Host);
    assert_eq!((web.trouble.as_deref(), web.attachments.len()), (None, 0));
    assert_eq!(web.since.as_deref(), Some("2023-11-14T22:13:20Z"));
    let workload = &web.workload;
    assert_eq!(
        (workload.runtime.as_deref(), workload.container.as_deref(), workload.pod.as_deref()),
        (Some("fake"), Some("a1"), Some("web"))
    );
    assert_eq!(workload.labels.get("app").map(String::as_str), Some("web"));

    // It began, says the event, and the runtime does not know of it yet.
    fake.emit("b2", true);
    while fake.calls("PodSandboxStatus") < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fake.script().pods.insert("b2".into(), FakePod::host("b2", "db"));
    assert_eq!(source.changed().await.name, "default/db");

    // It ended, says the event, and the runtime shows it running for a little longer.
    fake.emit("b2", false);
    tokio::time::sleep(Duration::from_millis(8)).await;
    if let Some(status) = &mut fake.script().pods.get_mut("b2").expect("there").answer.status {
        status.state = 1;
    }
    assert_eq!(source.gone().await, "b2");
    // In its place comes another of the same pod.
    fake.script().pods.insert("b3".into(), FakePod::host("b3", "db"));
    fake.emit("b3", true);
    assert_eq!(source.changed().await.id, "b3");
}

#[tokio::test]
async fn pods_are_followed_by_the_interfaces_events() {
    let mut fake = Fake::new(Served::Interface);
    fake.up();
    let mut source = Source::follow(&fake);
    assert!(source.snapshot().await.is_empty());
    fake.script().pods.insert("a1".into(), FakePod { unlisted: true, ..FakePod::host("a1", "web") });
    fake.emit("a1", true);
    assert_eq!(source.changed().await.name, "default/web");
    fake.script().pods.clear();
    fake.emit("a1", false);
    assert_eq!(source.gone().await, "a1");
}

#[tokio::test]
async fn without_events_it_asks() {
    for served in [Served::Unimplemented, Served::Off] {
        let mut fake = Fake::new(served);
        fake.up();
        let mut source = Source::follow(&fake);
        assert!(source.snapshot().await.is_empty());
        fake.script().pods.insert("a1".into(), FakePod::host("a1", "web"));
        assert_eq!(source.changed().await.name, "default/web");
        fake.script().pods.clear();
        assert_eq!(source.gone().await, "a1");
    }
}

#[tokio::test]
async fn events_that_never_come_are_made_up_for() {
    let mut fake = Fake::new(Served::Containerd);
    fake.up();
    let mut source = Source::follow(&fake);
    assert!(source.snapshot().await.is_empty());
    fake.script().pods.insert("a1".into(), FakePod::host("a1", "web"));
    assert_eq!(source.changed().await.name, "default/web");
}

#[tokio::test]
async fn an_old_runtime_speaks_v1alpha2() {
    let mut fake = Fake::new(Served::Containerd);
    fake.script().api = "v1alpha2";
    fake.script().pods.insert("a1".into(), FakePod::host("a1", "web"));
    fake.up();
    assert_eq!(names(&Source::follow(&fake).snapshot().await), ["default/web"]);
}

#[tokio::test]
async fn a_socket_without_cri_says_what_to_do() {
    let mut fake = Fake::new(Served::Containerd);
    fake.script().api = "none";
    fake.up();
    let mut source = Source::follow(&fake);
    let why = source.failing().await;
    assert!(why.contains("disabled_plugins") && why.contains("cri.sock"), "{why}");
    fake.script().api = "v1";
    assert!(source.snapshot().await.is_empty());
}

#[tokio::test]
async fn the_socket_may_come_later_go_and_return() {
    let mut fake = Fake::new(Served::Containerd);
    fake.script().pods.insert("a1".into(), FakePod::host("a1", "web"));
    let mut source = Source::follow(&fake);
    source.until(|report| matches!(report, Report::Absent).then_some(())).await;
    fake.up();
    assert_eq!(source.snapshot().await.len(), 1);
    fake.down(true).await;
    source.failing().await;
    source.until(|report| matches!(report, Report::Absent).then_some(())).await;
    fake.script().pods = [("b2".to_owned(), FakePod::host("b2", "db"))].into();
    fake.up();
    assert_eq!(names(&source.snapshot().await), ["default/db"]);
    // Dead, with its socket left behind.
    fake.down(false).await;
    let why = source.until(|report| match report {
        Report::Failing(why) if why.contains("cannot connect") => Some(why.clone()),
        _ => None,
    });
    assert!(why.await.contains("cri.sock"));
    fake.remove_socket();
    fake.up();
    assert_eq!(names(&source.snapshot().await), ["default/db"]);
}

#[tokio::test]
async fn a_broken_stream_is_followed_by_everything() {
    let mut fake = Fake::new(Served::Containerd);
    fake.script().pods.insert("a1".into(), FakePod::host("a1", "web"));
    fake.up();
    let mut source = Source::follow(&fake);
    assert_eq!(source.snapshot().await.len(), 1);
    fake.script().pods = [("b2".to_owned(), FakePod::host("b2", "db"))].into();
    fake.break_streams();
    assert!(source.failing().await.contains("stream"));
    assert_eq!(names(&source.snapshot().await), ["default/db"]);
}

#[tokio::test]
async fn one_that_vanishes_between_list_and_look_is_left_out() {
    let mut fake = Fake::new(Served::Containerd);
    fake.script().pods.insert("a1".into(), FakePod::host("a1", "web"));
    fake.script().listed.push("dead".into());
    fake.up();
    assert_eq!(names(&Source::follow(&fake).snapshot().await), ["default/web"]);
}

#[tokio::test]
async fn a_slow_answer_holds_nobody_up() {
    let mut fake = Fake::new(Served::Containerd);
    let slow = FakePod { slow: Some(Duration::from_secs(3600)), ..FakePod::own("a1", "slow") };
    fake.script().pods.insert("a1".into(), slow);
    fake.script().pods.insert("b2".into(), FakePod::host("b2", "quick"));
    fake.up();
    let mut source = Source::follow(&fake);
    let containers = source.snapshot().await;
    assert_eq!(names(&containers), ["default/quick", "default/slow"]);
    let slow = containers.iter().find(|container| container.id == "a1").expect("in the snapshot");
    assert!(slow.trouble.is_some(), "{slow:?}");
    fake.script().pods.insert("c3".into(), FakePod::host("c3", "next"));
    fake.emit("c3", true);
    assert_eq!(source.changed().await.name, "default/next");
    // It answers at last.
    fake.script().pods.insert("a1".into(), FakePod::host("a1", "slow"));
    let slow = source.until(|report| match report {
        Report::Changed(container) if container.trouble.is_none() => Some(container.clone()),
        _ => None,
    });
    assert_eq!(slow.await.id, "a1");
}

#[tokio::test]
async fn nonsense_is_wrong_only_where_it_is_wrong() {
    let mut fake = Fake::new(Served::Containerd);
    {
        let mut script = fake.script();
        script.name = "Evil\u{1b}[31m Runtime/../".into();
        script.pods.insert("a1".into(), FakePod::host("a1", "good"));
        script.pods.insert(
            "b2".into(),
            FakePod { answer: FakePod::own("zz", "other").answer, ..FakePod::default() },
        );
        script
            .pods
            .insert("c3".into(), FakePod { error: Some(Code::Internal), ..FakePod::own("c3", "broken") });
        let mut odd = FakePod::own("d4", "odd");
        odd.answer.info.insert("info".into(), "{\"pid\":".into());
        script.pods.insert("d4".into(), odd);
        script.listed = vec!["../../etc".into(), String::new(), "x".repeat(4000)];
    }
    fake.up();
    let mut source = Source::follow(&fake);
    let mut containers = source.snapshot().await;
    containers.sort_by(|a, b| a.id.cmp(&b.id));
    let ids: Vec<&str> = containers.iter().map(|container| container.id.as_str()).collect();
    assert_eq!(ids, ["a1", "b2", "c3", "d4"]);
    assert!(
        containers.iter().all(|container| container.workload.runtime.as_deref() == Some("evil31mruntime.."))
    );
    let trouble = |index: usize| containers[index].trouble.clone().unwrap_or_default();
    assert_eq!(containers[0].trouble, None);
    assert!(trouble(1).contains("another sandbox"), "{}", trouble(1));
    assert!(trouble(2).contains("as the test?[31m wants"), "{}", trouble(2));
    assert!(trouble(3).contains("does not tell its network namespace"), "{}", trouble(3));
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let mut fake = Fake::new(Served::Containerd);
    fake.script().listed = (0..5000).map(|number| format!("pod{number}")).collect();
    fake.up();
    let mut source = Source::follow(&fake);
    let why = source.failing().await;
    assert!(why.contains("5000 sandboxes"), "{why}");
    // Beyond the cap on messages: not even read.
    fake.script().listed = vec!["x".repeat(20 << 20)];
    let why = source.until(|report| match report {
        Report::Failing(why) if why.contains("ListPodSandbox failed") => Some(why.clone()),
        _ => None,
    });
    assert!(why.await.len() < 400);
    fake.script().listed.clear();
    assert!(source.snapshot().await.is_empty());
}

#[tokio::test]
async fn an_end_is_brought_about_while_following_is_stuck() {
    let mut fake = Fake::new(Served::Containerd);
    let slow = FakePod { slow: Some(Duration::from_secs(3600)), ..FakePod::own("a1", "slow") };
    fake.script().pods.insert("a1".into(), slow);
    fake.up();
    let mut source = Source::follow(&fake);
    for how in [Termination::Kill, Termination::Stop, Termination::Restart] {
        let (answer, done) = oneshot::channel();
        let id = "a1".to_owned();
        source.requests.send(Request::Terminate { id, how, answer }).await.expect("served");
        assert_eq!(timeout(PATIENCE, done).await.expect("in time").expect("answered"), Ok(()));
    }
    assert_eq!(fake.script().stopped, ["a1"; 3]);
    fake.down(true).await;
    let (answer, done) = oneshot::channel();
    let request = Request::Terminate { id: "a1".into(), how: Termination::Kill, answer };
    source.requests.send(request).await.expect("served");
    let error = timeout(PATIENCE, done).await.expect("in time").expect("answered").expect_err("it is away");
    assert!(error.contains("does not exist"), "{error}");
    source.reports.close();
    timeout(PATIENCE, source.task).await.expect("it ends with its reports").expect("and does not panic");
}

#[tokio::test]
async fn the_agent_may_ask() {
    let mut fake = Fake::new(Served::Containerd);
    fake.script().pods.insert("a1".into(), FakePod::own("a1", "web"));
    fake.up();
    let mut source = Source::follow(&fake);
    assert!(source.snapshot().await[0].trouble.is_some());
    // The looks that follow trouble by themselves have passed.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    fake.script().pods.insert("a1".into(), FakePod::host("a1", "web"));
    source.requests.send(Request::LookAt("a1".into())).await.expect("served");
    assert_eq!(source.changed().await.networking, Networking::Host);
    fake.script().pods.insert("b2".into(), FakePod::host("b2", "db"));
    source.requests.send(Request::LookAt("../nonsense".into())).await.expect("served");
    source.requests.send(Request::Resync).await.expect("served");
    assert_eq!(names(&source.snapshot().await), ["default/db", "default/web"]);
}

/// What somebody believes who hears every report.
#[derive(Default)]
struct Believer(std::collections::BTreeSet<String>);

impl Believer {
    fn hear(&mut self, report: Report) {
        match report {
            Report::Snapshot { containers, .. } => {
                self.0 = containers.into_iter().map(|container| container.id).collect();
            }
            Report::Changed(container) => drop(self.0.insert(container.id)),
            Report::Gone { id, .. } => drop(self.0.remove(&id)),
            _ => {}
        }
    }
}

/// Events are lost, doubled, late and false; streams break; sandboxes come and go all the while.
#[tokio::test]
async fn the_truth_is_found_in_the_end() {
    let mut fake = Fake::new(Served::Containerd);
    fake.up();
    let mut source = Source::follow(&fake);
    let mut believer = Believer::default();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..400 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let choice = (random >> 33) as usize;
        let id = format!("pod{}", choice / 16 % 12);
        match choice % 16 {
            0..6 => {
                let pod = FakePod {
                    error: choice.is_multiple_of(5).then_some(Code::Internal),
                    ..FakePod::host(&id, &id)
                };
                fake.script().pods.insert(id.clone(), pod);
                fake.emit(&id, true);
            }
            6..11 => {
                fake.script().pods.remove(&id);
                fake.emit(&id, false);
            }
            11 => drop(fake.script().pods.insert(id.clone(), FakePod::own(&id, &id))),
            12 => drop(fake.script().pods.remove(&id)),
            13 => fake.emit(&id, round % 2 == 0),
            14 if round % 10 == 0 => fake.break_streams(),
            _ => source.requests.send(Request::LookAt(id)).await.expect("served"),
        }
        tokio::time::sleep(Duration::from_millis(choice as u64 % 9)).await;
        while let Ok(report) = source.reports.try_recv() {
            believer.hear(report);
        }
    }
    let truth: std::collections::BTreeSet<String> = fake.script().pods.keys().cloned().collect();
    assert!(!truth.is_empty());
    while believer.0 != truth {
        believer.hear(source.next().await);
    }
}

/// A sandbox that was told of without having been seen is told to be gone too.
#[tokio::test]
async fn one_that_was_never_seen_can_be_gone() {
    let mut fake = Fake::new(Served::Containerd);
    let slow = FakePod { slow: Some(Duration::from_secs(3600)), ..FakePod::own("a1", "slow") };
    fake.script().pods.insert("a1".into(), slow);
    fake.up();
    let mut source = Source::follow(&fake);
    assert_eq!(source.snapshot().await.len(), 1);
    fake.script().pods.clear();
    assert_eq!(source.gone().await, "a1");
}
