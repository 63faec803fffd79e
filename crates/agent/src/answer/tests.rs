//! The responder with hands that only take notes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use portcullis_datapath::monotonic_ns;
use portcullis_policy::api::{Action, ActionOutcome, Claimed, DropRecord, Event, Sender};
use portcullis_policy::guard::{Answer, Response, Termination};
use portcullis_policy::span::Span;
use tokio::sync::mpsc;

use super::*;

pub(super) fn frame(endpoint: &str, n: u64) -> DropRecord {
    DropRecord {
        time: "2026-11-21T10:00:00Z".into(),
        endpoint: Some(endpoint.into()),
        interface: None,
        ifindex: 1,
        netns: 1,
        reason: "spoofed-ipv4".into(),
        verdict: "dropped".into(),
        rule: None,
        claimed: Claimed::default(),
        bound: vec![],
        sender: Sender::default(),
        length: n as u32,
        summary: String::new(),
        frame: String::new(),
    }
}

pub(super) fn tenant(c: char) -> Tenant {
    Tenant { id: String::from(c).repeat(64), name: format!("name-{c}") }
}

pub(super) fn case(response: Response) -> Case {
    Case {
        answer: Answer { response, ..Answer::default() },
        policy: Some("strict".into()),
        reasons: [("spoofed-ipv4".to_owned(), 10)].into(),
        tenants: vec![tenant('a')],
        ..Case::default()
    }
}

#[derive(Default)]
struct Notes {
    case: Mutex<Option<Case>>,
    done: Mutex<Vec<String>>,
    actions: Mutex<Vec<Action>>,
    quarantined: Mutex<HashSet<String>>,
    until: Mutex<Option<Timestamp>>,
    /// What the runtime answers, after how long.
    runtime: Mutex<Option<(Result<(), String>, Duration)>>,
    /// Whether the container is gone when the runtime has answered.
    vanishes: bool,
}

impl Hands for Notes {
    fn case(&self, _: &str) -> Option<Case> {
        self.case.lock().unwrap().clone()
    }

    fn quarantine(&self, endpoint: &str, sentence: Sentence) -> Result<(), Fault> {
        assert!(sentence.message.contains("spoofed-ipv4"), "{}", sentence.message);
        assert_eq!(sentence.policy.as_deref(), Some("strict"));
        self.done.lock().unwrap().push(format!("quarantine {endpoint}"));
        self.quarantined.lock().unwrap().insert(endpoint.to_owned());
        *self.until.lock().unwrap() = sentence.until;
        Ok(())
    }

    fn release(&self, endpoint: &str) -> Result<(), Fault> {
        self.done.lock().unwrap().push(format!("release {endpoint}"));
        self.quarantined.lock().unwrap().remove(endpoint);
        Ok(())
    }

    fn release_due(&self, now: Timestamp) -> Option<Timestamp> {
        let until = *self.until.lock().unwrap();
        if until.is_some_and(|until| until <= now) {
            self.done.lock().unwrap().push("served".to_owned());
            *self.until.lock().unwrap() = None;
        }
        *self.until.lock().unwrap()
    }

    async fn terminate(&self, container: &str, how: Termination) -> Result<(), String> {
        self.done.lock().unwrap().push(format!("{how} {}", &container[..1]));
        let (answer, after) = self.runtime.lock().unwrap().clone().unwrap_or((Ok(()), Duration::ZERO));
        tokio::time::sleep(after).await;
        if self.vanishes {
            *self.case.lock().unwrap() = None;
        }
        answer
    }

    fn publish(&self, event: Event) {
        let Event::Action(action) = event else { panic!("{event:?}") };
        self.actions.lock().unwrap().push(*action);
    }
}

fn trip(endpoint: &str) -> Trip {
    let timestamp_ns = monotonic_ns();
    Trip { endpoint: endpoint.into(), attempts: 17, threshold: 10, timestamp_ns, cgroup: None }
}

/// Lets a responder answer these trips, one after the other, and looks at the notes.
async fn after(notes: Notes, most: u16, trips: Vec<Trip>) -> Arc<Notes> {
    let notes = Arc::new(notes);
    let evidence = Arc::new(Evidence::default());
    let responder =
        Responder::new(Arc::clone(&notes), Arc::clone(&evidence), Limiter::per_minute(most), Own::default());
    let (sender, receiver) = mpsc::channel(16);
    let running = tokio::spawn(responder.run(receiver));
    for trip in trips {
        evidence.keep(&trip.endpoint, trip.timestamp_ns, &frame(&trip.endpoint, 1));
        let told = notes.actions.lock().unwrap().len();
        sender.send(trip).await.unwrap();
        // Until it is told, or was not to be told.
        for _ in 0..1000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if notes.actions.lock().unwrap().len() > told {
                break;
            }
        }
    }
    drop(sender);
    running.await.unwrap();
    notes
}

fn notes(response: Response, change: impl FnOnce(&mut Case)) -> Notes {
    let mut case = case(response);
    change(&mut case);
    Notes { case: Mutex::new(Some(case)), ..Notes::default() }
}

#[tokio::test(start_paused = true)]
async fn a_report_is_told_once_in_a_window() {
    let notes = after(notes(Response::Report, |_| ()), 6, vec![trip("web"), trip("web"), trip("db")]).await;
    let actions = notes.actions.lock().unwrap();
    let told: Vec<_> = actions.iter().map(|a| (a.endpoint.as_str(), a.outcome)).collect();
    assert_eq!(told, [("web", ActionOutcome::Done), ("db", ActionOutcome::Done)]);
    assert!(notes.done.lock().unwrap().is_empty());
    let action = &actions[0];
    assert_eq!((action.frames.len(), action.attempts, action.reasons["spoofed-ipv4"]), (1, 10, 10));
    assert_eq!(action.message, "endpoint \"web\" made 10 hostile attempts within 1m: reported");
    assert!(action.took_ms >= 0.0 && action.threshold_time.contains('T'));
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_is_recorded_with_its_end() {
    let limited = |case: &mut Case| case.answer.release_after = Some(Span::from_secs(600));
    let notes = after(notes(Response::Quarantine, limited), 6, vec![trip("web")]).await;
    let until = notes.until.lock().unwrap().unwrap();
    let left = until.duration_since(Timestamp::now()).as_secs();
    assert!((590..=600).contains(&left), "{left} s");
    let actions = notes.actions.lock().unwrap();
    assert_eq!((actions[0].outcome, actions[0].policy.as_deref()), (ActionOutcome::Done, Some("strict")));
    assert!(actions[0].message.ends_with("quarantined for 10m"), "{}", actions[0].message);
}

#[tokio::test(start_paused = true)]
async fn a_container_is_ended_before_anything_is_written() {
    let notes = after(notes(Response::Terminate, |_| ()), 6, vec![trip("web")]).await;
    assert_eq!(*notes.done.lock().unwrap(), ["kill a", "quarantine web"]);
    let actions = notes.actions.lock().unwrap();
    assert_eq!(actions[0].terminate, Some(Termination::Kill));
    assert!(actions[0].message.ends_with("container name-a killed"), "{}", actions[0].message);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_start_is_released() {
    let restart = |case: &mut Case| case.answer.terminate = Termination::Restart;
    let done = after(notes(Response::Terminate, restart), 6, vec![trip("web")]).await;
    assert_eq!(*done.done.lock().unwrap(), ["restart a", "release web"]);
    let failing = Notes {
        runtime: Mutex::new(Some((Err("the runtime says no".into()), Duration::ZERO))),
        ..notes(Response::Terminate, restart)
    };
    let done = after(failing, 6, vec![trip("web")]).await;
    assert_eq!(*done.done.lock().unwrap(), ["restart a", "quarantine web"]);
    let actions = done.actions.lock().unwrap();
    assert_eq!(actions[0].outcome, ActionOutcome::Failed);
    assert!(actions[0].message.contains("the runtime says no"), "{}", actions[0].message);
}

#[tokio::test(start_paused = true)]
async fn too_many_terminations_are_withheld_and_their_quarantine_holds() {
    let trips = (0..3).map(|n| trip(&format!("web-{n}"))).collect();
    let notes = after(notes(Response::Terminate, |_| ()), 2, trips).await;
    let outcomes: Vec<_> = notes.actions.lock().unwrap().iter().map(|action| action.outcome).collect();
    assert_eq!(outcomes, [ActionOutcome::Done, ActionOutcome::Done, ActionOutcome::Withheld]);
    assert_eq!(notes.quarantined.lock().unwrap().len(), 3);
    let ended = notes.done.lock().unwrap().iter().filter(|done| done.starts_with("kill")).count();
    assert_eq!(ended, 2);
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_does_not_answer_has_failed() {
    let hanging = Notes {
        runtime: Mutex::new(Some((Ok(()), Duration::from_secs(3600)))),
        ..notes(Response::Terminate, |_| ())
    };
    let notes = Arc::new(hanging);
    let responder = Responder::new(
        Arc::clone(&notes),
        Arc::new(Evidence::default()),
        Limiter::per_minute(6),
        Own::default(),
    );
    let (sender, receiver) = mpsc::channel(16);
    sender.send(trip("web")).await.unwrap();
    // A second trip of the same endpoint changes nothing while the first is being answered.
    sender.send(trip("web")).await.unwrap();
    drop(sender);
    responder.run(receiver).await;
    let actions = notes.actions.lock().unwrap();
    assert_eq!((actions.len(), actions[0].outcome), (1, ActionOutcome::Failed));
    assert!(actions[0].message.contains("within 30 s"), "{}", actions[0].message);
    assert!(notes.quarantined.lock().unwrap().contains("web"));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_gone_already_is_told_as_such() {
    let gone = Notes {
        runtime: Mutex::new(Some((Err("no such container".into()), Duration::ZERO))),
        vanishes: true,
        ..notes(Response::Terminate, |_| ())
    };
    let notes = after(gone, 6, vec![trip("web")]).await;
    let nobody = after(Notes::default(), 6, vec![trip("web")]).await;
    let actions = notes.actions.lock().unwrap();
    assert_eq!(actions[0].outcome, ActionOutcome::Done);
    assert!(actions[0].message.ends_with("which was gone already"), "{}", actions[0].message);
    let actions = nobody.actions.lock().unwrap();
    assert!(actions[0].message.contains("was gone before"), "{}", actions[0].message);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_it_would_do() {
    let dry = |case: &mut Case| case.answer.dry_run = true;
    let notes = after(notes(Response::Terminate, dry), 6, vec![trip("web"), trip("web")]).await;
    let actions = notes.actions.lock().unwrap();
    assert_eq!((actions.len(), actions[0].outcome), (1, ActionOutcome::DryRun));
    assert!(
        actions[0].message.ends_with("its container would have been killed, this is a dry run"),
        "{}",
        actions[0].message
    );
    assert!(notes.done.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_quarantine_ends_in_time() {
    let brief = |case: &mut Case| case.answer.release_after = Some(Span::from_millis(300));
    let notes = Arc::new(notes(Response::Quarantine, brief));
    let evidence = Arc::new(Evidence::default());
    let responder = Responder::new(Arc::clone(&notes), evidence, Limiter::per_minute(6), Own::default());
    let (sender, receiver) = mpsc::channel(16);
    let running = tokio::spawn(responder.run(receiver));
    sender.send(trip("web")).await.unwrap();
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if notes.done.lock().unwrap().len() == 2 {
            break;
        }
    }
    assert_eq!(*notes.done.lock().unwrap(), ["quarantine web", "served"]);
    drop(sender);
    running.await.unwrap();
}
