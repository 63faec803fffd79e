//! The score card: each case, what should happen, what happened.

use std::fmt::Write as _;

use portcullis_abi::DropReason;
use serde::{Serialize, Serializer};

use crate::cases::{Case, Identity};

/// What the far side saw of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// Every frame arrived.
    Passed,
    /// No frame arrived.
    Dropped,
    /// Some frames arrived.
    Partly {
        /// So many.
        arrived: usize,
        /// Of so many.
        sent: usize,
    },
    /// It was not sent, and why.
    NotSent(String),
}

impl Observed {
    /// What the frames that arrived say.
    #[must_use]
    pub fn of(case: &Case, arrived: &[bool]) -> Self {
        match (arrived.iter().filter(|a| **a).count(), case.frames.len()) {
            (0, _) => Self::Dropped,
            (arrived, sent) if arrived == sent => Self::Passed,
            (arrived, sent) => Self::Partly { arrived, sent },
        }
    }
}

impl std::fmt::Display for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passed => f.pad("passed"),
            Self::Dropped => f.pad("dropped"),
            Self::Partly { arrived, sent } => write!(f, "passed {arrived} of {sent} frames"),
            Self::NotSent(why) => write!(f, "not sent: {why}"),
        }
    }
}

impl Serialize for Observed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One line of the card.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The case's stable name.
    pub id: &'static str,
    /// What the case is about.
    pub group: &'static str,
    /// What its frames do.
    pub title: &'static str,
    /// Whether it claims what is another's.
    pub hostile: bool,
    /// "pass" or "drop".
    pub expected: &'static str,
    /// The reason that our gate gives, where it is to be dropped.
    #[serde(serialize_with = "reason_name", skip_serializing_if = "Option::is_none")]
    pub reason: Option<DropReason>,
    /// What happened.
    pub observed: Observed,
    /// Whether that is as it should be; a case that was not sent proves nothing and is no failure.
    pub ok: bool,
}

fn reason_name<S: Serializer>(reason: &Option<DropReason>, serializer: S) -> Result<S::Ok, S::Error> {
    match reason {
        Some(reason) => serializer.serialize_str(reason.name()),
        None => serializer.serialize_none(),
    }
}

impl Outcome {
    /// Judges what was observed.
    #[must_use]
    pub fn new(case: &Case, observed: Observed) -> Self {
        let pass = case.expect.is_pass();
        let ok = match &observed {
            Observed::NotSent(_) => true,
            Observed::Passed => pass,
            Observed::Dropped => !pass,
            // A forgery that got through in part got through; an honest datagram in part is lost.
            Observed::Partly { .. } => false,
        };
        Self {
            id: case.id,
            group: case.group,
            title: case.title,
            hostile: case.hostile,
            expected: if pass { "pass" } else { "drop" },
            reason: case.expect.reason(),
            observed,
            ok,
        }
    }

    /// Whether it was sent.
    #[must_use]
    pub const fn was_sent(&self) -> bool {
        !matches!(self.observed, Observed::NotSent(_))
    }

    /// One word for the last column: `ok`, `FORGED PASSED`, `HONEST LOST` or `not sent`.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match (self.was_sent(), self.ok, self.expected) {
            (false, ..) => "not sent",
            (_, true, _) => "ok",
            (_, _, "pass") => "HONEST LOST",
            _ => "FORGED PASSED",
        }
    }
}

/// Totals of the cases that were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Cases to be dropped.
    pub forged_total: usize,
    /// Those of which nothing arrived.
    pub forged_stopped: usize,
    /// Cases to pass.
    pub honest_total: usize,
    /// Those that arrived whole.
    pub honest_passed: usize,
    /// Cases that could not be sent.
    pub not_run: usize,
}

impl Summary {
    fn of<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Self {
        outcomes.fold(Self::default(), |mut sum, outcome| {
            match (outcome.was_sent(), outcome.expected) {
                (false, _) => sum.not_run += 1,
                (true, "pass") => {
                    sum.honest_total += 1;
                    sum.honest_passed += usize::from(outcome.ok);
                }
                (true, _) => {
                    sum.forged_total += 1;
                    sum.forged_stopped += usize::from(outcome.ok);
                }
            }
            sum
        })
    }
}

/// The result of one run.
#[derive(Debug, Clone, Serialize)]
pub struct ScoreCard {
    /// The interface that was probed, and where it is.
    pub target: String,
    /// Its MAC.
    pub mac: String,
    /// The addresses that count as its own.
    pub addresses: Vec<String>,
    /// Where frames were listened for.
    pub far_side: String,
    /// The totals.
    pub summary: Summary,
    /// Every case, in the order of the suite.
    pub outcomes: Vec<Outcome>,
}

impl ScoreCard {
    /// A card over these outcomes.
    #[must_use]
    pub fn new(target: String, far_side: String, identity: &Identity, outcomes: Vec<Outcome>) -> Self {
        let v6 = [identity.ipv6, identity.own_link_local()];
        let addresses = identity.ipv4.iter().map(ToString::to_string);
        Self {
            target,
            far_side,
            mac: identity.mac.to_string(),
            addresses: addresses.chain(v6.iter().flatten().map(ToString::to_string)).collect(),
            summary: Summary::of(outcomes.iter()),
            outcomes,
        }
    }

    /// Whether everything forged was stopped and nothing honest was lost, and both were tried.
    #[must_use]
    pub const fn held(&self) -> bool {
        let s = &self.summary;
        s.forged_stopped == s.forged_total
            && s.honest_passed == s.honest_total
            && s.forged_total > 0
            && s.honest_total > 0
    }

    /// 0 where the gate held, else 1.
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        if self.held() { 0 } else { 1 }
    }

    /// The totals of each group, in the order of the suite.
    #[must_use]
    pub fn groups(&self) -> Vec<(&'static str, Summary)> {
        let mut names: Vec<&'static str> = Vec::new();
        for outcome in &self.outcomes {
            if !names.contains(&outcome.group) {
                names.push(outcome.group);
            }
        }
        let of = |name| Summary::of(self.outcomes.iter().filter(move |o| o.group == name));
        names.into_iter().map(|name| (name, of(name))).collect()
    }

    /// The outcomes as rows: case, what should happen, what happened, verdict.
    #[must_use]
    pub fn table(&self) -> Vec<[String; 4]> {
        self.outcomes.iter().map(row).collect()
    }

    /// The rows of those outcomes alone that are not as they should be.
    #[must_use]
    pub fn failures(&self) -> Vec<[String; 4]> {
        self.outcomes.iter().filter(|o| !o.ok).map(row).collect()
    }

    /// The card as a JUnit report: a suite for each group.
    #[must_use]
    pub fn junit(&self) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let failures = self.outcomes.iter().filter(|o| !o.ok).count();
        let skipped = self.summary.not_run;
        // Writing to a string cannot fail.
        let _ = writeln!(
            xml,
            "<testsuites name=\"portcullis probe {}\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\">",
            escaped(&self.target),
            self.outcomes.len(),
        );
        for (group, _) in self.groups() {
            let members: Vec<&Outcome> = self.outcomes.iter().filter(|o| o.group == group).collect();
            let failures = members.iter().filter(|o| !o.ok).count();
            let skipped = members.iter().filter(|o| !o.was_sent()).count();
            let _ = writeln!(
                xml,
                "  <testsuite name=\"{group}\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\">",
                members.len(),
            );
            for outcome in members {
                xml.push_str(&junit_case(outcome));
            }
            xml.push_str("  </testsuite>\n");
        }
        xml.push_str("</testsuites>\n");
        xml
    }
}

fn row(outcome: &Outcome) -> [String; 4] {
    let expected = match outcome.reason {
        Some(reason) => format!("{} ({reason})", outcome.expected),
        None => outcome.expected.to_owned(),
    };
    [
        format!("{}: {}", outcome.id, outcome.title),
        expected,
        outcome.observed.to_string(),
        outcome.verdict().to_owned(),
    ]
}

fn junit_case(outcome: &Outcome) -> String {
    let title = escaped(outcome.title);
    let head =
        format!("    <testcase classname=\"portcullis.probe.{}\" name=\"{}\"", outcome.group, outcome.id);
    let observed = escaped(&outcome.observed.to_string());
    if !outcome.was_sent() {
        return format!("{head}><skipped message=\"{observed}\"/></testcase>\n");
    }
    if outcome.ok {
        return format!("{head}/>\n");
    }
    let verdict = outcome.verdict();
    format!("{head}><failure type=\"{verdict}\" message=\"{observed}\">{title}</failure></testcase>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::suite;

    fn card(observe: impl Fn(&Case) -> Observed) -> ScoreCard {
        let me = Identity::default();
        let outcomes = suite(&me).iter().map(|c| Outcome::new(c, observe(c))).collect();
        ScoreCard::new("eth0 in \"c1\"".into(), "bridge".into(), &me, outcomes)
    }

    #[test]
    fn a_perfect_gate_holds_and_an_open_network_does_not() {
        let right = |c: &Case| if c.expect.is_pass() { Observed::Passed } else { Observed::Dropped };
        let perfect = card(right);
        assert!(perfect.held() && perfect.exit_status() == 0 && perfect.failures().is_empty());
        let open = card(|_| Observed::Passed);
        assert_eq!((open.summary.forged_stopped, open.exit_status()), (0, 1));
        let deaf = card(|_| Observed::Dropped);
        assert_eq!((deaf.summary.honest_passed, deaf.exit_status()), (0, 1));
        let idle = card(|_| Observed::NotSent("EMSGSIZE".into()));
        assert_eq!((idle.summary.not_run, idle.exit_status()), (idle.outcomes.len(), 1));
        let lost = card(|c| match right(c) {
            Observed::Passed if c.frames.len() > 1 => Observed::of(c, &[true]),
            other => other,
        });
        assert_eq!(lost.exit_status(), 1);
        assert!(lost.failures().iter().all(|row| row[3] == "HONEST LOST"));
    }

    #[test]
    fn junit_counts_and_escapes() {
        let open = card(|c| match c.id {
            "runt-13" => Observed::NotSent("a < b".into()),
            _ => Observed::Passed,
        });
        let xml = open.junit();
        assert!(xml.contains("name=\"portcullis probe eth0 in &quot;c1&quot;\""));
        assert!(xml.contains("<skipped message=\"not sent: a &lt; b\"/>"));
        assert_eq!(xml.matches("<testcase ").count(), open.outcomes.len());
        assert_eq!(xml.matches("<failure ").count(), open.failures().len());
    }

    #[test]
    fn json_names_what_the_docs_name() {
        let json = serde_json::to_value(card(|_| Observed::Passed)).unwrap();
        let first = &json["outcomes"][0];
        assert_eq!(first["expected"], "drop");
        assert_eq!(first["reason"], "spoofed-mac");
        assert_eq!(first["observed"], "passed");
        assert_eq!(json["summary"]["not_run"], 0);
    }
}
