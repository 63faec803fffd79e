//! What was asked of the API server, second by second.

use std::collections::BTreeMap;
use std::time::Duration;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// Who asks.
    pub who: Who,
    /// `get`, `patch`, `watch`, ….
    pub verb: &'static str,
    /// `endpointmaps/status`, ….
    pub resource: &'static str,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// An agent.
    Agent,
    /// A hub.
    Hub,
}

impl Kind {
    /// Of an agent.
    #[must_use]
    pub const fn agent(verb: &'static str, resource: &'static str) -> Self {
        Self { who: Who::Agent, verb, resource }
    }

    /// Of a hub.
    #[must_use]
    pub const fn hub(verb: &'static str, resource: &'static str) -> Self {
        Self { who: Who::Hub, verb, resource }
    }

    /// For people.
    #[must_use]
    pub fn title(&self) -> String {
        let who = match self.who {
            Who::Agent => "agents",
            Who::Hub => "hubs",
        };
        format!("{who} {} {}", self.verb, self.resource)
    }
}

/// Bytes that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bytes {
    /// Written to etcd.
    Etcd,
    /// Sent to the API server.
    Received,
    /// Answered by the API server, but for watches.
    Answered,
    /// What both hubs hear by their watches.
    ToHubs,
    /// What all agents hear of policies by their watches.
    ToAgents,
    /// What they hear of their own pods, likewise.
    OfPods,
}

/// Numbers by second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series(Vec<u64>);

/// A series in three numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// The mean of all seconds.
    pub mean: f64,
    /// 99 of 100 seconds have at most this.
    pub p99: u64,
    /// The second with the most.
    pub peak: u64,
}

impl Series {
    fn add(&mut self, second: usize, count: u64) {
        if self.0.len() <= second {
            self.0.resize(second + 1, 0);
        }
        self.0[second] += count;
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The most of these seconds.
    #[must_use]
    pub fn peak_within(&self, from: usize, to: usize) -> u64 {
        self.0.iter().take(to).skip(from).copied().max().unwrap_or(0)
    }

    /// All of these seconds.
    #[must_use]
    pub fn within(&self, from: usize, to: usize) -> u64 {
        self.0.iter().take(to).skip(from).sum()
    }

    /// Of so many seconds.
    #[must_use]
    pub fn rate(&self, seconds: usize) -> Rate {
        let mut all: Vec<u64> = self.0.iter().copied().take(seconds).collect();
        all.resize(seconds.max(1), 0);
        all.sort_unstable();
        let mean = number(all.iter().sum()) / number(all.len() as u64);
        let p99 = all[(all.len() * 99 / 100).min(all.len() - 1)];
        Rate { mean, p99, peak: all.last().copied().unwrap_or(0) }
    }

    fn merge(&mut self, other: &Self) {
        for (second, count) in other.0.iter().enumerate() {
            self.add(second, *count);
        }
    }
}

/// A count as a fraction.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
pub const fn number(count: u64) -> f64 {
    count as f64
}

/// Everything that is counted, from the beginning of the measured time on.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    requests: BTreeMap<Kind, Series>,
    bytes: BTreeMap<Bytes, Series>,
    watch_events: Series,
    kubernetes_events: Series,
    failed: Series,
}

impl Ledger {
    /// A request that the API server answered. What happened before the measured time is not counted.
    pub fn request(&mut self, at: Option<Duration>, kind: Kind) {
        if let Some(second) = second(at) {
            self.requests.entry(kind).or_default().add(second, 1);
            if kind.resource == "events" {
                self.kubernetes_events.add(second, 1);
            }
        }
    }

    /// Bytes.
    pub fn bytes(&mut self, at: Option<Duration>, of: Bytes, bytes: u64) {
        if let Some(second) = second(at) {
            self.bytes.entry(of).or_default().add(second, bytes);
        }
    }

    /// Something that this many watchers heard.
    pub fn heard(&mut self, at: Option<Duration>, watchers: u64) {
        if let Some(second) = second(at) {
            self.watch_events.add(second, watchers);
        }
    }

    /// A request that nobody answered, or that was turned away.
    pub fn failed(&mut self, at: Option<Duration>) {
        if let Some(second) = second(at) {
            self.failed.add(second, 1);
        }
    }

    /// Adds what another one counted in the same time.
    pub fn merge(&mut self, other: &Self) {
        for (kind, series) in &other.requests {
            self.requests.entry(*kind).or_default().merge(series);
        }
        for (of, series) in &other.bytes {
            self.bytes.entry(*of).or_default().merge(series);
        }
        self.watch_events.merge(&other.watch_events);
        self.kubernetes_events.merge(&other.kubernetes_events);
        self.failed.merge(&other.failed);
    }

    /// Requests by kind.
    pub fn kinds(&self) -> impl Iterator<Item = (&Kind, &Series)> {
        self.requests.iter()
    }

    /// All requests of these kinds.
    #[must_use]
    pub fn requests(&self, wanted: impl Fn(&Kind) -> bool) -> Series {
        let mut all = Series::default();
        self.requests.iter().filter(|(kind, _)| wanted(kind)).for_each(|(_, series)| all.merge(series));
        all
    }

    /// Bytes of this kind.
    #[must_use]
    pub fn bytes_of(&self, of: Bytes) -> Series {
        self.bytes.get(&of).cloned().unwrap_or_default()
    }

    /// Events of watches, each counted as often as it was heard.
    #[must_use]
    pub const fn watch_events(&self) -> &Series {
        &self.watch_events
    }

    /// Writes of Kubernetes Events.
    #[must_use]
    pub const fn kubernetes_events(&self) -> &Series {
        &self.kubernetes_events
    }

    /// Requests that nobody answered.
    #[must_use]
    pub const fn failures(&self) -> &Series {
        &self.failed
    }
}

fn second(at: Option<Duration>) -> Option<usize> {
    usize::try_from(at?.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let mut series = Series::default();
        (0..100).for_each(|second| series.add(second, 1));
        series.add(7, 99);
        assert_eq!(series.rate(100), Rate { mean: 1.99, p99: 100, peak: 100 });
        assert_eq!(series.rate(200).mean, 0.995);
        assert_eq!(series.rate(200).p99, 1);
        assert_eq!((series.within(0, 10), series.peak_within(8, 20)), (109, 1));
        assert_eq!(Series::default().rate(10), Rate::default());
    }
}
