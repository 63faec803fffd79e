//! Our entry in a list of plugins.

use std::path::PathBuf;

use serde_json::value::RawValue;

use super::document::members;
use crate::PLUGIN_TYPE;
use crate::config::OnAgentDown;

/// What the entry is to say; what is not given stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What becomes of a container while the agent is away: `fail` or `pass`.
    pub on_agent_down: Option<OnAgentDown>,
    /// The agent's socket.
    pub socket: Option<PathBuf>,
}

/// How the texts around it are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Before each member: blanks, or a line's end and blanks.
    pub(super) before_member: String,
    /// Before the closing brace.
    pub(super) before_end: String,
    /// Between key and value, and after the comma of one line.
    pub(super) blank: &'static str,
}

impl Layout {
    /// The layout of a neighbour, which is a JSON object.
    pub(super) fn of(neighbour: &str) -> Self {
        let body = neighbour.strip_prefix('{').unwrap_or(neighbour);
        let first = body.len() - body.trim_start().len();
        let body_end = body.strip_suffix('}').unwrap_or(body);
        let last = body_end.trim_end().len();
        let blank = if neighbour.contains("\": ") || !neighbour.contains("\":") { " " } else { "" };
        Self { before_member: body[..first].to_owned(), before_end: body_end[last..].to_owned(), blank }
    }

    fn write(&self, members: &[(String, String)]) -> String {
        let multiline = self.before_member.contains('\n');
        let mut text = String::from("{");
        for (position, (key, value)) in members.iter().enumerate() {
            match position {
                0 => text.push_str(&self.before_member),
                _ if multiline => {
                    text.push(',');
                    text.push_str(&self.before_member);
                }
                _ => {
                    text.push(',');
                    text.push_str(self.blank);
                }
            }
            text.push_str(&quoted(key));
            text.push(':');
            text.push_str(self.blank);
            text.push_str(value);
        }
        text.push_str(&self.before_end);
        text.push('}');
        text
    }
}

/// A new entry.
pub(super) fn new(settings: &Settings, layout: &Layout) -> String {
    let mut members = vec![("type".to_owned(), quoted(PLUGIN_TYPE))];
    let settings = Settings {
        on_agent_down: settings.on_agent_down.or(Some(OnAgentDown::default())),
        ..settings.clone()
    };
    set(&mut members, &settings);
    layout.write(&members)
}

/// An entry that is there, with settings changed; none: it says all that already.
pub(super) fn changed(entry: &RawValue, settings: &Settings) -> Option<String> {
    let mut present: Vec<(String, String)> =
        members(entry.get()).ok()?.into_iter().map(|(key, value)| (key, value.get().to_owned())).collect();
    let before = present.clone();
    set(&mut present, settings);
    (present != before).then(|| Layout::of(entry.get()).write(&present))
}

fn set(members: &mut Vec<(String, String)>, settings: &Settings) {
    let on_agent_down = settings.on_agent_down.map(|choice| match choice {
        OnAgentDown::Fail => quoted("fail"),
        OnAgentDown::Pass => quoted("pass"),
    });
    let socket = settings.socket.as_ref().map(|socket| quoted(&socket.to_string_lossy()));
    for (key, value) in [("onAgentDown", on_agent_down), ("socket", socket)] {
        let Some(value) = value else { continue };
        match members.iter_mut().find(|(present, _)| present == key) {
            Some((_, present)) => *present = value,
            None => members.push((key.to_owned(), value)),
        }
    }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
