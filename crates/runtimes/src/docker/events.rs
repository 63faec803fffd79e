//! The event stream: what concerns us of it, under the names that Docker and Podman give it.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::http::{Client, Lines, Result};
use super::ids;
use crate::source::Kind;

/// Docker sorts out the rest (`exec_…`, health checks), which can be ten times as much. Podman takes another
/// filter, and has less to say.
const FILTER: &str = concat!(
    "/events?filters=%7B%22type%22%3A%5B%22container%22%2C%22network%22%5D%2C%22event%22%3A%5B",
    "%22start%22%2C%22restart%22%2C%22die%22%2C%22destroy%22%2C%22rename%22%2C%22update%22%2C",
    "%22create%22%2C%22connect%22%2C%22disconnect%22%2C%22remove%22%5D%7D",
);
const WHAT: &str = "its events";

/// Something that concerns us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It runs now, or something that is shown of it has changed.
    Look { id: String },
    /// It stopped.
    Down { id: String, at: Option<Timestamp> },
    /// It was removed.
    Removed { id: String },
    /// It joined a network. While it is being started its interface is not in place yet.
    Joined { id: String, network: String },
    /// It left a network.
    Left { id: String },
    /// There are other networks.
    Networks,
    /// Something happened that only a list can tell.
    List,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "Type", default)]
    kind: Value,
    #[serde(rename = "Action", default)]
    action: Value,
    #[serde(rename = "Actor", default)]
    actor: Value,
    #[serde(rename = "timeNano", default)]
    time_ns: Value,
}

/// The stream of events, from now on.
pub(super) struct Events {
    lines: Lines,
    client: Client,
}

impl Events {
    pub(super) async fn open(client: &Client, kind: Kind) -> Result<Self> {
        let path = if kind == Kind::Docker { FILTER } else { "/events" };
        Ok(Self { lines: client.lines(WHAT, path).await?, client: client.clone() })
    }

    /// The next event that concerns us. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Event> {
        loop {
            let line = self.lines.next().await?;
            let line = serde_json::from_slice(&line).map_err(|source| self.client.nonsense(WHAT, source))?;
            if let Some(event) = read(&line) {
                return Ok(event);
            }
        }
    }
}

fn read(line: &Line) -> Option<Event> {
    let attribute = |name| line.actor.get("Attributes")?.get(name)?.as_str();
    let actor = line.actor.get("ID").and_then(Value::as_str).unwrap_or_default();
    let checked = |id: &str| ids::is_safe(id).then(|| id.to_owned());
    let at = || Timestamp::from_nanosecond(line.time_ns.as_i64()?.into()).ok();
    let event = match (line.kind.as_str()?, line.action.as_str()?) {
        ("container", "init" | "start" | "restart" | "rename" | "update") => {
            Event::Look { id: checked(actor)? }
        }
        ("container", "die" | "died") => Event::Down { id: checked(actor)?, at: at() },
        ("container", "destroy" | "remove") => Event::Removed { id: checked(actor)? },
        ("network", "connect") => match attribute("container").and_then(checked) {
            Some(id) => Event::Joined { id, network: checked(actor)? },
            None => Event::List,
        },
        ("network", "disconnect") => match attribute("container").and_then(checked) {
            Some(id) => Event::Left { id },
            None => Event::List,
        },
        ("network", "create" | "destroy" | "remove") => Event::Networks,
        _ => return None,
    };
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Option<Event> {
        read(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn what_docker_and_podman_say() {
        let id = || "3c82cb9617c0".to_owned();
        let docker = r#"{"status":"die","id":"3c82cb9617c0","Type":"container","Action":"die",
            "Actor":{"ID":"3c82cb9617c0","Attributes":{"image":"x"}},"time":1,"timeNano":1000000001}"#;
        let at = Some(Timestamp::new(1, 1).unwrap());
        assert_eq!(event(docker), Some(Event::Down { id: id(), at }));
        let podman = r#"{"Type":"container","Action":"init","Actor":{"ID":"3c82cb9617c0"}}"#;
        assert_eq!(event(podman), Some(Event::Look { id: id() }));
        let connect = r#"{"Type":"network","Action":"connect","Actor":{"ID":"aff2","Attributes":
            {"container":"3c82cb9617c0","name":"bridge","type":"bridge"}}}"#;
        assert_eq!(event(connect), Some(Event::Joined { id: id(), network: "aff2".into() }));
        let vague = r#"{"Type":"network","Action":"connect","Actor":{"ID":"aff2"}}"#;
        assert_eq!(event(vague), Some(Event::List));
    }

    #[test]
    fn what_does_not_concern_us_or_is_no_id_is_passed_over() {
        for text in [
            r#"{"Type":"container","Action":"exec_start: sh","Actor":{"ID":"3c82"}}"#,
            r#"{"Type":"container","Action":"start","Actor":{"ID":"../../x"}}"#,
            r#"{"Type":"image","Action":"pull","Actor":{"ID":"3c82"}}"#,
            r#"{"Type":7,"Action":null}"#,
            "{}",
        ] {
            assert_eq!(event(text), None, "{text}");
        }
    }
}
