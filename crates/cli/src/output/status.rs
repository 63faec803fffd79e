//! The agent as a whole.

use std::fmt::Write as _;

use jiff::Timestamp;
use portcullis_policy::api::{Coverage, Status};
use portcullis_policy::model::UnboundPolicy;

use super::endpoint::{reasons, word};
use super::{Paint, Style, Table, bytes, clean, units};

/// Head, warnings, and the coverage of every interface.
pub fn show(status: &Status, now: Timestamp, style: &Style, wide: bool) -> String {
    let mut text = head(status, now, wide);
    for warning in &status.warnings {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}{}", Paint::Doubtful.on("warning     "), clean(warning));
    }
    let mut text = Paint::resolve(&text, style);
    text.push('\n');
    text.push_str(&coverage(status, style, wide));
    text
}

fn head(status: &Status, now: Timestamp, wide: bool) -> String {
    let (totals, counters) = (&status.endpoints, &status.counters);
    let mut endpoints = format!("{} of {}: {} active", totals.total, totals.capacity, totals.active);
    for (count, name) in
        [(totals.waiting, "waiting"), (totals.quarantined, "quarantined"), (totals.failed, "failed")]
    {
        if count > 0 {
            let _ = write!(endpoints, ", {}", Paint::Doubtful.on(&format!("{count} {name}")));
        }
    }
    let count = |c: &portcullis_policy::api::Count| format!("{} packets, {}", c.packets, bytes(c.bytes));
    let mut dropped = count(&counters.dropped);
    if counters.dropped.packets > 0 {
        let _ = write!(dropped, " ({})", reasons(&counters.reasons));
    }
    let unbound = word(&status.unbound);
    let mut lines = vec![
        (
            "agent",
            format!(
                "{} running, pid {}, up {}",
                clean(&status.version),
                status.pid,
                units::since(&status.started, now)
            ),
        ),
        ("kernel", format!("{}, attached by {}", clean(&status.kernel), clean(&status.attachment))),
        ("endpoints", endpoints),
        (
            "unbound",
            match status.unbound {
                UnboundPolicy::Allow => format!("{unbound} (interfaces without a binding may send anything)"),
                UnboundPolicy::Audit => format!("{unbound} (interfaces without a binding are only counted)"),
                UnboundPolicy::Drop => format!("{unbound} (interfaces without a binding may send nothing)"),
            },
        ),
        ("allowed", count(&counters.allowed)),
        ("dropped", dropped),
    ];
    if counters.audited.packets > 0 {
        lines.push(("audited", count(&counters.audited)));
    }
    if status.repairs > 0 {
        lines.push(("repairs", format!("{} since the agent started", status.repairs)));
    }
    if status.events_lost > 0 {
        lines.push(("events", format!("{} lost", status.events_lost)));
    }
    if wide {
        lines.push(("state", clean(&status.state_file)));
        lines.push(("pins", clean(&status.bpffs)));
    }
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{}{value}", Paint::Faint.on(&format!("{name:<12}")));
        text
    })
}

fn coverage(status: &Status, style: &Style, wide: bool) -> String {
    if status.coverage.is_empty() {
        return "no interface here that a workload could send from\n".to_owned();
    }
    let mut head = vec!["INTERFACE", "KIND", "NETNS", "PEER", "ENDPOINT", "COVERAGE", "WHY"];
    if wide {
        head.insert(1, "INDEX");
    }
    let mut table = Table::new(style, &head).whole(if wide { &[0, 2, 5, 6] } else { &[0, 1, 4, 5] });
    for row in &status.coverage {
        let mut cells = vec![
            clean(&row.interface),
            clean(&row.kind),
            clean(row.netns.as_deref().unwrap_or_default()),
            clean(row.peer.as_deref().unwrap_or_default()),
            clean(row.endpoint.as_deref().unwrap_or_default()),
            paint(row.coverage).on(&word(&row.coverage)),
            clean(&row.reason),
        ];
        if wide {
            cells.insert(1, row.index.to_string());
        }
        table.row(cells);
    }
    table.render()
}

fn paint(coverage: Coverage) -> Paint {
    match coverage {
        Coverage::Protected => Paint::Good,
        Coverage::Audited | Coverage::Unbound => Paint::Doubtful,
        Coverage::Bypassed | Coverage::NotProtectable => Paint::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn the_whole_picture() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let text = show(&fixture::status(), now, &Style::default(), false);
        let expected = "\
agent       0.1.0 running, pid 4711, up 3h 5m
kernel      6.18.0, attached by tcx
endpoints   2 of 4096: 1 active, 1 quarantined
unbound     allow (interfaces without a binding may send anything)
allowed     120 packets, 11 KiB
dropped     15 packets, 900 B (spoofed-ipv4 12, spoofed-mac 3)
repairs     1 since the agent started
warning     veth9 has no binding

INTERFACE  KIND     NETNS  PEER                    ENDPOINT  COVERAGE         WHY
veth1      veth     -      eth0 in /run/netns/web  web-1     protected        bound, first on the hook
mv0        macvlan  -      -                       -         not-protectable  leaves by its parent, past any hook of the host
";
        assert_eq!(text, expected);
        assert!(show(&fixture::status(), now, &Style::default(), true).contains("/sys/fs/bpf/portcullis"));
    }
}
