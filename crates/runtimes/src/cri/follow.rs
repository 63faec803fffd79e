//! Following a runtime over one connection.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use portcullis_policy::container::{Attachment, Container, Network};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::events::{End, Trigger, watch};
use super::list::{Listed, list};
use super::look::{Prior, Scene, Seen, is_id, look, placeholder};
use super::networks::CniNetwork;
use super::rpc::CriError;
use super::schedule::{Aim, Schedule};
use super::wishes::{Wish, Wishes};
use crate::source::{Report, SourceConfig};

/// Questions at a time: the runtime has the kubelet to serve too.
const LOOKS_AT_ONCE: usize = 8;
/// Between lists: where the runtime tells what happens, and where it does not.
const LIST_TOLD: Duration = Duration::from_secs(5);
const LIST_UNTOLD: Duration = Duration::from_secs(1);
/// A runtime that tells what happens is read anew so much more seldom: every sandbox is looked at then, from inside, and
/// that would be most of what an agent does on a full node.
const TOLD_RESYNC_FACTOR: u32 = 10;
/// A snapshot does not wait longer for sandboxes that the runtime does not tell of.
const SNAPSHOT: Duration = Duration::from_secs(2);

/// Why a connection is not followed any more.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody listens to our reports.
    Unheard,
    /// The runtime cannot be followed; one sentence.
    Failed(String),
}

impl From<CriError> for Stop {
    fn from(error: CriError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What is known of sandboxes; outlives connections.
#[derive(Debug, Default)]
pub(super) struct Memory(HashMap<String, Known>);

#[derive(Debug)]
struct Known {
    container: Container,
    /// The attachments of the last look that found them all.
    kept: Vec<Attachment>,
    since: Instant,
}

struct Looked {
    id: String,
    aim: Aim,
    step: usize,
    result: Result<Seen, CriError>,
}

/// A snapshot in the making.
struct Reading {
    left: HashSet<String>,
    until: Instant,
}

/// A runtime that is followed.
pub(super) struct Follower<'a> {
    scene: Arc<Scene>,
    config: &'a SourceConfig,
    reports: &'a mpsc::Sender<Report>,
    wishes: &'a Wishes,
    memory: &'a mut Memory,
    networks: (Arc<[CniNetwork]>, Vec<Network>),
    schedule: Schedule,
    looks: FuturesUnordered<BoxFuture<'static, Looked>>,
    looking: HashSet<String>,
    /// Listed, and not looked at successfully.
    unseen: HashMap<String, Container>,
    reading: Option<Reading>,
    /// A snapshot is wanted, of what is asked for after this.
    snapshot_wanted: Option<Instant>,
    announced: bool,
    listing: Option<BoxFuture<'static, Result<Listed, CriError>>>,
    list_at: Instant,
    list_every: Duration,
    resync_at: Instant,
    resync_every: Duration,
}

impl<'a> Follower<'a> {
    pub fn new(
        scene: Scene,
        config: &'a SourceConfig,
        reports: &'a mpsc::Sender<Report>,
        wishes: &'a Wishes,
        memory: &'a mut Memory,
    ) -> Self {
        let now = Instant::now();
        Self {
            scene: Arc::new(scene),
            config,
            reports,
            wishes,
            memory,
            networks: (Arc::new([]), Vec::new()),
            schedule: Schedule::default(),
            looks: FuturesUnordered::new(),
            looking: HashSet::new(),
            unseen: HashMap::new(),
            reading: None,
            snapshot_wanted: Some(now),
            announced: false,
            listing: None,
            list_at: now,
            list_every: LIST_TOLD,
            resync_at: now,
            resync_every: config.resync.saturating_mul(TOLD_RESYNC_FACTOR),
        }
    }

    /// Follows until the connection fails, or nobody listens.
    pub async fn run(&mut self) -> Result<Infallible, Stop> {
        // Subscribed before the first list is asked for: what happens in between is told.
        let (sender, mut triggers) = mpsc::channel(256);
        let mut watching = pin!(watch(self.scene.connection.clone(), sender));
        let mut told = true;
        self.wishes.clear();
        loop {
            self.begin();
            let wake = self.wake();
            tokio::select! {
                Some(trigger) = triggers.recv() => self.on_trigger(trigger),
                end = &mut watching, if told => match end {
                    End::NotServed => {
                        told = false;
                        self.ask_often();
                    }
                    End::Broken(why) => return Err(Stop::Failed(why)),
                },
                wish = self.wishes.next() => self.on_wish(wish),
                Some(listed) = OptionFuture::from(self.listing.as_mut()) => {
                    self.listing = None;
                    self.on_list(listed?).await?;
                }
                Some(looked) = self.looks.next() => self.on_look(looked).await?,
                () = sleep_until(wake) => {}
            }
            self.finish_reading().await?;
        }
    }

    /// The runtime tells of nothing: it has to be asked.
    fn ask_often(&mut self) {
        let now = Instant::now();
        (self.list_every, self.resync_every) = (LIST_UNTOLD, self.config.resync);
        self.list_at = self.list_at.min(now + self.list_every);
        self.resync_at = self.resync_at.min(now + self.resync_every);
    }

    /// Whether the first snapshot is out.
    pub fn announced(&self) -> bool {
        self.announced
    }

    /// Begins what is due.
    fn begin(&mut self) {
        let now = Instant::now();
        if self.listing.is_none() && self.list_at <= now {
            let whole = self.resync_at <= now;
            if whole {
                self.resync_at = now + self.resync_every;
            }
            self.list_at = now + self.list_every;
            self.listing = Some(Box::pin(list(Arc::clone(&self.scene), whole)));
        }
        let free = LOOKS_AT_ONCE.saturating_sub(self.looks.len());
        for (id, aim, step) in self.schedule.take(free) {
            if !self.looking.insert(id.clone()) {
                // What is being seen may be from before the event: once more, when that is done.
                self.schedule.again(id, aim, step.max(1));
                continue;
            }
            let prior = Prior {
                kept: self.memory.0.get(&id).map(|known| known.kept.clone()).unwrap_or_default(),
                appeared: aim == Aim::Appear,
                networks: Arc::clone(&self.networks.0),
            };
            let scene = Arc::clone(&self.scene);
            self.looks.push(Box::pin(async move {
                let result = look(scene, &id, prior).await;
                Looked { id, aim, step, result }
            }));
        }
    }

    /// When something is due, if nothing happens before.
    fn wake(&self) -> Instant {
        let look = if self.looks.len() < LOOKS_AT_ONCE { self.schedule.next() } else { None };
        let list = if self.listing.is_none() { Some(self.list_at) } else { None };
        let reading = self.reading.as_ref().map(|reading| reading.until);
        let due = [look, list, reading].into_iter().flatten().min();
        due.unwrap_or_else(|| Instant::now() + LIST_UNTOLD)
    }

    fn on_trigger(&mut self, trigger: Trigger) {
        match trigger {
            Trigger::Began(id) if is_id(&id) && !self.memory.0.contains_key(&id) => {
                self.schedule.start(id, Aim::Appear);
            }
            Trigger::Ended(id) if self.knows(&id) => self.schedule.start(id, Aim::Vanish),
            // Of containers in a sandbox, or nothing new.
            Trigger::Began(_) | Trigger::Ended(_) => {}
        }
    }

    fn knows(&self, id: &str) -> bool {
        self.memory.0.contains_key(id)
            || self.unseen.contains_key(id)
            || self.looking.contains(id)
            || self.schedule.holds(id)
    }

    fn on_wish(&mut self, wish: Wish) {
        let now = Instant::now();
        match wish {
            Wish::LookAt(id) => self.schedule.start(id, Aim::Renew),
            Wish::Stopped(id) if self.knows(&id) => self.schedule.start(id, Aim::Vanish),
            Wish::Stopped(_) => {}
            Wish::Resync => {
                (self.snapshot_wanted, self.list_at, self.resync_at) = (Some(now), now, now);
            }
        }
    }

    async fn on_list(&mut self, listed: Listed) -> Result<(), Stop> {
        let runs: HashSet<&str> = listed.items.iter().map(|item| item.id.as_str()).collect();
        self.unseen.retain(|id, _| runs.contains(id.as_str()));
        // One that was seen after the list was asked for may be missing in it.
        let is_gone = |id: &str, known: &Known| known.since < listed.asked && !runs.contains(id);
        let known = self.memory.0.iter();
        let gone: Vec<String> =
            known.filter(|(id, known)| is_gone(id, known)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.forget(&id).await?;
        }
        for item in &listed.items {
            let id = &item.id;
            let new = !self.memory.0.contains_key(id);
            if new {
                let container = placeholder(&self.scene.runtime, id, item.metadata.as_ref());
                self.unseen.insert(id.clone(), container);
            }
            if (new || listed.whole) && !self.schedule.holds(id) {
                self.schedule.start(id.clone(), Aim::Renew);
            }
        }
        if self.snapshot_wanted.is_some_and(|since| since <= listed.asked) {
            self.snapshot_wanted = None;
            let left = runs.into_iter().map(str::to_owned).collect();
            self.reading = Some(Reading { left, until: Instant::now() + SNAPSHOT });
        }
        self.on_networks(listed.networks).await
    }

    async fn on_networks(&mut self, told: Option<(Vec<CniNetwork>, Vec<Network>)>) -> Result<(), Stop> {
        let Some((read, described)) = told else { return Ok(()) };
        if described == self.networks.1 {
            return Ok(());
        }
        self.networks = (read.into(), described);
        let report = Report::Networks(self.networks.1.clone());
        self.tell(report).await
    }

    async fn on_look(&mut self, looked: Looked) -> Result<(), Stop> {
        let Looked { id, aim, step, result } = looked;
        self.looking.remove(&id);
        if let Some(reading) = &mut self.reading {
            reading.left.remove(&id);
        }
        match result {
            Ok(Seen::Here(container)) => {
                self.unseen.remove(&id);
                let open = aim == Aim::Vanish || container.trouble.is_some();
                self.remember(*container).await?;
                if open {
                    self.schedule.again(id, aim, step + 1);
                }
                Ok(())
            }
            Ok(Seen::Gone) => {
                self.unseen.remove(&id);
                if self.memory.0.contains_key(&id) {
                    return self.forget(&id).await;
                }
                if aim == Aim::Appear {
                    self.schedule.again(id, aim, step + 1);
                }
                Ok(())
            }
            Err(error) => {
                tracing::debug!(sandbox = id, %error, "cannot look at a sandbox");
                let unseen = self.unseen.remove(&id);
                // When it answers at last, the workload may run: the moment to vouch for anything is over.
                let (aim, step) = if aim == Aim::Appear { (Aim::Renew, 0) } else { (aim, step) };
                self.schedule.again(id, aim, step + 1);
                // What is known of others still holds.
                let Some(container) = unseen else { return Ok(()) };
                self.remember(Container { trouble: Some(error.to_string()), ..container }).await
            }
        }
    }

    async fn remember(&mut self, container: Container) -> Result<(), Stop> {
        let known = self.memory.0.get(&container.id);
        if known.is_some_and(|known| known.container == container) {
            return Ok(());
        }
        let earlier = known.map(|known| known.kept.as_slice()).unwrap_or_default();
        let fewer = container.trouble.is_some() && container.attachments.len() < earlier.len();
        let kept = if fewer { earlier.to_vec() } else { container.attachments.clone() };
        let since = known.map_or_else(Instant::now, |known| known.since);
        let report = Report::Changed(Box::new(container.clone()));
        self.memory.0.insert(container.id.clone(), Known { container, kept, since });
        self.tell(report).await
    }

    async fn forget(&mut self, id: &str) -> Result<(), Stop> {
        self.memory.0.remove(id);
        self.schedule.forget(id);
        // A sandbox that stopped is never started again: the kubelet makes another.
        self.tell(Report::Gone { id: id.to_owned(), removed: true }).await
    }

    /// What happens before the first snapshot is part of it.
    async fn tell(&mut self, report: Report) -> Result<(), Stop> {
        if !self.announced {
            return Ok(());
        }
        self.reports.send(report).await.map_err(|_| Stop::Unheard)
    }

    async fn finish_reading(&mut self) -> Result<(), Stop> {
        let done = |reading: &Reading| reading.left.is_empty() || reading.until <= Instant::now();
        if !self.reading.as_ref().is_some_and(done) {
            return Ok(());
        }
        self.reading = None;
        self.announced = true;
        // What is told of from now on has to be told to be gone, too.
        let since = Instant::now();
        for (id, container) in self.unseen.drain() {
            self.memory.0.entry(id).or_insert(Known { container, kept: Vec::new(), since });
        }
        let containers = self.memory.0.values().map(|known| known.container.clone()).collect();
        let snapshot = Report::Snapshot { containers, networks: self.networks.1.clone() };
        self.tell(snapshot).await
    }
}
