//! Follows a collection of the API: lists it once, then watches; through errors, expired versions, silence.
//!
//! Nothing is kept here: what is read is handed on one by one, in whatever small type the caller has for it.
//!
//! - Lists come from the API server's own memory (`resourceVersion=0`), not from etcd: after an outage all nodes ask at
//!   about the same time. Only where that memory is behind what was seen, etcd is asked.
//! - A watch that ends goes on from where it was. What failed is tried again after a jittered pause of up to 30 s.
//! - A server that says nothing, not even a bookmark, is asked anew.
//! - etcd may be restored from a backup: then versions go back, and a watch from the old place would hear
//!   nothing for long. So after every failure it is checked whether they have.

mod list;
mod watch;

use std::time::Duration;

use kube::Client;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

use crate::dice::{Backoff, Dice};
use crate::rest::{Doing, Trouble};

/// What is followed.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `/api/v1/pods`.
    pub path: String,
    /// Field selector.
    pub fields: Option<String>,
    /// Metadata is enough.
    pub metadata_only: bool,
    /// `pods`, for people.
    pub resource: &'static str,
    /// Which of the chart's roles allows it.
    pub role: &'static str,
}

impl Target {
    fn doing(&self, verb: &'static str) -> Doing {
        Doing { verb, resource: self.resource, role: self.role }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// A list is read anew this often without any cause, give or take a half; zero: never.
    pub resync: Duration,
    /// A watch ends by itself after this.
    pub watch: Duration,
    /// Servers send bookmarks about every minute.
    pub silence: Duration,
    /// Pauses after failures.
    pub first_pause: Duration,
    pub last_pause: Duration,
    /// Lists are read from etcd, so many objects at a time: from its memory the server gives everything at once, which
    /// for the largest collections is hundreds of megabytes.
    pub pages: Option<usize>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            resync: Duration::ZERO,
            watch: Duration::from_secs(290),
            silence: Duration::from_secs(150),
            first_pause: Duration::from_millis(500),
            last_pause: Duration::from_secs(30),
            pages: None,
        }
    }
}

/// What is told of the collection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum News<T> {
    /// This is all there is.
    All(Vec<T>),
    /// New, or changed.
    Put(T),
    /// Gone, as it was at last.
    Gone(T),
    /// After a failure: nothing was missed.
    Back,
    /// It failed, and is tried again.
    Failing(Trouble),
}

/// Why following stopped.
enum Stop {
    /// Nobody hears it.
    Unheard,
    /// The version is not to be had any more.
    Expired,
    /// It should be listed anew.
    Anew,
    /// The watch ended, as they do.
    Ended,
    Failed(Trouble),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        if trouble.is_expired() { Self::Expired } else { Self::Failed(trouble) }
    }
}

/// Follows until nobody hears. `anew` asks for a list.
pub(crate) async fn follow<T: DeserializeOwned + Send>(
    client: Client,
    target: Target,
    timing: Timing,
    anew: &Notify,
    news: mpsc::Sender<News<T>>,
) {
    let dice = Dice::new();
    let backoff = Backoff::new(timing.first_pause, timing.last_pause, dice.clone());
    let mut follower = Follower {
        client,
        target,
        timing,
        anew,
        news,
        dice,
        place: None,
        failing: false,
        fresh: false,
        due: None,
    };
    follower.run(backoff).await;
}

struct Follower<'a, T> {
    client: Client,
    target: Target,
    timing: Timing,
    anew: &'a Notify,
    news: mpsc::Sender<News<T>>,
    dice: Dice,
    /// The version up to which everything was told.
    place: Option<String>,
    /// The last thing told is that it failed.
    failing: bool,
    /// The next list must not come from a memory that may be behind.
    fresh: bool,
    /// When it is listed without any cause.
    due: Option<Instant>,
}

impl<T: DeserializeOwned + Send> Follower<'_, T> {
    async fn run(&mut self, mut backoff: Backoff) {
        loop {
            let began = Instant::now();
            let stop = match self.step(&mut backoff).await {
                Ok(never) => match never {},
                Err(stop) => stop,
            };
            let hasty = began.elapsed() < Duration::from_secs(1);
            match stop {
                Stop::Unheard => return,
                Stop::Anew => self.place = None,
                Stop::Expired => {
                    // The list was too old already: the memory is behind.
                    self.fresh = hasty;
                    self.place = None;
                    if hasty {
                        sleep(backoff.pause(None)).await;
                    }
                }
                // One that ends at once each time must not be asked in a loop.
                Stop::Ended if hasty => sleep(backoff.pause(None)).await,
                Stop::Ended => {}
                Stop::Failed(trouble) => {
                    if trouble.is_not_found() {
                        self.place = None; // the whole collection is gone
                    }
                    let pause = backoff.pause(trouble.retry_after);
                    tracing::debug!(path = self.target.path, why = trouble.why, ?pause, "trying again");
                    self.failing = true;
                    if self.tell(News::Failing(trouble)).await.is_err() {
                        return;
                    }
                    sleep(pause).await;
                }
            }
        }
    }

    /// Lists if need be, then watches until something is the matter.
    async fn step(&mut self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Stop> {
        if let Some(place) = self.place.clone()
            && self.failing
            && self.went_back(&place).await?
        {
            tracing::info!(path = self.target.path, "the API server's state went back: reading it anew");
            self.place = None;
        }
        let place = match self.place.clone() {
            Some(place) => place,
            None => {
                let (items, place) = self.list().await?;
                self.fresh = false;
                self.failing = false;
                self.place = Some(place.clone());
                let every = self.timing.resync;
                self.due = (!every.is_zero()).then(|| Instant::now() + self.dice.around(every));
                self.tell(News::All(items)).await?;
                place
            }
        };
        self.watch(place, backoff).await
    }

    async fn tell(&self, news: News<T>) -> Result<(), Stop> {
        self.news.send(news).await.map_err(|_| Stop::Unheard)
    }
}

#[cfg(test)]
mod tests;
