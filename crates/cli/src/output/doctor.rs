//! What `doctor` found.

use std::fmt::Write as _;

use portcullis_agent::doctor::{Check, CheckStatus};

use super::{Paint, Style, clean};

/// A line for each check, what to do below it, and a summary.
pub fn show(checks: &[Check], style: &Style) -> String {
    let mut text = String::new();
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in checks {
        let (paint, word) = match check.status {
            CheckStatus::Ok => (Paint::Good, "ok  "),
            CheckStatus::Warn => (Paint::Doubtful, "warn"),
            CheckStatus::Fail => (Paint::Bad, "FAIL"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}  {:<width$}  {}", paint.on(word), check.name, clean(&check.detail));
        if let Some(remedy) = &check.remedy {
            let _ = writeln!(text, "      {:<width$}  -> {}", "", clean(remedy));
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let (failed, warned) = (count(CheckStatus::Fail), count(CheckStatus::Warn));
    let _ = match (failed, warned) {
        (0, 0) => writeln!(text, "everything is there"),
        (0, warned) => writeln!(text, "everything that is needed is there; {warned} to look at"),
        (failed, _) => writeln!(text, "{failed} missing: the agent cannot work like this"),
    };
    Paint::resolve(&text, style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_stand_below_what_they_remedy() {
        let check = |name: &str, status, remedy: Option<&str>| Check {
            name: name.into(),
            status,
            detail: "detail".into(),
            remedy: remedy.map(Into::into),
        };
        let checks =
            [check("kernel", CheckStatus::Ok, None), check("bpffs", CheckStatus::Fail, Some("mount it"))];
        assert_eq!(
            show(&checks, &Style::default()),
            "ok    kernel  detail\nFAIL  bpffs   detail\n              -> mount it\n1 missing: the agent cannot work like this\n"
        );
        assert!(show(&checks[..1], &Style::default()).ends_with("everything is there\n"));
    }
}
