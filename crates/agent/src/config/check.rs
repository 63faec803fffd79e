//! What the types alone do not say: ranges, and settings that need one another.

use std::collections::HashSet;

use portcullis_policy::guard::Policies;
use portcullis_policy::model::Mode;

use super::{Config, Sources};

/// Most events per second, events at once, and events kept: beyond these the agent would no longer
/// be the small process that it promises to be.
const MAX_EVENTS: u32 = 100_000;
/// Most endpoints that the tables are ever made for.
const MAX_ENDPOINTS: u32 = 1_000_000;
/// Milliseconds between two looks at the kernel's side: at least, at most.
const INTERVAL_MS: (u64, u64) = (50, 60_000);

/// Most terminations in a minute: whoever wants more wants no limit, and that is what it is there against.
const MAX_TERMINATIONS: u16 = 1000;

/// Longest name of an interface (IFNAMSIZ less its end).
const MAX_INTERFACE_NAME: usize = 15;

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct Rejection {
    /// The key, such as `events.burst`.
    pub key: String,
    /// Why, and what to write instead.
    pub why: String,
}

fn rejection(key: impl Into<String>, why: impl Into<String>) -> Rejection {
    Rejection { key: key.into(), why: why.into() }
}

impl Config {
    /// Whether the settings agree with one another. [`Config::load`] has asked; whoever changes
    /// settings afterwards (the command line does) asks again.
    pub fn check(&self) -> Result<(), Rejection> {
        self.check_paths()?;
        self.check_listen()?;
        self.check_exceptions()?;
        self.check_events()?;
        if self.limits.endpoints > MAX_ENDPOINTS {
            let why = format!("write at most {MAX_ENDPOINTS}, or 0 to have it chosen");
            return Err(rejection("limits.endpoints", why));
        }
        let (least, most) = INTERVAL_MS;
        if !(least..=most).contains(&self.reconcile.interval_ms) {
            return Err(rejection("reconcile.interval_ms", format!("write a number from {least} to {most}")));
        }
        self.check_answer()?;
        self.kubernetes.check().map_err(|(key, why)| rejection(key, why))?;
        self.check_sources()?;
        self.check_policies()?;
        self.check_names()
    }

    fn check_answer(&self) -> Result<(), Rejection> {
        let answer = &self.answer;
        if !(1..=10_000).contains(&answer.attempts) {
            return Err(rejection("answer.attempts", "write a number from 1 to 10000"));
        }
        if !(100..=86_400_000).contains(&answer.window.millis()) {
            return Err(rejection("answer.window", "write a length of time from 100ms to 1d"));
        }
        if answer.terminations_per_minute > MAX_TERMINATIONS {
            let why = format!("write a number from 0 (none are ended) to {MAX_TERMINATIONS}");
            return Err(rejection("answer.terminations_per_minute", why));
        }
        Ok(())
    }

    fn check_sources(&self) -> Result<(), Rejection> {
        if self.sources == Sources::None && !self.source_list.is_empty() {
            let why = "\"none\" contradicts the [[source]] sections: leave one of them out";
            return Err(rejection("sources", why));
        }
        let mut seen = HashSet::new();
        for (index, section) in self.source_list.iter().enumerate() {
            let socket = section.socket();
            let why = if !socket.is_absolute() {
                ("socket", "write the absolute path of a unix socket, such as /run/docker.sock".to_owned())
            } else if section.mode == Mode::Off {
                (
                    "mode",
                    "write \"enforce\" or \"audit\"; leave the section out where nothing is to be done"
                        .to_owned(),
                )
            } else if !seen.insert(socket.clone()) {
                ("kind", format!("{} is the socket of a source above: name each once", socket.display()))
            } else {
                continue;
            };
            return Err(rejection(format!("source[{index}].{}", why.0), why.1));
        }
        Ok(())
    }

    fn check_policies(&self) -> Result<(), Rejection> {
        let Err(errors) = Policies::new(self.policies.clone()) else { return Ok(()) };
        match errors.0.first() {
            Some(error) => {
                Err(rejection(format!("policy[{}].{}", error.index, error.key), error.mistake.to_string()))
            }
            None => Ok(()),
        }
    }

    fn check_paths(&self) -> Result<(), Rejection> {
        for (key, path) in [("socket", &self.socket), ("state_dir", &self.state_dir), ("bpffs", &self.bpffs)]
        {
            if path.as_os_str().is_empty() {
                return Err(rejection(
                    key,
                    "the path is empty: write one, or leave the key out for the default",
                ));
            }
        }
        Ok(())
    }

    fn check_listen(&self) -> Result<(), Rejection> {
        let Some(listen) = self.listen else { return Ok(()) };
        if !listen.ip().is_loopback() {
            let why = format!(
                "{listen} is not on loopback, and TCP is not encrypted here: write 127.0.0.1:PORT or [::1]:PORT"
            );
            return Err(rejection("listen", why));
        }
        if self.token_file.is_none() {
            let why = "the API on TCP needs a bearer token: name a file that holds one with token_file";
            return Err(rejection("listen", why));
        }
        Ok(())
    }

    /// A pattern that can match nothing would exempt nothing, in silence.
    fn check_exceptions(&self) -> Result<(), Rejection> {
        for (index, pattern) in self.unbound_except.iter().enumerate() {
            let name = pattern.strip_suffix('*').unwrap_or(pattern);
            let why = if pattern.is_empty() {
                "the name is empty: write an interface's name"
            } else if name.contains('*') {
                "a * stands at the end only, for any rest of the name"
            } else if name.len() > MAX_INTERFACE_NAME {
                "no interface has so long a name: write at most 15 characters"
            } else {
                continue;
            };
            return Err(rejection(format!("unbound_except[{index}]"), why));
        }
        Ok(())
    }

    fn check_events(&self) -> Result<(), Rejection> {
        let events = &self.events;
        let history = u32::try_from(events.history).unwrap_or(u32::MAX);
        for (key, value) in [("per_second", events.per_second), ("burst", events.burst), ("history", history)]
        {
            if value > MAX_EVENTS {
                return Err(rejection(
                    format!("events.{key}"),
                    format!("write a number from 0 to {MAX_EVENTS}"),
                ));
            }
        }
        if events.burst == 0 && events.per_second != 0 {
            let why = "with a burst of 0 no event is ever sent: write at least 1, or per_second = 0 if that is meant";
            return Err(rejection("events.burst", why));
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), Rejection> {
        let mut seen = HashSet::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if !seen.insert(endpoint.name.as_str()) {
                let why = format!("{:?} is the name of an endpoint above: give each its own", endpoint.name);
                return Err(rejection(format!("endpoint[{index}].name"), why));
            }
        }
        Ok(())
    }
}
