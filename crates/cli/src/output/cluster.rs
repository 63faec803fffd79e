//! A whole cluster, as a hub tells of it.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use portcullis_policy::api::{
    ClusterEndpoints, ClusterMap, ClusterPolicy, Endpoint, Event, HubStatus, MapState, NodeEvent, NodeState,
    NodeStatus, OfNode,
};

use super::endpoint::word;
use super::map::group::{LOUDEST_LAST, is_trouble};
use super::units::{clock, since};
use super::{Paint, Style, Table, action, clean, drops};

/// Notes under a table; who has more troubles asks for `-o wide`.
const MOST_NOTES: usize = 20;

/// Every attachment, troubles first, then why, then the whole in one line.
pub fn map(map: &ClusterMap, style: &Style, wide: bool) -> String {
    let loud = |state: MapState| LOUDEST_LAST.iter().position(|other| *other == state).unwrap_or_default();
    let mut rows: Vec<&OfNode<portcullis_policy::api::MapRow>> = map.rows.iter().collect();
    rows.sort_by_cached_key(|row| {
        let loudness = if is_trouble(row.of.state) { loud(row.of.state) } else { 0 };
        (std::cmp::Reverse(loudness), row.node.clone(), title(&row.of))
    });
    let head = ["NODE", "POD", "STATE", "INTERFACE", "ADDRESSES", "MACS", "CONTAINER", "MESSAGE"];
    let style = if wide { style.unwrapped() } else { *style };
    let mut table =
        Table::new(&style, if wide { &head } else { &head[..5] }).name(1).whole(&[2]).optional(&[3]);
    let mut notes = Vec::new();
    for row in &rows {
        let of = &row.of;
        let mut cells = vec![
            clean(&row.node),
            clean(&title(of)),
            state(of.state),
            of.interface.as_ref().map(|interface| clean(&interface.name)).unwrap_or_default(),
            clean(&of.addresses.join(" ")),
        ];
        if wide {
            cells.push(clean(&of.macs.join(" ")));
            cells.push(clean(of.workload.container.as_deref().unwrap_or_default()));
            cells.push(clean(of.message.as_deref().unwrap_or_default()));
        } else if let Some(message) = &of.message {
            notes.push(format!("{} on {}: {}", clean(&title(of)), clean(&row.node), clean(message)));
        }
        table.row(cells);
    }
    let mut text = if rows.is_empty() { String::new() } else { table.render() + "\n" };
    below(&mut text, notes);
    text.push_str(&gaps(&map.nodes, &style));
    let mut states: Vec<String> = Vec::new();
    for wanted in LOUDEST_LAST {
        let count = rows.iter().filter(|row| row.of.state == wanted).count();
        if count > 0 {
            states.push(format!("{count} {}", wanted.name()));
        }
    }
    let nodes = count(map.nodes.len(), "node", "nodes");
    let whole = if states.is_empty() { "nothing of this is there".to_owned() } else { states.join(", ") };
    _ = writeln!(text, "{nodes}: {whole}");
    text
}

fn title(row: &portcullis_policy::api::MapRow) -> String {
    let interface = || row.interface.as_ref().map(|interface| format!("({})", interface.name));
    row.container.clone().or_else(|| row.endpoint.clone()).or_else(interface).unwrap_or_default()
}

fn state(state: MapState) -> String {
    match state {
        MapState::Bound | MapState::Shared => Paint::Good.on(state.name()),
        MapState::NoNetwork | MapState::HostNetwork | MapState::NotProtectable => state.name().to_owned(),
        MapState::Quarantined | MapState::Held => Paint::Doubtful.on(&state.name().to_uppercase()),
        MapState::Orphan | MapState::Unbound => Paint::Bad.on(&state.name().to_uppercase()),
    }
}

/// Every endpoint with its counters.
pub fn endpoints(all: &ClusterEndpoints, style: &Style, wide: bool) -> String {
    let head =
        ["NODE", "NAME", "MODE", "STATE", "ADDRESSES", "ALLOWED", "DROPPED", "ATTEMPTS", "POLICIES", "ID"];
    let style = if wide { style.unwrapped() } else { *style };
    let head = if wide { &head[..] } else { &head[..8] };
    let mut table = Table::new(&style, head).name(1).whole(&[2, 3]).optional(&[4, 5]).right(&[5, 6, 7]);
    for OfNode { node, of } in &all.endpoints {
        let bad = |count: u64| {
            if count > 0 { Paint::Bad.on(&count.to_string()) } else { count.to_string() }
        };
        let mut cells = vec![
            clean(node),
            clean(&of.name),
            of.mode.name().to_owned(),
            word(&of.state),
            clean(&of.addresses.join(" ")),
            of.counters.allowed.packets.to_string(),
            bad(of.counters.dropped.packets),
            bad(of.attempts),
        ];
        if wide {
            cells.push(clean(&of.policies.join(" ")));
            cells.push(clean(&of.id));
        }
        table.row(cells);
    }
    let mut text = if all.endpoints.is_empty() { "no endpoints\n".to_owned() } else { table.render() };
    let gaps = gaps(&all.nodes, &style);
    if !gaps.is_empty() {
        text.push('\n');
        text.push_str(&gaps);
    }
    text
}

/// Every node.
pub fn nodes(nodes: &[NodeStatus], now: Timestamp, style: &Style, wide: bool) -> String {
    if nodes.is_empty() {
        return "no node is known: is the hub's right to list nodes missing? (kubectl portcullis status)\n"
            .to_owned();
    }
    let style = if wide { style.unwrapped() } else { *style };
    let head = ["NODE", "STATE", "SINCE", "VERSION", "ENDPOINTS", "QUARANTINED", "PUBLISHED", "MESSAGE"];
    let mut table = Table::new(&style, &head).name(0).whole(&[1]).optional(&[6, 2]).right(&[4, 5]);
    for node in nodes {
        let age = |time: &Option<String>| time.as_deref().map(|time| since(time, now)).unwrap_or_default();
        table.row([
            clean(&node.node),
            node_state(node.state),
            age(&node.since),
            clean(node.version.as_deref().unwrap_or_default()),
            node.endpoints.to_string(),
            node.quarantined.to_string(),
            age(&node.published),
            clean(node.message.as_deref().unwrap_or_default()),
        ]);
    }
    table.render()
}

fn node_state(state: NodeState) -> String {
    match state {
        NodeState::Present => Paint::Good.on("present"),
        NodeState::Away => Paint::Bad.on("AWAY"),
        NodeState::Missing => Paint::Doubtful.on("MISSING"),
    }
}

/// The hub, its policies, and what needs a look.
pub fn status(
    hub: &HubStatus,
    policies: &[ClusterPolicy],
    now: Timestamp,
    style: &Style,
    wide: bool,
) -> String {
    let leads = match (&hub.holder, hub.leader) {
        (_, true) => "leads".to_owned(),
        (Some(holder), false) => format!("follows {}", clean(holder)),
        (None, false) => {
            Paint::Doubtful.on("nobody leads: no pod is ended, and no policy's status is written")
        }
    };
    let nodes = &hub.nodes;
    let mut told = format!("{}: {} present", nodes.total, nodes.present);
    for (count, name) in [(nodes.away, "away"), (nodes.missing, "without an agent")] {
        if count > 0 {
            _ = write!(told, ", {}", Paint::Doubtful.on(&format!("{count} {name}")));
        }
    }
    let dry = if hub.dry_run { " (dry run: nothing is ended)" } else { "" };
    let mut lines = vec![
        (
            "hub",
            format!("{} {}, up {}, {leads}", clean(&hub.pod), clean(&hub.version), since(&hub.started, now)),
        ),
        ("nodes", told),
        ("endpoints", format!("{}, {} in quarantine", hub.endpoints, hub.quarantined)),
        (
            "ended",
            format!("{} by this hub, at most {} a minute{dry}", hub.terminated, hub.terminations_per_minute),
        ),
    ];
    for warning in &hub.warnings {
        lines.push(("warning", Paint::Doubtful.on(&clean(warning))));
    }
    let mut text = String::new();
    for (name, value) in &lines {
        _ = writeln!(text, "{}{value}", Paint::Faint.on(&format!("{name:<11}")));
    }
    let mut text = Paint::resolve(&text, style);
    text.push('\n');
    text.push_str(&policy_table(policies, style, wide));
    if !hub.offenders.is_empty() {
        text.push('\n');
        text.push_str(&offender_table(hub, now, style));
    }
    text
}

fn policy_table(policies: &[ClusterPolicy], style: &Style, wide: bool) -> String {
    if policies.is_empty() {
        return "no GatePolicy: what the agents' own configuration says holds\n".to_owned();
    }
    let style = if wide { style.unwrapped() } else { *style };
    let head = ["POLICY", "PRIORITY", "MODE", "RESPONSE", "PODS", "NODES", "ENDED", "MESSAGE"];
    let mut table = Table::new(&style, &head).name(0).optional(&[1, 5]).right(&[1, 4, 5, 6]);
    for policy in policies {
        let dry = if policy.dry_run { " (dry run)" } else { "" };
        let response = policy.response.map(|response| format!("{response}{dry}")).unwrap_or_default();
        let mut message = clean(&policy.warnings.join("; "));
        if !policy.accepted {
            message = Paint::Bad.on(&format!("REFUSED: {message}"));
        }
        table.row([
            clean(&policy.name),
            policy.priority.to_string(),
            policy.mode.map(|mode| mode.to_string()).unwrap_or_default(),
            response,
            policy.pods.to_string(),
            policy.nodes.to_string(),
            policy.terminated.to_string(),
            message,
        ]);
    }
    table.render()
}

fn offender_table(hub: &HubStatus, now: Timestamp, style: &Style) -> String {
    let mut table = Table::new(style, &["OFFENDER", "NODE", "FOR", "WHY IT IS NOT ENDED"]).name(0);
    for offender in &hub.offenders {
        let why = match (&offender.message, hub.leader) {
            (Some(message), _) => clean(message),
            (None, true) => "it is about to be, or is ending".to_owned(),
            (None, false) => "the leader decides".to_owned(),
        };
        let name = format!("{}/{}", offender.namespace, offender.pod);
        table.row([clean(&name), clean(&offender.node), since(&offender.time, now), why]);
    }
    table.render()
}

/// One event, a line.
pub fn event(event: &NodeEvent, zone: &TimeZone, style: &Style, wide: bool) -> String {
    let node = Paint::resolve(&Paint::Faint.on(&format!("{:<12}  ", clean(&event.node))), style);
    let line = match &event.of {
        Event::Drop(drop) => drops::line(drop, zone, style, wide),
        Event::Action(done) => action::line(done, zone, style, wide),
        Event::Notice(notice) => {
            let time = Paint::resolve(&Paint::Faint.on(&clock(&notice.time, zone)), style);
            format!("{time}  {:<16}  {}\n", clean(&notice.topic), clean(&notice.message))
        }
    };
    format!("{node}{line}")
}

/// What a quarantine, or its end, came to.
pub fn quarantine(done: &OfNode<Endpoint>, quarantined: bool, style: &Style) -> String {
    let (name, node) = (clean(&done.of.name), clean(&done.node));
    let text = if quarantined {
        let what = Paint::Doubtful.on("in quarantine");
        format!("{name} on {node} is {what}: everything from and to it is dropped until it is released\n")
    } else {
        format!("{name} on {node} is released, and is {}\n", word(&done.of.state))
    };
    Paint::resolve(&text, style)
}

/// Nodes that are not heard: whoever reads the table must know what it lacks.
fn gaps(nodes: &[NodeStatus], style: &Style) -> String {
    let mut notes = Vec::new();
    for node in nodes {
        let why = clean(node.message.as_deref().unwrap_or_default());
        match node.state {
            NodeState::Present => {}
            NodeState::Away => notes.push(format!(
                "{}: what is shown of it may be old: {why}",
                Paint::Bad.on(&format!("{} is AWAY", clean(&node.node)))
            )),
            NodeState::Missing => notes
                .push(format!("{}: {why}", Paint::Doubtful.on(&format!("{} is MISSING", clean(&node.node))))),
        }
    }
    let mut text = String::new();
    below(&mut text, notes);
    Paint::resolve(&text, style)
}

fn below(text: &mut String, notes: Vec<String>) {
    let more = notes.len().saturating_sub(MOST_NOTES);
    for note in notes.iter().take(MOST_NOTES) {
        _ = writeln!(text, "{note}");
    }
    if more > 0 {
        _ = writeln!(text, "… and {more} more: -o wide shows all");
    }
}

fn count(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
