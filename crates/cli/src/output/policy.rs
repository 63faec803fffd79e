//! Gate policies.

use std::fmt::Write as _;

use portcullis_policy::api::PolicyView;
use portcullis_policy::guard::{
    Answer, GatePolicy, LabelExpression, LabelOperator, Response, Selector, Termination,
};
use portcullis_policy::span::Span;

use super::endpoint::word;
use super::{Paint, Style, Table, clean};
use crate::commands::policy::Verdict;

/// All policies, a row each.
pub fn list(policies: &[PolicyView], style: &Style, wide: bool) -> String {
    if policies.is_empty() {
        return "no policies; set one: portcullis policy set NAME --match-name '*' --response quarantine\n"
            .into();
    }
    let mut head = vec!["NAME", "PRIORITY", "MATCH", "MODE", "THRESHOLD", "RESPONSE", "ENDPOINTS"];
    if wide {
        head.extend(["ALLOW", "ADDRESSES", "OWNER", "MATCHED"]);
    }
    let unwrapped = if wide { style.unwrapped() } else { *style };
    let mut table = Table::new(&unwrapped, &head).name(0).whole(&[3]).right(&[1, 6]);
    for view in policies {
        let policy = &view.policy;
        let mut cells = vec![
            clean(&policy.name),
            policy.priority.to_string(),
            selector(&policy.selector),
            policy.mode.as_ref().map(word).unwrap_or_default(),
            threshold(policy),
            response(policy),
            match view.endpoints.len() {
                0 => Paint::Doubtful.on("0"),
                count => count.to_string(),
            },
        ];
        if wide {
            cells.extend([
                list_of(&policy.allow),
                list_of(&policy.addresses),
                word(&view.owner),
                clean(&view.endpoints.join(" ")),
            ]);
        }
        table.row(cells);
    }
    table.render()
}

/// Everything about one policy, a line each.
pub fn show(view: &PolicyView, style: &Style) -> String {
    let policy = &view.policy;
    let text = |span: &Option<Span>| span.map(|span| span.to_string()).unwrap_or_default();
    lines(
        &[
            ("name", clean(&policy.name)),
            ("match", selector(&policy.selector)),
            ("priority", policy.priority.to_string()),
            ("mode", policy.mode.as_ref().map(word).unwrap_or_default()),
            ("allow", list_of(&policy.allow)),
            ("addresses", list_of(&policy.addresses)),
            ("attempts", policy.attempts.map(|attempts| attempts.to_string()).unwrap_or_default()),
            ("window", text(&policy.window)),
            ("response", policy.response.as_ref().map(word).unwrap_or_default()),
            ("terminate", policy.terminate.as_ref().map(word).unwrap_or_default()),
            ("release", text(&policy.release_after)),
            (
                "dry run",
                policy.dry_run.map(|dry| if dry { "yes" } else { "no" }.to_owned()).unwrap_or_default(),
            ),
            ("owner", word(&view.owner)),
            ("endpoints", clean(&view.endpoints.join(", "))),
            (
                "warning",
                view.warning.as_deref().map(|why| Paint::Doubtful.on(&clean(why))).unwrap_or_default(),
            ),
        ],
        style,
    )
}

/// The line after `policy set`.
pub fn put(view: &PolicyView, created: bool) -> String {
    let done = if created { "set" } else { "is set" };
    let plural = if view.endpoints.len() == 1 { "" } else { "s" };
    let name = clean(&view.policy.name);
    format!("policy \"{name}\" {done}: matches {} endpoint{plural}", view.endpoints.len())
}

/// What `policy test` says.
pub fn verdict(verdict: &Verdict, style: &Style) -> String {
    let names: Vec<_> = verdict.policies.iter().map(|view| view.policy.name.as_str()).collect();
    let answer = &verdict.answer;
    let mut text = lines(
        &[
            ("endpoint", clean(&verdict.endpoint)),
            (
                "policies",
                if names.is_empty() {
                    "none matches: the defaults hold".into()
                } else {
                    clean(&names.join(", "))
                },
            ),
            ("mode", word(&verdict.mode)),
            ("threshold", format!("{} hostile attempts within {}", answer.attempts, answer.window)),
            ("response", outcome(answer)),
            ("decided by", clean(verdict.decided_by.as_deref().unwrap_or("the default"))),
            (
                "note",
                verdict.note.as_deref().map(|note| Paint::Doubtful.on(&clean(note))).unwrap_or_default(),
            ),
        ],
        style,
    );
    if !verdict.policies.is_empty() {
        text.push('\n');
        text.push_str(&list(&verdict.policies, style, false));
    }
    text
}

/// What becomes of an endpoint over its threshold, in words.
pub fn outcome(answer: &Answer) -> String {
    let mut text = match (answer.response, answer.terminate) {
        (Response::Report, _) => "report".to_owned(),
        (Response::Quarantine, _) => "quarantine".to_owned(),
        (Response::Terminate, how @ Termination::Restart) => format!("terminate ({how})"),
        (Response::Terminate, how) => format!("quarantine, terminate ({how})"),
    };
    if let (Some(after), true) = (answer.release_after, answer.response >= Response::Quarantine) {
        let _ = write!(text, ", released after {after}");
    }
    if answer.dry_run && answer.response > Response::Report {
        text.push_str("; dry run: only said, not done");
    }
    text
}

fn threshold(policy: &GatePolicy) -> String {
    match (policy.attempts, policy.window) {
        (Some(attempts), Some(window)) => format!("{attempts} in {window}"),
        (Some(attempts), None) => attempts.to_string(),
        (None, Some(window)) => format!("in {window}"),
        (None, None) => String::new(),
    }
}

fn response(policy: &GatePolicy) -> String {
    let mut text = policy.response.as_ref().map(word).unwrap_or_default();
    let details = [
        policy.terminate.map(|how| how.to_string()),
        policy.release_after.map(|after| format!("release after {after}")),
        policy.dry_run.map(|dry| if dry { "dry run" } else { "no dry run" }.to_owned()),
    ];
    let details: Vec<String> = details.into_iter().flatten().collect();
    if !details.is_empty() {
        let _ = write!(text, "{}({})", if text.is_empty() { "" } else { " " }, details.join(", "));
    }
    text
}

/// `name=web-* app=shop`: labels by their keys alone would be mistaken for properties.
fn selector(selector: &Selector) -> String {
    let Selector { name, labels, network, image, runtime, namespace, namespaces, expressions } = selector;
    let texts = [
        ("name", name),
        ("network", network),
        ("image", image),
        ("runtime", runtime),
        ("namespace", namespace),
    ];
    let texts = texts.into_iter().filter_map(|(key, text)| Some(format!("{key}={}", text.as_ref()?)));
    let labels = labels.iter().map(|(key, value)| format!("label:{key}={value}"));
    let namespaces = (!namespaces.is_empty()).then(|| format!("namespace={}", namespaces.join("|")));
    let expressions = expressions.iter().map(expression);
    clean(&texts.chain(namespaces).chain(labels).chain(expressions).collect::<Vec<_>>().join(" "))
}

/// As `kubectl get -l` has it.
fn expression(expression: &LabelExpression) -> String {
    let (key, values) = (&expression.key, expression.values.join(","));
    match expression.operator {
        LabelOperator::In => format!("label:{key} in ({values})"),
        LabelOperator::NotIn => format!("label:{key} notin ({values})"),
        LabelOperator::Exists => format!("label:{key}"),
        LabelOperator::DoesNotExist => format!("label:!{key}"),
    }
}

fn list_of<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn lines(lines: &[(&str, String)], style: &Style) -> String {
    let mut text = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}{value}", Paint::Faint.on(&format!("{name:<12}")));
    }
    Paint::resolve(&text, style)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views() -> Vec<PolicyView> {
        serde_json::from_value(serde_json::json!([
            {"name": "shop", "match": {"labels": {"app": "shop"}, "network": "shop_*"}, "priority": 10, "attempts": 5,
             "window": "30s", "response": "terminate", "terminate": "restart", "owner": "api",
             "endpoints": ["web-1", "web-2"]},
            {"name": "all", "match": {"name": "*"}, "mode": "audit", "response": "quarantine", "release_after": "10m",
             "dry_run": true, "owner": "file", "endpoints": [], "warning": "it matches no endpoint now"},
        ]))
        .unwrap()
    }

    #[test]
    fn a_list_says_who_and_what() {
        let expected = "\
NAME  PRIORITY  MATCH                          MODE   THRESHOLD  RESPONSE                                 ENDPOINTS
shop        10  network=shop_* label:app=shop  -      5 in 30s   terminate (restart)                              2
all          0  name=*                         audit  -          quarantine (release after 10m, dry run)          0
";
        assert_eq!(list(&views(), &Style::default(), false), expected);
        assert!(list(&[], &Style::default(), false).contains("policy set"));
        assert!(list(&views(), &Style::default(), true).contains("web-1 web-2"));
    }

    #[test]
    fn one_policy_is_shown_without_empty_lines() {
        let text = show(&views()[1], &Style::default());
        assert_eq!(
            text,
            "name        all\nmatch       name=*\npriority    0\nmode        audit\nresponse    quarantine\n\
             release     10m\ndry run     yes\nowner       file\nwarning     it matches no endpoint now\n"
        );
        assert_eq!(put(&views()[0], true), "policy \"shop\" set: matches 2 endpoints");
    }

    #[test]
    fn a_test_says_what_comes_of_it() {
        let answer = Answer { response: Response::Terminate, dry_run: true, ..Answer::default() };
        assert_eq!(outcome(&answer), "quarantine, terminate (kill); dry run: only said, not done");
        assert_eq!(outcome(&Answer::default()), "report");
        let verdict = Verdict {
            endpoint: "web-1".into(),
            mode: Default::default(),
            answer: Answer::default(),
            decided_by: None,
            policies: vec![],
            note: None,
        };
        let text = super::verdict(&verdict, &Style::default());
        assert!(text.contains("none matches") && text.contains("decided by  the default"), "{text}");
        assert!(text.contains("threshold   10 hostile attempts within 1m"), "{text}");
    }
}
