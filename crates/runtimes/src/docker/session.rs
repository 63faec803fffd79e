//! One connection to the runtime: from the first list to the moment when something breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use portcullis_inventory::{Change, Monitor, links};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::Wishes;
use super::answer::Listed;
use super::events::{Event, Events};
use super::http::{Client, Error, Result};
use super::ids;
use super::ledger::{Found, Ledger, Next};
use super::work::{Asker, Networks, Prepared, after, short};
use crate::resolve::HostSpaces;
use crate::source::{Kind, Report, SourceConfig};

/// Interfaces change several times when one comes; the list is asked for once.
const SETTLE: Duration = Duration::from_millis(5);
/// By then an event must have told of what a list says (Podman's take a quarter of a second).
const HEAR_BY: Duration = Duration::from_secs(2);

/// One container is looked at on request no oftener than this: a workload can make its interface change as
/// often as it likes, and an inspection costs the runtime a millisecond.
const WISH_EVERY: Duration = Duration::from_millis(100);
/// Wishes that are remembered.
const WISHES: usize = 4096;

/// How a session went.
pub(super) struct Outcome {
    pub(super) end: End,
    pub(super) was_connected: bool,
}

/// Why it ended.
pub(super) enum End {
    /// Everything is to be read anew.
    Anew,
    /// Nobody listens to the reports.
    Unheard,
    /// Something broke.
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Follows the runtime for as long as it can be followed.
pub(super) async fn run(config: &SourceConfig, reports: &mpsc::Sender<Report>, wishes: &Wishes) -> Outcome {
    let (mut session, events) = match Session::open(config, reports).await {
        Ok(opened) => opened,
        Err(error) => return Outcome { end: error.into(), was_connected: false },
    };
    // Everything is looked at now.
    wishes.take();
    match session.snapshot().await {
        Ok(()) => Outcome { end: session.follow(events, wishes).await, was_connected: true },
        Err(end) => Outcome { end, was_connected: false },
    }
}

struct Session<'a> {
    config: &'a SourceConfig,
    reports: &'a mpsc::Sender<Report>,
    asker: Asker,
    networks: Networks,
    ledger: Ledger,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    monitor: Option<Monitor>,
    /// Interfaces of the runtime's namespace. What becomes of one is its container's doing, as often as that
    /// likes; only that it comes or goes is the runtime's.
    interfaces: BTreeSet<u32>,
    wished: BTreeMap<String, Instant>,
    /// A list is under way; another is wanted after it.
    listing: Option<bool>,
    /// Likewise of networks.
    naming: Option<bool>,
    /// What a list said and no event yet.
    unheard: BTreeSet<String>,
}

/// Work that is done.
enum Done {
    Looked { id: String, found: Result<Found> },
    Prepared { id: String, start: u64, prepared: Result<Prepared> },
    Listed { list: Result<Vec<Listed>>, periodic: bool },
    Networks(Result<Networks>),
    HeardBy,
}

impl<'a> Session<'a> {
    async fn open(config: &'a SourceConfig, reports: &'a mpsc::Sender<Report>) -> Result<(Self, Events)> {
        let client = Client { socket: config.socket.clone() };
        let daemon = client.daemon().await?;
        let events = Events::open(&client, config.kind).await?;
        let hosts = Arc::new(HostSpaces::new(daemon)?);
        let monitor = match config.kind {
            Kind::Podman => Some(Monitor::new(hosts.runtime())?),
            _ => None,
        };
        // After the monitor: one that comes now is heard of.
        let interfaces = match monitor {
            Some(_) => links(hosts.runtime())?.into_iter().map(|link| link.index).collect(),
            None => BTreeSet::new(),
        };
        let asker = Asker::new(client, config.kind, hosts);
        let networks = asker.networks().await?;
        let session = Self {
            config,
            reports,
            asker,
            networks,
            ledger: Ledger::default(),
            work: FuturesUnordered::new(),
            monitor,
            interfaces,
            wished: BTreeMap::new(),
            listing: None,
            naming: None,
            unheard: BTreeSet::new(),
        };
        Ok((session, events))
    }

    /// Lists and looks at everything, and reports it as one.
    async fn snapshot(&mut self) -> Result<(), End> {
        let list = self.asker.list().await?;
        let looks: FuturesUnordered<_> = list
            .iter()
            .map(|listed| {
                let (asker, networks) = (self.asker.clone(), self.networks.clone());
                async move { (listed, asker.look(&listed.id, networks, false).await) }
            })
            .collect();
        let looked: Vec<_> = looks.collect().await;
        let mut containers = Vec::with_capacity(looked.len());
        for (listed, found) in looked {
            self.ledger.begin(&listed.id);
            let found = match found {
                Err(error @ Error::Connect { .. }) => return Err(error.into()),
                Err(error) => Found::Garbled(Box::new(self.asker.silent(listed, &error))),
                Ok(found) => found,
            };
            let Next { report, look } = self.ledger.looked(&listed.id, found);
            if let Some(Report::Changed(container)) = report {
                containers.push(*container);
            }
            if let Some(delay) = look {
                self.look(listed.id.clone(), delay);
            }
        }
        self.ledger.compare(list.iter().map(|listed| (listed.id.clone(), listed.fingerprint())));
        containers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let networks = self.networks.shown.to_vec();
        self.report(Some(Report::Snapshot { containers, networks })).await
    }

    async fn follow(&mut self, mut events: Events, wishes: &Wishes) -> End {
        let mut resync = ticks(self.config.resync);
        loop {
            let step = tokio::select! {
                event = events.next() => match event {
                    Ok(event) => self.heard(event).await,
                    Err(error) => return error.into(),
                },
                Some(done) = self.work.next() => self.done(done).await,
                changes = changes(&mut self.monitor) => {
                    self.interfaces(&changes);
                    Ok(())
                }
                wanted = wishes.next() => {
                    if wanted.everything {
                        return End::Anew;
                    }
                    wanted.containers.into_iter().for_each(|id| self.wish(id));
                    Ok(())
                }
                _ = resync.tick() => {
                    self.list(Duration::ZERO, true);
                    self.list_networks();
                    Ok(())
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn report(&mut self, report: Option<Report>) -> Result<(), End> {
        let Some(report) = report else { return Ok(()) };
        self.reports.send(report).await.map_err(|_| End::Unheard)
    }

    async fn heard(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Look { id } => {
                self.unheard.remove(&id);
                self.look(id, Duration::ZERO);
            }
            Event::Down { id, at } => {
                self.unheard.remove(&id);
                let (report, look) = self.ledger.down(&id, at);
                self.report(report).await?;
                if look {
                    self.look(id, Duration::ZERO);
                }
            }
            Event::Removed { id } => {
                self.unheard.remove(&id);
                let report = self.ledger.removed(&id);
                self.report(Some(report)).await?;
            }
            Event::Joined { id, network } => match self.ledger.joined(&id) {
                None => self.look(id, Duration::ZERO),
                Some(start) => self.prepare(id, network, start),
            },
            Event::Left { id } => {
                let (report, look) = self.ledger.left(&id);
                self.report(report).await?;
                if look {
                    self.look(id, Duration::ZERO);
                }
            }
            Event::Networks => self.list_networks(),
            Event::List => self.list(Duration::ZERO, false),
        }
        Ok(())
    }

    async fn done(&mut self, done: Done) -> Result<(), End> {
        match done {
            Done::Looked { id, found } => {
                let found = found.unwrap_or_else(|error| Found::Unclear(error.to_string()));
                let Next { report, look } = self.ledger.looked(&id, found);
                if let Some(delay) = look {
                    self.look(id, delay);
                }
                let news = report.is_some();
                self.report(report).await?;
                // Podman makes a bridge for its first container and removes it with its last.
                if news && self.asker.kind == Kind::Podman {
                    self.list_networks();
                }
            }
            Done::Prepared { id, start, prepared } => match prepared {
                Ok(Prepared::Expected(container, attachment)) => {
                    let report = self.ledger.expect(start, *container, attachment);
                    self.report(report).await?;
                }
                Ok(Prepared::Runs) => self.look(id, Duration::ZERO),
                // The event of its start follows.
                Ok(Prepared::Nothing) => {}
                Err(error) => tracing::debug!(container = short(&id), %error, "nothing to expect"),
            },
            Done::Listed { list, periodic } => {
                self.listed(list?, periodic);
                if self.listing.take() == Some(true) {
                    self.list(SETTLE, false);
                }
            }
            Done::Networks(networks) => {
                let networks = networks?;
                let news = networks.shown != self.networks.shown;
                self.networks = networks;
                let shown = news.then(|| Report::Networks(self.networks.shown.to_vec()));
                if self.naming.take() == Some(true) {
                    self.list_networks();
                }
                self.report(shown).await?;
            }
            Done::HeardBy if self.unheard.is_empty() => {}
            Done::HeardBy => return Err(Error::Lost { socket: self.config.socket.clone() }.into()),
        }
        Ok(())
    }

    fn listed(&mut self, list: Vec<Listed>, periodic: bool) {
        let list = list.iter().map(|listed| (listed.id.clone(), listed.fingerprint()));
        let compared = self.ledger.compare(list);
        for id in compared.look {
            self.look(id, Duration::ZERO);
        }
        if periodic && !compared.unheard.is_empty() {
            self.unheard = compared.unheard.into_iter().collect();
            self.work.push(Box::pin(async {
                after(HEAR_BY).await;
                Done::HeardBy
            }));
        }
    }

    fn interfaces(&mut self, changes: &[Change]) {
        let netns = self.asker.hosts.runtime().id.0;
        for change in changes {
            match change {
                Change::LinkGone { index, .. } => {
                    self.interfaces.remove(index);
                    for id in self.ledger.at(netns, *index) {
                        self.look(id, Duration::ZERO);
                    }
                    self.list(SETTLE, false);
                }
                Change::LinkChanged { index, .. } if self.interfaces.insert(*index) => {
                    self.list(SETTLE, false)
                }
                Change::Overrun => self.list(SETTLE, false),
                _ => {}
            }
        }
    }

    fn wish(&mut self, id: String) {
        if !ids::is_safe(&id) {
            return;
        }
        let recent = self.wished.get(&id).is_some_and(|last| last.elapsed() < WISH_EVERY);
        if self.wished.len() > WISHES {
            self.wished.clear();
        }
        self.wished.insert(id.clone(), Instant::now());
        self.look(id, if recent { WISH_EVERY } else { Duration::ZERO });
    }

    fn look(&mut self, id: String, delay: Duration) {
        if !self.ledger.begin(&id) {
            return;
        }
        let (asker, networks) = (self.asker.clone(), self.networks.clone());
        let anew = self.ledger.attempts(&id) > 0;
        self.work.push(Box::pin(async move {
            after(delay).await;
            let found = asker.look(&id, networks, anew).await;
            Done::Looked { id, found }
        }));
    }

    fn prepare(&mut self, id: String, network: String, start: u64) {
        let asker = self.asker.clone();
        self.work.push(Box::pin(async move {
            let prepared = asker.prepare(&id, &network).await;
            Done::Prepared { id, start, prepared }
        }));
    }

    fn list(&mut self, delay: Duration, periodic: bool) {
        if let Some(again) = &mut self.listing {
            *again = true;
            return;
        }
        self.listing = Some(false);
        let asker = self.asker.clone();
        self.work.push(Box::pin(async move {
            after(delay).await;
            Done::Listed { list: asker.list().await, periodic }
        }));
    }

    fn list_networks(&mut self) {
        if let Some(again) = &mut self.naming {
            *again = true;
            return;
        }
        self.naming = Some(false);
        let asker = self.asker.clone();
        self.work.push(Box::pin(async move { Done::Networks(asker.networks().await) }));
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn changes(monitor: &mut Option<Monitor>) -> Vec<Change> {
    match monitor {
        Some(monitor) => monitor.next().await,
        None => std::future::pending().await,
    }
}
