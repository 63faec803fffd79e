use std::collections::VecDeque;

use portcullis_policy::container::{AttachmentPlace, HostInterface};
use proptest::prelude::*;

use super::*;
use crate::docker::describe::bare;
use crate::source::Kind;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn container(id: &str, name: &str) -> Container {
    bare(Kind::Docker, id, name)
}

fn running(id: &str, second: i64) -> Found {
    let mut container = container(id, "web");
    container.since = Some(second.to_string());
    Found::Running { container: Box::new(container), started: Some(at(second)) }
}

fn expected() -> Attachment {
    let bridge = HostInterface { netns: 1, netns_path: None, index: 2, name: "docker0".into() };
    Attachment {
        network: Some("bridge".into()),
        inside: None,
        place: AttachmentPlace::Expected { bridge },
        addresses: Vec::new(),
        macs: Vec::new(),
    }
}

fn gone(id: &str, removed: bool) -> Option<Report> {
    Some(Report::Gone { id: id.into(), removed })
}

#[test]
fn nothing_is_said_twice() {
    let mut ledger = Ledger::default();
    assert!(ledger.begin("a"));
    assert!(matches!(ledger.looked("a", running("a", 1)).report, Some(Report::Changed(_))));
    assert!(ledger.begin("a"));
    assert_eq!(ledger.looked("a", running("a", 1)).report, None);
    assert_eq!(ledger.removed("a"), gone("a", true).unwrap());
    assert!(ledger.begin("a"));
    assert_eq!(ledger.looked("a", Found::Missing).report, None);
}

#[test]
fn an_answer_from_before_an_end_is_not_believed() {
    let mut ledger = Ledger::default();
    ledger.begin("a");
    ledger.looked("a", running("a", 1));
    ledger.begin("a");
    assert_eq!(ledger.down("a", Some(at(5))), (gone("a", false), false));
    assert_eq!(ledger.looked("a", running("a", 1)).report, None);
    // But one about the next run is.
    ledger.begin("a");
    assert_eq!(ledger.down("a", Some(at(6))), (None, false));
    assert!(ledger.looked("a", running("a", 7)).report.is_some());
}

#[test]
fn trouble_is_looked_at_again_less_and_less_often() {
    let mut ledger = Ledger::default();
    let mut last = Duration::ZERO;
    for _ in 0..20 {
        assert!(ledger.begin("a"));
        let delay = ledger.looked("a", Found::Unclear("busy".into())).look.unwrap();
        assert!(delay >= last && delay <= Duration::from_secs(16), "{delay:?}");
        last = delay;
    }
    ledger.begin("a");
    assert_eq!(ledger.looked("a", running("a", 1)).look, None);
    assert_eq!(ledger.attempts("a"), 0);
}

#[test]
fn what_makes_no_sense_takes_nothing_away() {
    let mut ledger = Ledger::default();
    ledger.begin("a");
    ledger.looked("a", running("a", 1));
    ledger.begin("a");
    let mut bare = container("a", "");
    bare.trouble = Some("nonsense".into());
    let Some(Report::Changed(now)) = ledger.looked("a", Found::Garbled(Box::new(bare))).report else {
        panic!()
    };
    assert_eq!((now.name.as_str(), now.trouble.as_deref()), ("web", Some("nonsense")));
    // It still runs, for all that is known.
    assert_eq!(ledger.down("a", Some(at(5))).0, gone("a", false));
}

#[test]
fn what_is_expected_gives_way_to_what_is() {
    let mut ledger = Ledger::default();
    let start = ledger.joined("a").unwrap();
    assert_eq!(ledger.joined("a"), Some(start), "two networks, one start");
    assert!(ledger.expect(start, container("a", "web"), expected()).is_some());
    let Some(Report::Changed(both)) = ({
        let other = Attachment { network: Some("blue".into()), ..expected() };
        ledger.expect(start, container("a", "web"), other)
    }) else {
        panic!()
    };
    assert_eq!(both.attachments.len(), 2);
    ledger.begin("a");
    assert!(ledger.looked("a", running("a", 1)).report.is_some());
    assert_eq!(ledger.joined("a"), None);
    assert_eq!(ledger.expect(start, container("a", "web"), expected()), None, "too late");
    // A start that fails.
    let start = ledger.joined("b").unwrap();
    assert!(ledger.expect(start, container("b", "db"), expected()).is_some());
    assert_eq!(ledger.left("b"), (gone("b", false), false));
    assert_eq!(ledger.expect(start, container("b", "db"), expected()), None, "too late");
}

#[test]
fn a_list_tells_whom_to_look_at() {
    let mut ledger = Ledger::default();
    for id in ["a", "b"] {
        ledger.begin(id);
        ledger.looked(id, running(id, 1));
    }
    let list = |entries: &[(&str, u64)]| {
        entries.iter().map(|(id, print)| ((*id).to_owned(), *print)).collect::<Vec<_>>()
    };
    ledger.compare(list(&[("a", 1), ("b", 1)]).into_iter());
    let compared = ledger.compare(list(&[("a", 1), ("b", 1)]).into_iter());
    assert_eq!(compared, Compared::default());
    let compared = ledger.compare(list(&[("a", 2), ("c", 1)]).into_iter());
    assert_eq!(compared.look, ["a", "c", "b"]);
    assert_eq!(compared.unheard, ["c", "b"]);
}

/// What happens between a runtime with one container, its events, and the looks.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Start,
    Stop,
    Remove,
    /// The next event arrives.
    Hear,
    /// The runtime answers the look that is under way.
    Answer,
    /// That answer arrives.
    Arrive,
}

#[derive(Default)]
struct World {
    ledger: Ledger,
    runs: Option<i64>,
    exists: bool,
    clock: i64,
    events: VecDeque<(&'static str, i64)>,
    /// A look is under way; its answer, if it was given.
    look: Option<Option<Found>>,
    /// What the agent believes.
    mirror: Option<String>,
}

impl World {
    fn tell(&mut self, report: Option<Report>) {
        match report {
            Some(Report::Changed(container)) => self.mirror = container.since,
            Some(Report::Gone { .. }) => self.mirror = None,
            _ => {}
        }
    }

    fn look(&mut self) {
        if self.ledger.begin("a") {
            self.look = Some(None);
        }
    }

    fn step(&mut self, happens: Happens) {
        self.clock += 1;
        match happens {
            Happens::Start if self.runs.is_none() => {
                (self.runs, self.exists) = (Some(self.clock), true);
                self.events.push_back(("start", self.clock));
            }
            Happens::Stop if self.runs.take().is_some() => self.events.push_back(("die", self.clock)),
            Happens::Remove if self.runs.is_none() && self.exists => {
                self.exists = false;
                self.events.push_back(("destroy", self.clock));
            }
            Happens::Hear => self.hear(),
            Happens::Answer if matches!(self.look, Some(None)) => {
                self.look = Some(Some(match self.runs {
                    Some(second) => running("a", second),
                    None if self.exists => Found::Down,
                    None => Found::Missing,
                }));
            }
            Happens::Arrive if matches!(self.look, Some(Some(_))) => {
                let found = self.look.take().flatten().unwrap();
                let Next { report, look } = self.ledger.looked("a", found);
                self.tell(report);
                if look.is_some() {
                    self.look();
                }
            }
            _ => {}
        }
    }

    fn hear(&mut self) {
        let Some((what, second)) = self.events.pop_front() else { return };
        match what {
            "start" => self.look(),
            "die" => {
                let (report, look) = self.ledger.down("a", Some(at(second)));
                self.tell(report);
                if look {
                    self.look();
                }
            }
            _ => {
                let report = self.ledger.removed("a");
                self.tell(Some(report));
            }
        }
    }
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::{Answer, Arrive, Hear, Remove, Start, Stop};
    prop_oneof![Just(Start), Just(Stop), Just(Remove), Just(Hear), Just(Hear), Just(Answer), Just(Arrive)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// However events and answers overtake each other: when all have arrived, the truth is known.
    #[test]
    fn in_the_end_the_truth_is_known(steps in prop::collection::vec(happens(), 0..60)) {
        let mut world = World::default();
        for step in steps {
            world.step(step);
        }
        for _ in 0..200 {
            for step in [Happens::Hear, Happens::Answer, Happens::Arrive] {
                world.step(step);
            }
        }
        prop_assert_eq!(world.mirror, world.runs.map(|second| second.to_string()));
    }
}
