use super::super::fixture::{self, containers};
use super::*;

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

#[test]
fn a_list_says_who_may_claim_what() {
    let text = list(&fixture::endpoints(), now(), &Style::default(), false);
    let expected = "\
NAME   INTERFACE              MODE     STATE        ADDRESSES         ALLOWED  DROPPED
web-1  veth1                  enforce  active       10.0.0.2 fd00::2      120       15
db     eth0 in /run/netns/db  audit    quarantined  10.0.0.3                0        0
";
    assert_eq!(text, expected);
    assert!(list(&[], now(), &Style::default(), false).contains("endpoint bind"));
    assert!(list(&fixture::endpoints(), now(), &Style::default(), true).contains("02:42:0a:00:00:02"));
}

#[test]
fn one_endpoint_is_shown_without_empty_lines() {
    let text = show(&fixture::endpoints()[0], now(), &Style::default());
    assert!(text.contains("reasons     spoofed-ipv4 12, spoofed-mac 3\n"), "{text}");
    assert!(text.contains("allowed     120 packets, 11 KiB\n"), "{text}");
    assert!(text.contains("answer      10 attempts in 1m -> report\n"), "{text}");
    assert!(!text.contains("vlans") && !text.contains("network"), "{text}");
    assert!(!text.contains('\u{2064}') && !text.contains('\x1b'));
}

#[test]
fn sources_conflicts_policies_and_the_answer_are_shown() {
    let db = containers::endpoints().into_iter().find(|endpoint| endpoint.name == "db").unwrap();
    let text = show(&db, now(), &Style::default());
    for line in [
        "state       quarantined: 10 hostile attempts in 1m\n",
        "inside      eth0\n",
        "network     backend\n",
        "called      db\n",
        "image       postgres:17\n",
        "sources     docker\n",
        "conflict    docker says 172.20.0.4, cni says 172.20.0.44: both hold meanwhile\n",
        "policies    strict-db, all\n",
        "answer      10 attempts in 1m -> quarantine\n",
        "since       2026-11-21T09:30:00Z (2h 30m)\n",
        "attempts    12 hostile\n",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
}

#[test]
fn answers_say_all_that_is_not_plain() {
    let mut wanted = Answer { response: Response::Terminate, dry_run: true, ..Answer::default() };
    wanted.release_after = Some("10m".parse().unwrap());
    assert_eq!(answer(&wanted), "10 attempts in 1m -> terminate (kill), released after 10m, dry run");
    wanted.response = Response::Report;
    assert_eq!(answer(&wanted), "10 attempts in 1m -> report, dry run");
}

#[test]
fn the_list_of_a_full_host_fits_its_terminal() {
    let mut endpoints = containers::endpoints();
    for columns in [80, 100, 120] {
        let style = Style { colour: false, size: Some((columns, 50)) };
        let text = list(&endpoints, now(), &style, false);
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(columns)), "{text}");
        assert!(text.lines().count() < 3 * endpoints.len(), "{text}");
        assert_eq!(text.contains("DROPPED"), columns >= 100, "{text}");
        assert!(text.contains("quarantined") && text.contains("conflict"), "{text}");
    }
    endpoints[0].name = format!("shop/{}", "n".repeat(248));
    let style = Style { colour: false, size: Some((80, 50)) };
    let text = list(&endpoints, now(), &style, false);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn wide_lists_have_it_all_on_one_line_each() {
    let style = Style { colour: false, size: Some((80, 50)) };
    let text = list(&containers::endpoints(), now(), &style, true);
    assert_eq!(text.lines().count(), containers::endpoints().len() + 1, "{text}");
    let row = text.lines().find(|line| line.starts_with("shop/checkout")).unwrap();
    for word in ["containerd", "k8s-pod-network", "eth0", "cri", "2h 30m", "app=checkout"] {
        assert!(row.contains(word), "{word} in {row}");
    }
}

#[test]
fn binding_answers_with_one_line() {
    let endpoints = fixture::endpoints();
    assert_eq!(
        bound(&endpoints[0], true),
        "endpoint \"web-1\" bound to veth1 (10.0.0.2 fd00::2, 02:42:0a:00:00:02; enforce, active)"
    );
}
