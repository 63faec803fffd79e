use super::super::fixture::containers;
use super::*;

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

#[test]
fn print_it() {
    for size in [None, Some((80, 50)), Some((100, 50))] {
        println!("{}", show(&containers::map(), now(), &Style { colour: false, size }, false));
    }
    println!("{}", show(&containers::map(), now(), &Style::default(), true));
    println!("{}", graph(&containers::map()));
    for size in [None, Some((80, 50)), Some((100, 50))] {
        println!(
            "{}",
            super::super::endpoint::list(
                &containers::endpoints(),
                now(),
                &Style { colour: false, size },
                false
            )
        );
        println!(
            "{}",
            super::super::stats::table(&containers::endpoints(), None, &Style { colour: false, size })
        );
    }
    println!("{}", super::super::endpoint::list(&containers::endpoints(), now(), &Style::default(), true));
}
