//! Drops, a line each.

use jiff::tz::TimeZone;
use portcullis_policy::api::{DropRecord, Sender};

use super::{Paint, Style, clean, units};

/// `time endpoint reason verdict summary sender`.
pub fn line(drop: &DropRecord, zone: &TimeZone, style: &Style, wide: bool) -> String {
    let paint = if drop.verdict == "dropped" { Paint::Bad } else { Paint::Doubtful };
    let mut parts = vec![
        Paint::Faint.on(&units::clock(&drop.time, zone)),
        format!("{:<16}", who(drop)),
        paint.on(&format!("{:<13}", clean(&drop.reason))),
        format!("{:<7}", clean(&drop.verdict)),
        clean(&drop.summary),
    ];
    if wide {
        parts.push(format!("({} bytes; bound: {})", drop.length, clean(&drop.bound.join(" "))));
    }
    if let Some(sender) = sender(&drop.sender) {
        parts.push(Paint::Faint.on(&sender));
    }
    Paint::resolve(&parts.join("  "), style) + "\n"
}

/// What a packet's comment says in a capture.
pub fn comment(drop: &DropRecord) -> String {
    let mut comment =
        format!("portcullis: {}, endpoint {}, {}", clean(&drop.reason), who(drop), clean(&drop.verdict));
    if !drop.bound.is_empty() {
        comment.push_str(&format!(", bound: {}", clean(&drop.bound.join(" "))));
    }
    if let Some(sender) = sender(&drop.sender) {
        comment.push_str(&format!(", sender: {}", &sender[1..sender.len() - 1]));
    }
    comment
}

/// The endpoint, or the interface of one that has none.
fn who(drop: &DropRecord) -> String {
    match (&drop.endpoint, &drop.interface) {
        (Some(endpoint), _) => clean(endpoint),
        (None, Some(interface)) => format!("({})", clean(interface)),
        (None, None) => format!("(ifindex {})", drop.ifindex),
    }
}

/// `[scapy 812]`, or the cgroup, or nothing.
fn sender(sender: &Sender) -> Option<String> {
    match (&sender.command, sender.pid, &sender.cgroup) {
        (Some(command), Some(pid), _) => Some(format!("[{} {pid}]", clean(command))),
        (None, Some(pid), _) => Some(format!("[pid {pid}]")),
        // The root of the tree says nothing about who it was.
        (_, None, Some(cgroup)) if cgroup != "/" => Some(format!("[{}]", clean(cgroup))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_line_names_the_claim_and_the_sender() {
        assert_eq!(
            line(&fixture::drop_record(), &TimeZone::UTC, &Style::default(), false),
            "10:00:00.123456  web-1             spoofed-ipv4   dropped  \
             IPv4 192.0.2.10 > 10.0.0.1 UDP 1 > 2  [scapy\u{fffd}[2J 812]\n"
        );
    }

    #[test]
    fn an_interface_without_a_binding_is_named_instead() {
        let mut drop = fixture::drop_record();
        drop.endpoint = None;
        drop.sender = Sender::default();
        assert_eq!(comment(&drop), "portcullis: spoofed-ipv4, endpoint (veth1), dropped, bound: 10.0.0.2");
    }
}
