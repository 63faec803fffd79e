//! Endpoints.

use std::fmt::Write as _;

use jiff::Timestamp;
use portcullis_policy::api::{Count, Endpoint, EndpointState, Interface};
use portcullis_policy::guard::{Answer, Response};
use portcullis_policy::model::{Mode, Permission, Workload};
use serde::Serialize;

use super::units::since as age;
use super::{Paint, Style, Table, bytes, clean};

/// The word that serde has for a plain enum.
pub fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// All endpoints, a row each.
pub fn list(endpoints: &[Endpoint], now: Timestamp, style: &Style, wide: bool) -> String {
    match (endpoints.is_empty(), wide) {
        (true, _) => {
            "no endpoints; bind one: portcullis endpoint bind NAME --interface IF --address IP\n".into()
        }
        (false, true) => wide_list(endpoints, now, &style.unwrapped()),
        (false, false) => narrow_list(endpoints, style),
    }
}

fn narrow_list(endpoints: &[Endpoint], style: &Style) -> String {
    let head = ["NAME", "INTERFACE", "MODE", "STATE", "ADDRESSES", "ALLOWED", "DROPPED"];
    // `stats` shows the counts too.
    let mut table = Table::new(style, &head).name(0).optional(&[5, 6]).right(&[5, 6]);
    for endpoint in endpoints {
        table.row([
            clean(&endpoint.name),
            at(&endpoint.interface),
            mode(endpoint.mode),
            state_and_conflict(endpoint),
            words(&endpoint.addresses),
            endpoint.counters.allowed.packets.to_string(),
            dropped(endpoint.counters.dropped.packets),
        ]);
    }
    table.render()
}

fn wide_list(endpoints: &[Endpoint], now: Timestamp, style: &Style) -> String {
    let head = [
        "NAME",
        "INTERFACE",
        "MODE",
        "STATE",
        "ADDRESSES",
        "MACS",
        "ALLOWED",
        "DROPPED",
        "AUDITED",
        "ATTEMPTS",
        "RUNTIME",
        "WORKLOAD",
        "IMAGE",
        "NETWORK",
        "INSIDE",
        "DIRECTION",
        "ALLOW",
        "SOURCES",
        "POLICIES",
        "AGE",
        "ID",
        "LABELS",
    ];
    let mut table = Table::new(style, &head).right(&[6, 7, 8, 9]);
    for endpoint in endpoints {
        let (workload, counters) = (&endpoint.workload, &endpoint.counters);
        table.row([
            clean(&endpoint.name),
            at(&endpoint.interface),
            mode(endpoint.mode),
            state_and_conflict(endpoint),
            words(&endpoint.addresses),
            words(&endpoint.macs),
            counters.allowed.packets.to_string(),
            dropped(counters.dropped.packets),
            counters.audited.packets.to_string(),
            dropped(endpoint.attempts),
            optional(&workload.runtime),
            optional(&called(workload)),
            optional(&workload.image),
            optional(&endpoint.network),
            optional(&endpoint.inside),
            word(&endpoint.direction),
            permissions(&endpoint.allow),
            sources(endpoint),
            words(&endpoint.policies),
            age(&endpoint.since, now),
            clean(&endpoint.id),
            labels(workload),
        ]);
    }
    table.render()
}

/// Everything about one endpoint, a line each.
pub fn show(endpoint: &Endpoint, now: Timestamp, style: &Style) -> String {
    let workload = &endpoint.workload;
    let vlans: Vec<_> = endpoint.vlans.iter().map(ToString::to_string).collect();
    let state = match &endpoint.message {
        Some(message) => format!("{}: {}", state(endpoint.state), clean(message)),
        None => state(endpoint.state),
    };
    let index = endpoint.interface.index.map_or_else(String::new, |index| format!(" (index {index})"));
    let mut lines = vec![
        ("name", clean(&endpoint.name)),
        ("id", clean(&endpoint.id)),
        ("state", state),
        ("mode", mode(endpoint.mode)),
        ("interface", at(&endpoint.interface) + &index),
        ("inside", optional(&endpoint.inside)),
        ("network", optional(&endpoint.network)),
        ("direction", word(&endpoint.direction)),
        ("addresses", clean(&endpoint.addresses.join(", "))),
        ("macs", clean(&endpoint.macs.join(", "))),
        ("learned", clean(&endpoint.learned.join(", "))),
        ("allow", permissions(&endpoint.allow)),
        ("vlans", vlans.join(", ")),
        ("ethertypes", clean(&endpoint.ethertypes.join(", "))),
        ("runtime", optional(&workload.runtime)),
        ("container", optional(&workload.container)),
        ("called", optional(&workload.name)),
        ("image", optional(&workload.image)),
        ("pod", optional(&workload.pod)),
        ("namespace", optional(&workload.namespace)),
        ("uid", optional(&workload.uid)),
        ("labels", labels(workload)),
        ("owner", word(&endpoint.owner)),
        ("sources", sources(endpoint)),
    ];
    lines.extend(endpoint.conflicts.iter().map(|text| ("conflict", Paint::Doubtful.on(&clean(text)))));
    lines.extend([
        ("policies", clean(&endpoint.policies.join(", "))),
        ("answer", answer(&endpoint.answer)),
        ("since", format!("{} ({})", clean(&endpoint.since), age(&endpoint.since, now))),
    ]);
    lines.extend(counts(endpoint));
    let mut text = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}{value}", Paint::Faint.on(&format!("{name:<12}")));
    }
    Paint::resolve(&text, style)
}

fn counts(endpoint: &Endpoint) -> [(&'static str, String); 6] {
    let counters = &endpoint.counters;
    let count = |c: &Count| format!("{} packets, {}", c.packets, bytes(c.bytes));
    let unless_zero = |count: u64| if count == 0 { String::new() } else { count.to_string() };
    [
        ("allowed", count(&counters.allowed)),
        ("dropped", count(&counters.dropped)),
        ("audited", count(&counters.audited)),
        ("reasons", reasons(&counters.reasons)),
        ("unreported", unless_zero(counters.unreported)),
        ("attempts", format!("{} hostile", dropped(endpoint.attempts))),
    ]
}

/// `10 attempts in 1m -> quarantine, released after 10m`.
pub fn answer(answer: &Answer) -> String {
    let mut text = format!("{} attempts in {} -> {}", answer.attempts, answer.window, answer.response);
    if answer.response == Response::Terminate {
        let _ = write!(text, " ({})", answer.terminate);
    }
    if let (Some(after), true) = (answer.release_after, answer.response != Response::Report) {
        let _ = write!(text, ", released after {after}");
    }
    if answer.dry_run {
        text.push_str(", dry run");
    }
    text
}

/// The line after `endpoint bind`.
pub fn bound(endpoint: &Endpoint, created: bool) -> String {
    let done = if created { "bound" } else { "is bound" };
    let what = [endpoint.addresses.join(" "), endpoint.macs.join(" ")];
    let what: Vec<_> = what.iter().filter(|part| !part.is_empty()).map(|part| clean(part)).collect();
    let mut line = format!(
        "endpoint \"{}\" {done} to {} ({}; {}, {})",
        clean(&endpoint.name),
        at(&endpoint.interface),
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
pub fn at(interface: &Interface) -> String {
    match &interface.netns {
        Some(netns) => clean(&format!("{} in {netns}", interface.name)),
        None => clean(&interface.name),
    }
}

/// Words behind each other.
pub fn words(words: &[String]) -> String {
    clean(&words.join(" "))
}

/// `app=web,tier=front`.
pub fn labels(workload: &Workload) -> String {
    let labels: Vec<_> = workload.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    clean(&labels.join(","))
}

/// What people call a workload: a container's name, or a pod's.
fn called(workload: &Workload) -> Option<String> {
    match (&workload.pod, &workload.namespace) {
        (Some(pod), Some(namespace)) => Some(format!("{namespace}/{pod}")),
        (Some(pod), None) => Some(pod.clone()),
        (None, _) => workload.name.clone(),
    }
}

/// Everyone who describes it, the owner first.
fn sources(endpoint: &Endpoint) -> String {
    let owner = std::slice::from_ref(&endpoint.owner);
    let sources = if endpoint.sources.is_empty() { owner } else { &endpoint.sources };
    sources.iter().map(|source| source.name()).collect::<Vec<_>>().join(" ")
}

fn optional(text: &Option<String>) -> String {
    clean(text.as_deref().unwrap_or_default())
}

fn state_and_conflict(endpoint: &Endpoint) -> String {
    let state = state(endpoint.state);
    if endpoint.conflicts.is_empty() { state } else { state + &Paint::Doubtful.on(" conflict") }
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
mod tests;
