use std::collections::BTreeMap;

use portcullis_policy::api::MapState;
use proptest::prelude::*;

use super::*;
use crate::crd::{EndpointRow, MOST_ROWS};

const INTERVAL: Duration = Duration::from_secs(10);

fn row(pod: &str) -> EndpointRow {
    EndpointRow {
        name: None,
        namespace: Some("shop".into()),
        pod: Some(pod.into()),
        uid: None,
        container: None,
        interface: None,
        addresses: Vec::new(),
        macs: Vec::new(),
        mode: None,
        state: MapState::Bound,
        message: None,
        policies: Vec::new(),
        response: None,
        conflicts: Vec::new(),
    }
}

fn offender(pod: &str) -> Offender {
    Offender {
        namespace: "shop".into(),
        pod: pod.into(),
        uid: format!("uid-{pod}"),
        endpoint: pod.into(),
        attempts: 10,
        threshold: 10,
        window: "60s".into(),
        reasons: BTreeMap::new(),
        policy: "strict".into(),
        time: "2026-01-01T00:00:00Z".into(),
    }
}

/// A map that tells `number` apart from others; with so many offenders.
fn map(number: u32, offenders: u32) -> Arc<EndpointMapStatus> {
    let offenders = (0..offenders).map(|number| offender(&number.to_string())).collect();
    Arc::new(EndpointMapStatus {
        endpoints: vec![row(&number.to_string())],
        offenders,
        ..EndpointMapStatus::default()
    })
}

/// A publisher in its own time.
struct Play {
    publisher: Publisher,
    now: Instant,
    start: Instant,
    /// When was what written, in seconds.
    writes: Vec<(f64, Arc<EndpointMapStatus>)>,
    attempts: Vec<f64>,
    /// The server is away.
    away: bool,
}

impl Play {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let publisher = Publisher::new(INTERVAL, seed);
        Self { publisher, now, start: now, writes: Vec::new(), attempts: Vec::new(), away: false }
    }

    fn seconds(&self) -> f64 {
        (self.now - self.start).as_secs_f64()
    }

    fn offer(&mut self, status: Arc<EndpointMapStatus>) {
        self.publisher.offer(status, self.now);
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            match self.publisher.next(self.now) {
                Next::Write(status) => {
                    self.attempts.push(self.seconds());
                    if self.away {
                        self.publisher.done(Outcome::Failed { retry_after: None }, self.now);
                    } else {
                        self.writes.push((self.seconds(), status));
                        self.publisher.done(Outcome::Written, self.now);
                    }
                }
                Next::Verify => self.publisher.done(Outcome::Same, self.now),
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
fn changes_are_gathered_and_writes_are_apart() {
    let mut play = Play::new(1);
    for number in 0..100 {
        play.offer(map(number, 0));
        play.pass(Duration::from_millis(500));
    }
    play.pass(INTERVAL * 2);
    let first = play.writes[0].0;
    assert!((1.0..=6.0).contains(&first), "{first}");
    assert!(play.writes.len() <= 7, "{}", play.writes.len());
    assert!(play.writes.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 10.0 - 1e-6));
    assert!(same_content(&play.writes.last().unwrap().1, &map(99, 0)));
    let before = play.writes.len();
    // The same again, told at another time.
    let mut again = EndpointMapStatus::clone(&map(99, 0));
    again.published = Some("2026-01-01T00:00:00Z".into());
    play.offer(Arc::new(again));
    play.pass(INTERVAL * 100);
    assert_eq!(play.writes.len(), before, "nothing changed");
}

#[test]
fn what_goes_back_to_what_is_there_is_not_written() {
    let mut play = Play::new(2);
    play.offer(map(1, 0));
    play.pass(INTERVAL);
    play.offer(map(2, 0));
    play.offer(map(1, 0));
    play.pass(INTERVAL * 3);
    assert_eq!(play.writes.len(), 1);
}

#[test]
fn offenders_are_told_at_once() {
    let mut play = Play::new(3);
    play.offer(map(1, 0));
    play.pass(INTERVAL);
    play.offer(map(2, 0));
    let before = play.writes.len();
    let at = play.seconds();
    play.offer(map(2, 1));
    play.pass(Duration::ZERO);
    assert_eq!((play.writes.len(), play.writes.last().unwrap().0), (before + 1, at));
    // The next ones within the same second wait for its end.
    for count in 2..=20 {
        play.pass(Duration::from_millis(50));
        play.offer(map(2, count));
    }
    play.pass(Duration::from_secs(1));
    let late: Vec<f64> = play.writes[before + 1..].iter().map(|(time, _)| time - at).collect();
    assert_eq!(late.len(), 1, "{late:?}");
    assert!((1.0..1.1).contains(&late[0]), "{late:?}");
    assert_eq!(play.writes.last().unwrap().1.offenders.len(), 20);
}

#[test]
fn a_map_that_was_just_written_holds_no_offender_up() {
    let mut play = Play::new(4);
    play.offer(map(1, 0));
    while play.writes.is_empty() {
        play.pass(Duration::from_millis(10));
    }
    play.pass(Duration::from_millis(100));
    let at = play.seconds();
    play.offer(map(1, 1));
    play.pass(Duration::ZERO);
    assert_eq!(play.writes.last().map(|(time, _)| *time), Some(at));
}

#[test]
fn an_outage_ends_gently() {
    let mut ends = Vec::new();
    for seed in 0..400 {
        let mut play = Play::new(seed);
        play.offer(map(1, 0));
        play.pass(INTERVAL * 2);
        play.away = true;
        play.offer(map(2, 0));
        play.pass(Duration::from_secs(300));
        let attempts = play.attempts.len();
        assert!(attempts < 20, "{attempts}");
        play.away = false;
        let back = play.seconds();
        play.pass(Duration::from_secs(60));
        let (at, status) = play.writes.last().unwrap();
        assert!(same_content(status, &map(2, 0)));
        ends.push(at - back);
    }
    let busiest = (0..60).map(|second| {
        ends.iter().filter(|at| (f64::from(second)..f64::from(second + 1)).contains(*at)).count()
    });
    assert!(busiest.max().unwrap() < 40, "a tenth of all nodes writes within the same second: {ends:?}");
}

#[test]
fn an_outage_that_went_unnoticed_is_told_of() {
    let mut play = Play::new(4);
    play.offer(map(1, 0));
    play.pass(INTERVAL * 3);
    let at = play.seconds();
    play.offer(map(2, 0));
    play.publisher.outage_over(play.now);
    play.pass(Duration::from_secs(40));
    assert!(play.writes[1].0 - at <= 30.0);
    // Whoever is over the threshold does not wait for that.
    play.publisher.outage_over(play.now);
    play.offer(map(2, 1));
    play.publisher.outage_over(play.now);
    let at = play.seconds();
    play.pass(Duration::ZERO);
    assert_eq!(play.writes.last().unwrap().0, at);
}

#[test]
fn a_server_that_asks_for_a_pause_gets_it() {
    let mut play = Play::new(5);
    play.offer(map(1, 1));
    assert!(matches!(play.publisher.next(play.now), Next::Write(_)));
    play.publisher.done(Outcome::Failed { retry_after: Some(Duration::from_secs(20)) }, play.now);
    play.pass(Duration::from_secs(60));
    assert!(play.writes[0].0 >= 20.0, "{:?}", play.writes[0].0);
}

#[test]
fn what_somebody_deleted_is_written_again() {
    let mut play = Play::new(6);
    play.offer(map(1, 0));
    play.pass(INTERVAL);
    loop {
        match play.publisher.next(play.now) {
            Next::At(at) => play.now = at,
            Next::Verify => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((300.0..=960.0).contains(&play.seconds()));
    play.publisher.done(Outcome::Present(None), play.now);
    play.pass(INTERVAL * 2);
    assert_eq!(play.writes.len(), 2);
}

#[test]
fn it_fits() {
    let endpoints = (0..1500).rev().map(|number| row(&format!("{number:05}"))).collect();
    let mut status = EndpointMapStatus { endpoints, ..EndpointMapStatus::default() };
    status.endpoints[0].message = Some("é".repeat(500));
    fit(&mut status);
    assert_eq!((status.endpoints.len(), status.summary.left_out), (MOST_ROWS, 500));
    assert_eq!(status.endpoints[0].pod.as_deref(), Some("00000"));
    let mut large = EndpointMapStatus { endpoints: vec![row("a"); 900], ..EndpointMapStatus::default() };
    for row in &mut large.endpoints {
        row.addresses = vec!["2001:db8:1111:2222:3333:4444:5555:6666".into(); 64];
        row.message = Some("é".repeat(500));
    }
    fit(&mut large);
    assert!(serde_json::to_vec(&large).unwrap().len() < 1_100_000);
    let left_out = usize::try_from(large.summary.left_out).unwrap();
    assert_eq!(large.endpoints.len() + left_out, 900);
    assert_eq!(large.endpoints[0].message.as_ref().unwrap().chars().count(), LONGEST_MESSAGE + 1);
    let mut again = large.clone();
    fit(&mut again);
    assert!(same_content(&large, &again), "fitting twice is fitting once");
}

#[derive(Clone, Debug)]
enum Step {
    Offer(u32, u32),
    Pass(u32),
    Away(bool),
    Back,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..5_u32, prop_oneof![3 => Just(0), 1 => 0..4_u32])
            .prop_map(|(number, count)| Step::Offer(number, count)),
        (0..20_000_u32).prop_map(Step::Pass),
        any::<bool>().prop_map(Step::Away),
        Just(Step::Back),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    /// Whatever is offered, and however the server fails.
    #[test]
    fn never_too_often_and_at_last_always(seed in any::<u64>(), steps in steps()) {
        let mut play = Play::new(seed);
        let mut last = None;
        let mut calm = true;
        for step in steps {
            match step {
                Step::Offer(number, offenders) => {
                    calm &= offenders == 0;
                    last = Some(map(number, offenders));
                    play.offer(map(number, offenders));
                }
                Step::Pass(time) => play.pass(Duration::from_millis(time.into())),
                Step::Away(away) => play.away = away,
                Step::Back => play.publisher.outage_over(play.now),
            }
        }
        play.away = false;
        play.pass(Duration::from_secs(130));
        if let Some(last) = last {
            let written = play.writes.last().map(|(_, status)| status);
            prop_assert!(written.is_some_and(|written| same_content(written, &last)));
        }
        // Times are sums of fractions. A write for the sake of offenders may follow at once on another, but never on its like.
        let (apart, next) = if calm { (10.0, 1) } else { (1.0, 2) };
        let spans = play.attempts.windows(next + 1).map(|some| some[next] - some[0]);
        prop_assert!(spans.into_iter().all(|span| span >= apart - 1e-6), "{:?}", play.attempts);
        let end = play.now;
        play.pass(Duration::from_secs(3600));
        let late = play.attempts.iter().filter(|at| **at > (end - play.start).as_secs_f64()).count();
        prop_assert_eq!(late, 0, "nothing changes, nothing is written");
    }
}

mod talking;
