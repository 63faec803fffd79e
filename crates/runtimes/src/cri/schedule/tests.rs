use tokio::time::{advance, pause};

use super::*;

#[tokio::test]
async fn looks_get_ever_further_apart_and_end() {
    pause();
    let mut schedule = Schedule::default();
    schedule.start("a".into(), Aim::Appear);
    let began = Instant::now();
    let mut times = Vec::new();
    while let Some(at) = schedule.next() {
        advance(at.saturating_duration_since(Instant::now())).await;
        let taken = schedule.take(8);
        assert_eq!(taken.len(), 1);
        times.push(began.elapsed().as_millis());
        schedule.again("a".into(), Aim::Appear, taken[0].2 + 1);
    }
    assert_eq!(times, [0, 2, 6, 14, 29, 59, 119, 239, 489, 989]);
}

#[tokio::test]
async fn a_new_wish_is_sooner_than_a_repetition() {
    pause();
    let mut schedule = Schedule::default();
    assert!(schedule.again("a".into(), Aim::Renew, 3));
    assert!(schedule.take(8).is_empty());
    schedule.start("a".into(), Aim::Vanish);
    assert!(schedule.again("a".into(), Aim::Renew, 3));
    assert_eq!(schedule.take(8), [("a".to_owned(), Aim::Vanish, 0)]);
    assert!(!schedule.holds("a") && !schedule.again("a".into(), Aim::Vanish, 7));
}
