//! Candidates with an API server of one lease, in virtual time.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// The API server: optimistic concurrency, and nothing else.
#[derive(Default)]
struct Server {
    lease: Option<(Record, u64)>,
}

impl Server {
    fn answer(&mut self, ask: Ask) -> Answer {
        match (ask, &mut self.lease) {
            (Ask::Read, None) => Answer::Absent,
            (Ask::Read, Some((record, version))) => Answer::Found(record.clone(), version.to_string()),
            (Ask::Create(record), lease @ None) => {
                *lease = Some((record.clone(), 1));
                Answer::Written(record, "1".into())
            }
            (Ask::Create(_), Some(_)) | (Ask::Replace(..), None) => Answer::Conflict,
            (Ask::Replace(record, version), Some((present, at))) => {
                if version != at.to_string() {
                    return Answer::Conflict;
                }
                (*present, *at) = (record.clone(), *at + 1);
                Answer::Written(record, at.to_string())
            }
        }
    }
}

fn attempt(candidate: &mut Candidate, server: &mut Server, now: Moment) {
    let wall = format!("{now:?} of {candidate:p}");
    let mut ask = candidate.next(&wall);
    for _ in 0..3 {
        let answer = server.answer(ask);
        match candidate.heard(now, now, answer, &wall) {
            Some(next) => ask = next,
            None => return,
        }
    }
}

fn leads(candidate: &Candidate, now: Moment) -> bool {
    candidate.term().until.is_some_and(|until| now < until)
}

fn seconds(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

#[test]
fn the_first_leads_and_the_next_waits_for_the_whole_lease() {
    let mut server = Server::default();
    let mut a = Candidate::new("a", Timing::default());
    let mut b = Candidate::new("b", Timing::default());
    attempt(&mut a, &mut server, seconds(0));
    attempt(&mut b, &mut server, seconds(1));
    assert!(leads(&a, seconds(9)) && !leads(&a, seconds(10)) && !leads(&b, seconds(1)));
    attempt(&mut a, &mut server, seconds(8));
    assert!(leads(&a, seconds(17)));
    // From here on `a` is dead. `b` sees its last renewal at 9, and waits from then on.
    for second in 9..24 {
        attempt(&mut b, &mut server, seconds(second));
        assert!(!leads(&b, seconds(second)), "{second}");
    }
    attempt(&mut b, &mut server, seconds(24));
    assert!(leads(&b, seconds(24)));
    assert_eq!(b.term().transitions, 1);
    // It was only asleep.
    attempt(&mut a, &mut server, seconds(25));
    assert!(!leads(&a, seconds(25)) && leads(&b, seconds(25)));
    assert_eq!(a.term().holder.as_deref(), Some("b"));
}

#[test]
fn one_that_goes_gives_the_lease_back() {
    let mut server = Server::default();
    let mut a = Candidate::new("a", Timing::default());
    let mut b = Candidate::new("b", Timing::default());
    attempt(&mut a, &mut server, seconds(0));
    attempt(&mut b, &mut server, seconds(1));
    assert_eq!(b.release("now"), None, "it is not b's");
    server.answer(a.release("now").unwrap());
    attempt(&mut b, &mut server, seconds(3));
    assert!(leads(&b, seconds(3)));
}

#[test]
fn one_that_is_started_anew_under_its_name_goes_on_at_once() {
    let mut server = Server::default();
    attempt(&mut Candidate::new("a", Timing::default()), &mut server, seconds(0));
    let mut again = Candidate::new("a", Timing::default());
    attempt(&mut again, &mut server, seconds(1));
    assert!(leads(&again, seconds(1)));
    assert_eq!(again.term().transitions, 0);
}

#[test]
fn a_lease_that_was_deleted_is_made_anew_and_a_failure_keeps_only_what_is_certain() {
    let mut server = Server::default();
    let mut a = Candidate::new("a", Timing::default());
    attempt(&mut a, &mut server, seconds(0));
    a.heard(seconds(2), seconds(3), Answer::Failed, "w");
    assert!(leads(&a, seconds(9)) && !leads(&a, seconds(10)));
    assert_eq!(a.next("w"), Ask::Read, "what was sent may have arrived");
    server.lease = None;
    attempt(&mut a, &mut server, seconds(4));
    assert!(leads(&a, seconds(13)));
}

#[test]
fn a_renewal_counts_from_when_it_was_sent() {
    let mut a = Candidate::new("a", Timing::default());
    let ask = a.heard(seconds(0), seconds(0), Answer::Absent, "w").unwrap();
    let Ask::Create(record) = ask else { panic!("{ask:?}") };
    a.heard(seconds(1), seconds(8), Answer::Written(record, "1".into()), "w");
    assert!(leads(&a, seconds(10)) && !leads(&a, seconds(11)));
}

proptest! {
    /// Whatever is lost, late or asleep, and however clocks stand: never two that are certain at the same time.
    #[test]
    fn there_is_never_more_than_one(
        offsets in prop::array::uniform3(0..100_000_u64),
        steps in prop::collection::vec((0..3_usize, 0..6_u8, 0..4_000_u64), 1..200),
    ) {
        let mut server = Server::default();
        let mut candidates: Vec<Candidate> =
            ["a", "b", "c"].into_iter().map(|name| Candidate::new(name, Timing::default())).collect();
        let mut time = Duration::ZERO;
        for (who, fate, pause) in steps {
            time += Duration::from_millis(pause);
            // Each has a clock of its own.
            let clock = |who: usize, time: Duration| time + Duration::from_millis(offsets[who]);
            let wall = format!("{time:?}");
            let mut ask = candidates[who].next(&wall);
            for _ in 0..3 {
                let sent = clock(who, time);
                let mut answer = match fate {
                    0 => Answer::Failed,
                    _ => server.answer(ask.clone()),
                };
                if fate == 1 {
                    answer = Answer::Failed; // it arrived, the answer did not
                }
                time += Duration::from_millis(u64::from(fate) * 200);
                match candidates[who].heard(sent, clock(who, time), answer, &wall) {
                    Some(next) => ask = next,
                    None => break,
                }
            }
            let certain = (0..3).filter(|who| leads(&candidates[*who], clock(*who, time))).count();
            prop_assert!(certain <= 1);
        }
    }
}
