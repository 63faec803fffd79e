//! The map as a graph for Graphviz: networks around the interfaces in them, containers outside.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use portcullis_policy::api::{ContainerMap, MapRow, MapState};

use super::super::clean;
use super::group::{Group, groups};

const HEAD: &str = "\
graph portcullis {
  rankdir=LR; compound=true;
  node [fontname=\"sans-serif\", fontsize=10]; edge [fontname=\"sans-serif\", fontsize=9];
";

/// The graph, in Graphviz' language.
pub fn graph(map: &ContainerMap) -> String {
    let groups = groups(&map.rows);
    let mut text = HEAD.to_owned();
    let mut networks: BTreeMap<&str, Vec<(String, &MapRow)>> = BTreeMap::new();
    let mut edges = String::new();
    for (place, group) in groups.iter().enumerate() {
        container(&mut text, place, group);
        for (row_place, row) in group.rows.iter().enumerate() {
            if row.interface.is_none() && row.addresses.is_empty() {
                continue;
            }
            let id = format!("i{place}_{row_place}");
            // Writing to a string cannot fail.
            let inside = quoted(row.inside.as_deref().unwrap_or_default());
            let _ = writeln!(edges, "  c{place} -- {id} [label={inside}];");
            networks.entry(row.network.as_deref().unwrap_or_default()).or_default().push((id, row));
        }
    }
    for (place, (network, members)) in networks.iter().enumerate() {
        let named = !network.is_empty();
        if named {
            let label = quoted(network);
            let _ = writeln!(text, "  subgraph cluster_{place} {{\n    label={label}; style=rounded;");
        }
        for (id, row) in members {
            interface(&mut text, id, row);
        }
        if named {
            text.push_str("  }\n");
        }
    }
    text.push_str(&edges);
    text.push_str("}\n");
    text
}

fn container(text: &mut String, place: usize, group: &Group<'_>) {
    let worst = group.worst();
    let mut label = vec![group.name()];
    label.extend(group.rows.iter().find_map(|row| row.workload.image.clone()));
    if worst != MapState::Bound {
        label.push(worst.name().to_owned());
    }
    let _ = writeln!(
        text,
        "  c{place} [shape=box, style=\"rounded,filled\", fillcolor={}, label={}];",
        colour(worst),
        quoted(&label.join("\n")),
    );
}

fn interface(text: &mut String, id: &str, row: &MapRow) {
    let host = super::interface(row);
    let host = (!host.is_empty()).then_some(host);
    let label: Vec<_> = host.into_iter().chain(row.addresses.iter().cloned()).collect();
    let _ = writeln!(
        text,
        "    {id} [shape=plaintext, fontcolor={}, label={}];",
        if row.state == MapState::Bound { "black" } else { "red" },
        quoted(&label.join("\n")),
    );
}

fn colour(state: MapState) -> &'static str {
    match state {
        MapState::Bound | MapState::Shared => "palegreen",
        MapState::NoNetwork => "gray90",
        MapState::HostNetwork | MapState::NotProtectable => "khaki",
        MapState::Held | MapState::Orphan => "orange",
        MapState::Unbound | MapState::Quarantined => "tomato",
    }
}

/// A string of the language. Line ends stay; everything else that could end it or begin something is taken
/// literally: names are the workload's choice.
fn quoted(text: &str) -> String {
    let lines: Vec<_> =
        text.split('\n').map(|line| clean(line).replace('\\', "\\\\").replace('"', "\\\"")).collect();
    format!("\"{}\"", lines.join("\\n"))
}
