//! The score card of `probe`, and the list of its cases.

use std::fmt::Write as _;

use portcullis_probe::{Case, Outcome, ScoreCard, SendVia};
use serde::Serialize;

use super::endpoint::word;
use super::{Paint, Style, Table, clean};

/// The card: a row for each group, the cases that went wrong (or all), and the sums.
pub fn card(card: &ScoreCard, style: &Style, all: bool) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "target      {}", clean(&card.target));
    let _ = writeln!(text, "identity    {} {}", clean(&card.mac), clean(&card.addresses.join(" ")));
    let _ = writeln!(text, "far side    {}\n", clean(&card.far_side));
    let shown: Vec<&Outcome> = card.outcomes.iter().filter(|o| all || !o.ok || !o.was_sent()).collect();
    text.push_str(&groups(card, style));
    if !shown.is_empty() {
        text.push('\n');
        text.push_str(&cases(&shown, style));
    }
    text.push('\n');
    text.push_str(&Paint::resolve(&summary(card), style));
    text
}

fn groups(card: &ScoreCard, style: &Style) -> String {
    let mut table = Table::new(style, &["GROUP", "FORGED STOPPED", "HONEST PASSED", "NOT SENT", "RESULT"]);
    for (group, sum) in card.groups() {
        let forged = sum.forged_stopped == sum.forged_total;
        let honest = sum.honest_passed == sum.honest_total;
        let ratio = |good, total| if total == 0 { String::new() } else { format!("{good} of {total}") };
        let not_run = if sum.not_run == 0 { String::new() } else { sum.not_run.to_string() };
        let result = match (forged, honest) {
            (true, true) => Paint::Good.on("ok"),
            (false, true) => Paint::Bad.on("FORGED PASSED"),
            (true, false) => Paint::Bad.on("HONEST LOST"),
            (false, false) => Paint::Bad.on("FORGED PASSED, HONEST LOST"),
        };
        table.row([
            group.to_owned(),
            ratio(sum.forged_stopped, sum.forged_total),
            ratio(sum.honest_passed, sum.honest_total),
            not_run,
            result,
        ]);
    }
    table.render()
}

fn cases(outcomes: &[&Outcome], style: &Style) -> String {
    let mut table = Table::new(style, &["CASE", "SHOULD", "DID", "RESULT", "WHAT"]).whole(&[0, 1, 3]);
    for outcome in outcomes {
        let paint = match (outcome.was_sent(), outcome.ok) {
            (false, _) => Paint::Doubtful,
            (true, true) => Paint::Good,
            (true, false) => Paint::Bad,
        };
        let expected = match outcome.reason {
            Some(reason) => format!("{} ({reason})", outcome.expected),
            None => outcome.expected.to_owned(),
        };
        table.row([
            outcome.id.to_owned(),
            expected,
            clean(&outcome.observed.to_string()),
            paint.on(outcome.verdict()),
            outcome.title.to_owned(),
        ]);
    }
    table.render()
}

fn summary(card: &ScoreCard) -> String {
    let sum = &card.summary;
    let (paint, result) = if card.held() { (Paint::Good, "HELD") } else { (Paint::Bad, "OPEN") };
    let mut line = format!(
        "{}: {} of {} forgeries stopped, {} of {} honest frames passed",
        paint.on(result),
        sum.forged_stopped,
        sum.forged_total,
        sum.honest_passed,
        sum.honest_total,
    );
    if sum.not_run > 0 {
        let _ = write!(line, ", {} could not be sent", sum.not_run);
    }
    line.push('\n');
    line
}

/// A case as `--list -o json` shows it.
#[derive(Serialize)]
pub struct CaseRow<'a> {
    id: &'a str,
    group: &'a str,
    title: &'a str,
    expected: String,
    hostile: bool,
    via: SendVia,
    frames: Vec<String>,
}

impl<'a> From<&'a Case> for CaseRow<'a> {
    fn from(case: &'a Case) -> Self {
        let hex =
            |frame: &Vec<u8>| frame.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        Self {
            id: case.id,
            group: case.group,
            title: case.title,
            expected: word(&case.expect),
            hostile: case.hostile,
            via: case.via,
            frames: case.frames.iter().map(hex).collect(),
        }
    }
}

/// The suite, a row for each case.
pub fn list(cases: &[CaseRow<'_>], style: &Style) -> String {
    let mut table = Table::new(style, &["GROUP", "CASE", "SHOULD", "FRAMES", "WHAT"]).whole(&[0, 1, 2]);
    for case in cases {
        let expected =
            if case.expected == "pass" { case.expected.clone() } else { format!("drop ({})", case.expected) };
        table.row([
            case.group.to_owned(),
            case.id.to_owned(),
            expected,
            case.frames.len().to_string(),
            case.title.to_owned(),
        ]);
    }
    table.render() + &format!("{} cases\n", cases.len())
}

#[cfg(test)]
mod tests {
    use portcullis_probe::{Identity, Observed, suite};

    use super::*;

    fn played(observe: impl Fn(&Case) -> Observed) -> String {
        let me = Identity::default();
        let outcomes = suite(&me).iter().map(|case| Outcome::new(case, observe(case))).collect();
        card(&ScoreCard::new("eth0".into(), "br0".into(), &me, outcomes), &Style::default(), false)
    }

    #[test]
    fn a_gate_that_holds_shows_no_single_case() {
        let text = played(|c| if c.expect.is_pass() { Observed::Passed } else { Observed::Dropped });
        assert!(text.lines().last().is_some_and(|line| line.starts_with("HELD: ")), "{text}");
        assert!(!text.contains("CASE") && !text.contains("FORGED PASSED"), "{text}");
    }

    #[test]
    fn an_open_network_is_told_case_by_case() {
        let text = played(|_| Observed::Passed);
        assert!(text.lines().last().is_some_and(|line| line.starts_with("OPEN: 0 of ")), "{text}");
        let forged = suite(&Identity::default()).iter().filter(|c| !c.expect.is_pass()).count();
        assert!(text.matches("FORGED PASSED").count() >= forged);
    }

    #[test]
    fn the_list_has_every_case() {
        let cases = suite(&Identity::default());
        let rows: Vec<_> = cases.iter().map(CaseRow::from).collect();
        let text = list(&rows, &Style::default());
        assert!(text.ends_with(&format!("{} cases\n", cases.len())));
        assert!(cases.iter().all(|case| text.contains(case.id)));
    }
}
