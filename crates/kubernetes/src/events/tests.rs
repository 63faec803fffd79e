use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use portcullis_policy::model::Mode;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn pod(number: u32) -> PodRef {
    PodRef { namespace: "shop".into(), name: format!("web-{number}"), uid: format!("uid-{number}") }
}

fn spoofed(counts: &[(&str, u64)]) -> Note {
    let counts = counts.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
    Note::Spoofed { counts, mode: Mode::Enforce }
}

struct Play {
    book: Book,
    now: Instant,
    start: Instant,
    wall: Timestamp,
    posts: Vec<(f64, Post)>,
    answer: Outcome,
}

impl Play {
    fn new() -> Self {
        let now = Instant::now();
        let wall = "2026-03-01T12:03:04Z".parse().unwrap();
        Self { book: Book::new("node-1"), now, start: now, wall, posts: Vec::new(), answer: Outcome::Written }
    }

    fn tell(&mut self, pod: PodRef, note: Note) -> u64 {
        let wall = self.wall + SignedDuration::try_from(self.now - self.start).unwrap();
        self.book.tell(pod, note, self.now, wall)
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            match self.book.next(self.now) {
                Next::Post(post) => {
                    self.posts.push(((self.now - self.start).as_secs_f64(), post));
                    self.book.done(self.answer, self.now);
                }
                Next::At(at) if at <= end => {
                    assert!(at > self.now, "a loop without an end");
                    self.now = at;
                }
                Next::At(_) | Next::Idle => break,
            }
        }
        self.now = end;
    }
}

#[test]
fn a_flood_is_one_event_whose_count_grows() {
    let mut play = Play::new();
    for second in 1..=3600_u64 {
        play.tell(
            pod(1),
            spoofed(&[("spoofed-ipv4", second * 30), ("spoofed-mac", second * 7), ("vlan", 0)]),
        );
        play.pass(Duration::from_secs(1));
    }
    let creations = play.posts.iter().filter(|(_, post)| post.create).count();
    assert_eq!((play.posts[0].0, creations), (0.0, 1));
    assert!(play.posts.len() < 18, "{}", play.posts.len());
    assert!(play.posts.iter().all(|(_, post)| post.name == play.posts[0].1.name));
    let gaps: Vec<f64> = play.posts.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps[0] >= 60.0 && gaps[3..].iter().all(|gap| *gap >= 300.0), "{gaps:?}");
    let first = &play.posts[0].1.object;
    assert_eq!(first["message"], "37 forged frames dropped: spoofed-ipv4 30, spoofed-mac 7; since 12:03 UTC");
    assert_eq!((&first["type"], &first["reason"]), (&"Warning".into(), &"SpoofedSource".into()));
    assert_eq!(first["involvedObject"]["uid"], "uid-1");
    assert_eq!(first["firstTimestamp"], "2026-03-01T12:03:04Z");
    let last = &play.posts.last().unwrap().1.object;
    assert!(last["count"].as_u64().unwrap() > 100_000, "{last}");
    assert_eq!(last.as_object().unwrap().len(), 3, "only what changes: {last}");
}

#[test]
fn what_is_said_again_is_no_news() {
    let mut play = Play::new();
    for _ in 0..100 {
        play.tell(pod(1), spoofed(&[("spoofed-ipv4", 5)]));
        play.pass(Duration::from_secs(60));
    }
    assert_eq!(play.posts.len(), 1);
    assert_eq!(
        play.posts[0].1.object["message"].as_str().unwrap().split(';').next(),
        Some("5 forged frames dropped: spoofed-ipv4 5")
    );
    play.tell(pod(2), Note::Spoofed { counts: [("vlan".to_owned(), 1)].into(), mode: Mode::Audit });
    play.pass(Duration::ZERO);
    let note = play.posts[1].1.object["message"].as_str().unwrap().to_owned();
    assert!(note.starts_with("1 forged frame seen, and let pass (audit): vlan 1; since"), "{note}");
}

#[test]
fn a_quarantine_is_told_at_once_whatever_else_there_is() {
    let mut play = Play::new();
    for number in 0..500 {
        play.tell(pod(number), spoofed(&[("spoofed-mac", 1)]));
    }
    play.pass(Duration::from_secs(3));
    assert_eq!(play.posts.len(), 28, "a burst, then one a second");
    let at = play.now;
    play.tell(pod(7), Note::Quarantined("10 hostile attempts within 60 s".into()));
    play.pass(Duration::from_secs(1));
    let quarantine = play.posts.iter().find(|(_, post)| post.object["reason"] == "Quarantined").unwrap();
    assert!(quarantine.0 - (at - play.start).as_secs_f64() <= 1.0);
    play.tell(pod(7), Note::Released("by hand".into()));
    play.pass(Duration::from_secs(1));
    assert_eq!(play.posts.last().unwrap().1.object["type"], "Normal");
    play.pass(Duration::from_secs(600));
    assert_eq!(play.posts.len(), 502, "and all of them in the end");
}

#[test]
fn an_event_that_expired_is_made_anew() {
    let mut play = Play::new();
    play.tell(pod(1), spoofed(&[("spoofed-mac", 1)]));
    play.pass(Duration::from_secs(61));
    play.tell(pod(1), spoofed(&[("spoofed-mac", 2)]));
    let Next::Post(patch) = play.book.next(play.now) else { panic!() };
    assert!(!patch.create);
    play.book.done(Outcome::Missing, play.now);
    let Next::Post(again) = play.book.next(play.now) else { panic!() };
    assert!(again.create && again.name != patch.name && again.object["count"] == 2);
    play.book.done(Outcome::Exists, play.now);
    let Next::Post(patch) = play.book.next(play.now) else { panic!() };
    assert!(!patch.create);
    play.book.done(Outcome::Written, play.now);
    // After a long silence it is another story.
    play.pass(Duration::from_secs(3600));
    play.tell(pod(1), spoofed(&[("spoofed-mac", 3)]));
    play.pass(Duration::ZERO);
    let last = &play.posts.last().unwrap().1;
    assert!(last.create);
    assert!(last.object["message"].as_str().unwrap().starts_with("1 forged frame dropped"), "{last:?}");
}

#[test]
fn failures_are_tried_again_and_refusals_are_not() {
    let mut play = Play::new();
    play.answer = Outcome::Failed { retry_after: None };
    play.tell(pod(1), Note::Quarantined("x".into()));
    play.pass(Duration::from_secs(600));
    assert!((5..40).contains(&play.posts.len()), "{}", play.posts.len());
    play.answer = Outcome::Written;
    play.pass(Duration::from_secs(61));
    let before = play.posts.len();
    play.pass(Duration::from_secs(600));
    assert_eq!(play.posts.len(), before);
    play.answer = Outcome::Refused;
    for count in 1..=100 {
        play.tell(pod(2), spoofed(&[("spoofed-mac", count)]));
        play.pass(Duration::from_secs(1));
    }
    assert!(play.posts.len() - before <= 3);
}

#[test]
fn there_is_room_for_so_many() {
    let mut play = Play::new();
    play.answer = Outcome::Failed { retry_after: Some(Duration::from_secs(3600)) };
    play.pass(Duration::from_secs(1));
    let lost: u64 = (0..5000).map(|number| play.tell(pod(number), spoofed(&[("spoofed-mac", 1)]))).sum();
    assert_eq!(lost, 5000 - 1024);
}

#[test]
fn names_and_notes_fit() {
    let mut play = Play::new();
    let long = PodRef { name: "a".repeat(253), ..pod(1) };
    let counts: Vec<(String, u64)> = (0..200).map(|number| (format!("reason-{number}"), number)).collect();
    let counts: Vec<(&str, u64)> = counts.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    play.tell(long.clone(), spoofed(&counts));
    play.tell(long, Note::Quarantined("é".repeat(5000)));
    play.pass(Duration::ZERO);
    for (_, post) in &play.posts {
        assert!(post.name.len() <= 253);
        assert!(post.object["message"].as_str().unwrap().len() <= 1024);
    }
    assert!(play.posts[1].1.object["message"].as_str().unwrap().contains("and others"));
}

#[tokio::test]
async fn nobody_waits_for_the_api() {
    let service = tower::service_fn(|_: hyper::Request<kube::client::Body>| {
        std::future::pending::<Result<hyper::Response<kube::client::Body>, tower::BoxError>>()
    });
    let (reporter, _writer) = reporter(Client::new(service, "default"), "node-1");
    for _ in 0..1000 {
        reporter.quarantined(&pod(1), "x");
        reporter.spoofed(&pod(1), &BTreeMap::new(), Mode::Enforce);
    }
    assert_eq!(reporter.lost(), 2000 - 256);
}

proptest! {
    /// However it is told: never more than a burst and one a second, and the last word is written.
    #[test]
    fn never_a_flood(steps in proptest::collection::vec((0..60_u32, 0..3_u8, 0..5000_u64), 1..300)) {
        let mut play = Play::new();
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        for (number, kind, time) in steps {
            match kind {
                0 => {
                    let count = counts.entry(number).or_default();
                    *count += 1;
                    let count = *count;
                    play.tell(pod(number), spoofed(&[("spoofed-mac", count)]));
                }
                1 => _ = play.tell(pod(number), Note::Quarantined("x".into())),
                _ => _ = play.tell(pod(number), Note::Released("x".into())),
            }
            play.pass(Duration::from_millis(time));
        }
        play.pass(Duration::from_secs(900));
        for (index, (start, _)) in play.posts.iter().enumerate() {
            let within = play.posts[index..].iter().take_while(|(at, _)| *at < start + 10.0).count();
            prop_assert!(within <= 25 + 11, "{within} writes within 10 s");
        }
        for (number, count) in counts {
            let name = format!("web-{number}.");
            let last = play.posts.iter().rev().find(|(_, post)| {
                post.name.starts_with(&name) && post.object["message"].as_str().unwrap().contains("forged")
            });
            prop_assert_eq!(&last.unwrap().1.object["count"], &Value::from(count));
        }
    }
}
