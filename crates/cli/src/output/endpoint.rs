//! Endpoints.

use std::fmt::Write as _;

use portcullis_policy::api::{Endpoint, EndpointState};
use portcullis_policy::model::{Mode, Permission};
use serde::Serialize;

use super::{Paint, Style, Table, bytes, clean};

/// The word that serde has for a plain enum.
pub fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// All endpoints, a row each.
pub fn list(endpoints: &[Endpoint], style: &Style, wide: bool) -> String {
    if endpoints.is_empty() {
        return "no endpoints; bind one: portcullis endpoint bind NAME --interface IF --address IP\n".into();
    }
    let mut head = vec!["NAME", "INTERFACE", "MODE", "STATE", "ADDRESSES", "ALLOWED", "DROPPED"];
    if wide {
        head.extend(["AUDITED", "MACS", "DIRECTION", "ALLOW", "OWNER", "SINCE", "ID"]);
    }
    let mut table = Table::new(style, &head).whole(&[0, 2, 3]).right(if wide { &[5, 6, 7] } else { &[5, 6] });
    for endpoint in endpoints {
        let mut cells = vec![
            clean(&endpoint.name),
            interface(endpoint),
            mode(endpoint.mode),
            state(endpoint.state),
            clean(&endpoint.addresses.join(" ")),
            endpoint.counters.allowed.packets.to_string(),
            dropped(endpoint.counters.dropped.packets),
        ];
        if wide {
            cells.extend([
                endpoint.counters.audited.packets.to_string(),
                clean(&endpoint.macs.join(" ")),
                word(&endpoint.direction),
                permissions(&endpoint.allow),
                word(&endpoint.owner),
                clean(&endpoint.since),
                clean(&endpoint.id),
            ]);
        }
        table.row(cells);
    }
    table.render()
}

/// Everything about one endpoint, a line each.
pub fn show(endpoint: &Endpoint, style: &Style) -> String {
    let counters = &endpoint.counters;
    let count = |c: &portcullis_policy::api::Count| format!("{} packets, {}", c.packets, bytes(c.bytes));
    let labels: Vec<_> = endpoint.workload.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let workload = &endpoint.workload;
    let optional = |text: &Option<String>| clean(text.as_deref().unwrap_or_default());
    let vlans: Vec<_> = endpoint.vlans.iter().map(ToString::to_string).collect();
    let state = match &endpoint.message {
        Some(message) => format!("{}: {}", state(endpoint.state), clean(message)),
        None => state(endpoint.state),
    };
    let index = endpoint.interface.index.map_or_else(String::new, |index| format!(" (index {index})"));
    let lines = [
        ("name", clean(&endpoint.name)),
        ("id", clean(&endpoint.id)),
        ("state", state),
        ("mode", mode(endpoint.mode)),
        ("interface", interface(endpoint) + &index),
        ("direction", word(&endpoint.direction)),
        ("addresses", clean(&endpoint.addresses.join(", "))),
        ("macs", clean(&endpoint.macs.join(", "))),
        ("learned", clean(&endpoint.learned.join(", "))),
        ("allow", permissions(&endpoint.allow)),
        ("vlans", vlans.join(", ")),
        ("ethertypes", clean(&endpoint.ethertypes.join(", "))),
        ("runtime", optional(&workload.runtime)),
        ("container", optional(&workload.container)),
        ("pod", optional(&workload.pod)),
        ("namespace", optional(&workload.namespace)),
        ("labels", clean(&labels.join(", "))),
        ("owner", word(&endpoint.owner)),
        ("since", clean(&endpoint.since)),
        ("allowed", count(&counters.allowed)),
        ("dropped", count(&counters.dropped)),
        ("audited", count(&counters.audited)),
        ("reasons", reasons(&counters.reasons)),
        (
            "unreported",
            if counters.unreported == 0 { String::new() } else { counters.unreported.to_string() },
        ),
    ];
    let mut text = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}{value}", Paint::Faint.on(&format!("{name:<12}")));
    }
    Paint::resolve(&text, style)
}

/// The line after `endpoint bind`.
pub fn bound(endpoint: &Endpoint, created: bool) -> String {
    let done = if created { "bound" } else { "is bound" };
    let what = [endpoint.addresses.join(" "), endpoint.macs.join(" ")];
    let what: Vec<_> = what.iter().filter(|part| !part.is_empty()).map(|part| clean(part)).collect();
    let mut line = format!(
        "endpoint \"{}\" {done} to {} ({}; {}, {})",
        clean(&endpoint.name),
        interface(endpoint),
        what.join(", "),
        word(&endpoint.mode),
        word(&endpoint.state),
    );
    if let Some(message) = &endpoint.message {
        let _ = write!(line, ": {}", clean(message));
    }
    line
}

/// `veth1`, `eth0 in /run/netns/web`.
pub fn interface(endpoint: &Endpoint) -> String {
    match &endpoint.interface.netns {
        Some(netns) => clean(&format!("{} in {netns}", endpoint.interface.name)),
        None => clean(&endpoint.interface.name),
    }
}

/// `spoofed-ipv4 12, spoofed-mac 3`, the most frequent first.
pub fn reasons(reasons: &std::collections::BTreeMap<String, u64>) -> String {
    let mut reasons: Vec<_> = reasons.iter().filter(|(_, count)| **count > 0).collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    reasons.iter().map(|(name, count)| format!("{} {count}", clean(name))).collect::<Vec<_>>().join(", ")
}

/// A count that is better zero.
pub fn dropped(count: u64) -> String {
    if count == 0 { count.to_string() } else { Paint::Bad.on(&count.to_string()) }
}

fn permissions(allow: &[Permission]) -> String {
    allow.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn mode(mode: Mode) -> String {
    match mode {
        Mode::Enforce => word(&mode),
        Mode::Audit | Mode::Off => Paint::Doubtful.on(&word(&mode)),
    }
}

fn state(state: EndpointState) -> String {
    let paint = match state {
        EndpointState::Active => Paint::Good,
        EndpointState::Waiting => Paint::Doubtful,
        EndpointState::Quarantined | EndpointState::Bypassed | EndpointState::Failed => Paint::Bad,
    };
    paint.on(&word(&state))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_list_says_who_may_claim_what() {
        let text = list(&fixture::endpoints(), &Style::default(), false);
        let expected = "\
NAME   INTERFACE              MODE     STATE        ADDRESSES         ALLOWED  DROPPED
web-1  veth1                  enforce  active       10.0.0.2 fd00::2      120       15
db     eth0 in /run/netns/db  audit    quarantined  10.0.0.3                0        0
";
        assert_eq!(text, expected);
        assert!(list(&[], &Style::default(), false).contains("endpoint bind"));
        assert!(list(&fixture::endpoints(), &Style::default(), true).contains("02:42:0a:00:00:02"));
    }

    #[test]
    fn one_endpoint_is_shown_without_empty_lines() {
        let text = show(&fixture::endpoints()[0], &Style::default());
        assert!(text.contains("reasons     spoofed-ipv4 12, spoofed-mac 3\n"), "{text}");
        assert!(text.contains("allowed     120 packets, 11 KiB\n"), "{text}");
        assert!(!text.contains("vlans"), "{text}");
        assert!(!text.contains('\u{2064}') && !text.contains('\x1b'));
    }

    #[test]
    fn binding_answers_with_one_line() {
        let endpoints = fixture::endpoints();
        assert_eq!(
            bound(&endpoints[0], true),
            "endpoint \"web-1\" bound to veth1 (10.0.0.2 fd00::2, 02:42:0a:00:00:02; enforce, active)"
        );
    }
}
