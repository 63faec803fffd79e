//! What was done about repeat offenders, a line each.

use jiff::tz::TimeZone;
use portcullis_policy::api::{Action, ActionOutcome};

use super::endpoint::{reasons, word};
use super::{Paint, Style, clean, drops, units};

/// `time endpoint response outcome sentence`; with more room the evidence below it.
pub fn line(action: &Action, zone: &TimeZone, style: &Style, wide: bool) -> String {
    let paint = match action.outcome {
        ActionOutcome::Done | ActionOutcome::Requested => Paint::Bad,
        ActionOutcome::DryRun | ActionOutcome::Withheld | ActionOutcome::Failed => Paint::Doubtful,
    };
    let parts = [
        Paint::Faint.on(&units::clock(&action.time, zone)),
        format!("{:<16}", clean(&action.endpoint)),
        paint.on(&format!("{:<13}", word(&action.response))),
        format!("{:<8}", word(&action.outcome)),
        clean(&action.message),
        Paint::Faint.on(&format!("[{:.0} ms after the threshold]", action.took_ms)),
    ];
    let mut text = Paint::resolve(&parts.join("  "), style) + "\n";
    if wide {
        text.push_str(&evidence(action, zone, style));
    }
    text
}

fn evidence(action: &Action, zone: &TimeZone, style: &Style) -> String {
    let policy = action.policy.as_deref().unwrap_or("the default");
    let mut text = format!(
        "    threshold {} in {}, reached {}; policy: {}; counted: {}\n",
        action.threshold,
        action.window,
        units::clock(&action.threshold_time, zone),
        clean(policy),
        reasons(&action.reasons)
    );
    for frame in &action.frames {
        text.push_str("    ");
        text.push_str(&drops::line(frame, zone, style, false));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_line_says_what_was_done_and_wide_shows_the_evidence() {
        let action: Action = serde_json::from_value(serde_json::json!({
            "time": "2026-11-21T10:00:00.2Z", "endpoint": "web-1", "workload": {}, "response": "terminate",
            "terminate": "kill", "outcome": "done", "message": "container web-1 killed\u{1b}", "policy": "strict",
            "attempts": 10, "threshold": 10, "window": "60s", "reasons": {"spoofed-ipv4": 12},
            "frames": [fixture::drop_record()], "threshold_time": "2026-11-21T10:00:00.1Z", "took_ms": 99.6
        }))
        .unwrap();
        assert_eq!(
            line(&action, &TimeZone::UTC, &Style::default(), false),
            "10:00:00.200000  web-1             terminate      done      container web-1 killed\u{fffd}  \
             [100 ms after the threshold]\n"
        );
        let wide = line(&action, &TimeZone::UTC, &Style::default(), true);
        assert_eq!(wide.lines().count(), 3);
        assert!(wide.contains(
            "threshold 10 in 1m, reached 10:00:00.100000; policy: strict; counted: spoofed-ipv4 12"
        ));
        assert!(wide.contains("IPv4 192.0.2.10 > 10.0.0.1"), "{wide}");
    }
}
