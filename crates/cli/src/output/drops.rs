//! Drops, a line each.

use jiff::tz::TimeZone;
use portcullis_policy::api::{DropRecord, Sender};

use super::{Paint, Style, clean, units};

/// Characters of a name that are shown on a terminal.
const LONGEST_NAME: usize = 40;

/// `time endpoint reason verdict summary sender`.
pub fn line(drop: &DropRecord, zone: &TimeZone, style: &Style, wide: bool) -> String {
    let paint = if drop.verdict == "dropped" { Paint::Bad } else { Paint::Doubtful };
    let mut parts = vec![
        Paint::Faint.on(&units::clock(&drop.time, zone)),
        format!("{:<16}", shortened(who(drop), style)),
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

/// Names that would push the rest off the terminal lose their middle: their ends tell them apart. What is
/// read by programs stays whole.
fn shortened(name: String, style: &Style) -> String {
    let length = name.chars().count();
    if style.size.is_none() || length <= LONGEST_NAME {
        return name;
    }
    let begin: String = name.chars().take(LONGEST_NAME / 2).collect();
    let end: String = name.chars().skip(length - (LONGEST_NAME - LONGEST_NAME / 2 - 1)).collect();
    format!("{begin}…{end}")
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
    fn a_long_name_leaves_room_for_the_frame() {
        let mut drop = fixture::drop_record();
        drop.endpoint = Some(format!("shop/{}-x2x7k", "n".repeat(242)));
        let terminal = Style { colour: false, size: Some((80, 24)) };
        let text = line(&drop, &TimeZone::UTC, &terminal, false);
        assert!(text.contains("  shop/nnnnnnnnnnnnnnn…nnnnnnnnnnnnn-x2x7k  spoofed-ipv4"), "{text}");
        assert!(line(&drop, &TimeZone::UTC, &Style::default(), false).contains(&"n".repeat(242)));
        assert!(comment(&drop).contains(&"n".repeat(242)));
        drop.endpoint = Some("kube-system/coredns-5d78c9869d-abcde".into());
        assert!(line(&drop, &TimeZone::UTC, &terminal, false).contains("/coredns-5d78c9869d-abcde  spoofed"));
    }

    #[test]
    fn an_interface_without_a_binding_is_named_instead() {
        let mut drop = fixture::drop_record();
        drop.endpoint = None;
        drop.sender = Sender::default();
        assert_eq!(comment(&drop), "portcullis: spoofed-ipv4, endpoint (veth1), dropped, bound: 10.0.0.2");
    }
}
