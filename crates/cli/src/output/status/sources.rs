//! Where containers are learned of.

use jiff::Timestamp;
use portcullis_policy::api::{SourceState, SourceStatus};

use super::super::units::since as age;
use super::super::{Paint, Style, Table, clean};

/// A row for each source. Those that do not answer are loud: what they told of may be out of date.
pub fn table(sources: &[SourceStatus], now: Timestamp, style: &Style, wide: bool) -> String {
    let mut head = vec!["SOURCE", "STATE", "SINCE", "CONTAINERS", "RESYNCS", "MESSAGE"];
    if wide {
        head.push("SOCKET");
    }
    let style = if wide { style.unwrapped() } else { *style };
    let mut table = Table::new(&style, &head).name(0).whole(&[1, 2, 3, 4]).right(&[3, 4]).optional(&[4]);
    for source in sources {
        let mut cells = vec![
            clean(&source.name),
            state(source.state),
            age(&source.since, now),
            source.containers.to_string(),
            source.resyncs.to_string(),
            clean(source.message.as_deref().unwrap_or_default()),
        ];
        if wide {
            cells.push(clean(source.socket.as_deref().unwrap_or_default()));
        }
        table.row(cells);
    }
    table.render()
}

fn state(state: SourceState) -> String {
    match state {
        SourceState::Connected => Paint::Good.on(state.name()),
        SourceState::Absent => Paint::Faint.on(state.name()),
        SourceState::Connecting => Paint::Doubtful.on(state.name()),
        SourceState::Failing => Paint::Bad.on(&state.name().to_uppercase()),
    }
}
