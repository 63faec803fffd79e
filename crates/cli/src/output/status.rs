//! The agent as a whole.

mod sources;

use std::fmt::Write as _;

use jiff::Timestamp;
use portcullis_policy::api::{Coverage, Status};
use portcullis_policy::model::UnboundPolicy;

use super::endpoint::{reasons, word};
use super::{Paint, Style, Table, bytes, clean, units};

/// Head, warnings, sources, and the coverage of every interface.
pub fn show(status: &Status, now: Timestamp, style: &Style, wide: bool) -> String {
    let mut text = head(status, now, wide);
    for warning in &status.warnings {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}{}", Paint::Doubtful.on("warning     "), clean(warning));
    }
    let mut text = Paint::resolve(&text, style);
    text.push('\n');
    if !status.sources.is_empty() {
        text.push_str(&sources::table(&status.sources, now, style, wide));
        text.push('\n');
    }
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
    if status.sources.is_empty() {
        lines.push(("sources", "none: containers are bound by hand".to_owned()));
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
    let head = ["INTERFACE", "INDEX", "KIND", "NETNS", "PEER", "ENDPOINT", "COVERAGE", "WHY"];
    let head =
        if wide { &head[..] } else { &[head[0], head[2], head[3], head[4], head[5], head[6], head[7]] };
    let style = if wide { style.unwrapped() } else { *style };
    // Of those left out on a narrow terminal, `-o wide` and the endpoint tell.
    let mut table = Table::new(&style, head).name(4).whole(&[0, 1, 5]).optional(&[3, 1, 2]);
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
sources     none: containers are bound by hand
repairs     1 since the agent started
warning     veth9 has no binding

INTERFACE  KIND     NETNS  PEER                    ENDPOINT  COVERAGE         WHY
veth1      veth     -      eth0 in /run/netns/web  web-1     protected        bound, first on the hook
mv0        macvlan  -      -                       -         not-protectable  leaves by its parent, past any hook of the host
";
        assert_eq!(text, expected);
        assert!(show(&fixture::status(), now, &Style::default(), true).contains("/sys/fs/bpf/portcullis"));
    }

    #[test]
    fn sources_stand_between_the_head_and_the_interfaces() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let mut status = fixture::status();
        status.sources = fixture::containers::sources();
        let text = show(&status, now, &Style::default(), false);
        let expected = "
SOURCE  STATE      SINCE   CONTAINERS  RESYNCS  MESSAGE
docker  connected  3h 5m           12        1  -
podman  FAILING    2m 10s           3        7  /run/podman/podman.sock has not answered for 5 s
cri     connected  3h 5m            5        1  -
cni     connected  3h 5m            5        0  -

INTERFACE";
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("by hand"), "{text}");
        assert!(show(&status, now, &Style::default(), true).contains("/run/containerd/containerd.sock"));
    }

    #[test]
    fn a_full_host_fits_its_terminal() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let mut status = fixture::status();
        status.sources = fixture::containers::sources();
        status.coverage = fixture::containers::coverage();
        status.warnings.clear();
        for columns in [80, 100, 120] {
            let text = show(&status, now, &Style { colour: false, size: Some((columns, 50)) }, false);
            let table = text.lines().skip_while(|line| !line.starts_with("SOURCE"));
            assert!(table.clone().all(|line| line.chars().count() <= usize::from(columns)), "{text}");
        }
    }
}
