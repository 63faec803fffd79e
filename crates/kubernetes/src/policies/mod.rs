//! The cluster's gate policies, as they hold on this node.
//!
//! Namespaces are watched only while some policy selects by their labels, and of them only the metadata.

mod book;

use std::pin::Pin;
use std::time::Duration;

use kube::Client;
use portcullis_policy::guard;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use self::book::{Book, Namespace, Stored};
use crate::crd::{AppliedPolicy, GROUP, VERSION};
use crate::follow::{News, Target, Timing, follow};

/// Changes seldom come alone.
const DEBOUNCE: Duration = Duration::from_millis(100);
const ROLE: &str = "ClusterRole portcullis-agent";

/// What should hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicySet {
    /// Those that can hold, together.
    pub policies: Vec<guard::GatePolicy>,
    /// Every object, with what is wrong where it cannot.
    pub applied: Vec<AppliedPolicy>,
}

/// How it stands with the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What was told is how it is.
    Connected,
    /// It cannot be read: one sentence. What was told last holds.
    Failing(String),
}

/// Tells of the policies for ever, whenever they have changed. `stands` hears how it stands with the API server.
///
/// Nothing is told before the policies were read for the first time: what the agent remembers holds until then.
pub async fn run(client: Client, told: impl FnMut(PolicySet) + Send, stands: impl FnMut(Standing) + Send) {
    let (sender, news) = mpsc::channel(16);
    let anew = Notify::new();
    let target = Target {
        path: format!("/apis/{GROUP}/{VERSION}/gatepolicies"),
        fields: None,
        metadata_only: false,
        resource: "gatepolicies.portcullis.dev",
        role: ROLE,
    };
    let following = follow::<Stored>(client.clone(), target, Timing::default(), &anew, sender);
    let mut watcher =
        Watcher { client, told, stands, book: Book::default(), trouble: [None, None], last: None };
    tokio::select! {
        () = following => {}
        () = watcher.run(news) => {}
    }
}

struct Watcher<T, S> {
    client: Client,
    told: T,
    stands: S,
    book: Book,
    /// Of policies, and of namespaces.
    trouble: [Option<String>; 2],
    last: Option<PolicySet>,
}

type Following = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The watch of namespaces, where there is one.
type Side = Option<(Following, mpsc::Receiver<News<Namespace>>)>;

impl<T: FnMut(PolicySet) + Send, S: FnMut(Standing) + Send> Watcher<T, S> {
    async fn run(&mut self, mut news: mpsc::Receiver<News<Stored>>) {
        let mut side: Side = None;
        let mut due: Option<Instant> = None;
        loop {
            if self.book.needs_namespaces() != side.is_some() {
                side = side.is_none().then(|| self.follow_namespaces());
                if side.is_none() {
                    self.book.forget_namespaces();
                    self.stand(1, None);
                }
            }
            let waiting = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let changed = tokio::select! {
                heard = news.recv() => match heard {
                    Some(news) => self.hear(news),
                    None => return,
                },
                heard = beside(&mut side) => self.hear_of_namespaces(heard),
                () = waiting => {
                    due = None;
                    self.tell();
                    false
                }
            };
            if changed {
                due = due.or_else(|| Some(Instant::now() + DEBOUNCE));
            }
        }
    }

    fn follow_namespaces(&self) -> (Following, mpsc::Receiver<News<Namespace>>) {
        let (sender, news) = mpsc::channel(16);
        let target = Target {
            path: "/api/v1/namespaces".to_owned(),
            fields: None,
            metadata_only: true,
            resource: "namespaces",
            role: ROLE,
        };
        let client = self.client.clone();
        let following = async move {
            let anew = Notify::new();
            follow(client, target, Timing::default(), &anew, sender).await;
        };
        (Box::pin(following), news)
    }

    /// Whether something may have changed.
    fn hear(&mut self, news: News<Stored>) -> bool {
        match news {
            News::All(all) => self.book.all(all),
            News::Put(one) => self.book.put(one),
            News::Gone(one) => self.book.gone(&one),
            News::Back => {
                self.stand(0, None);
                return false;
            }
            News::Failing(trouble) => {
                self.stand(0, Some(trouble.why));
                return false;
            }
        }
        self.stand(0, None);
        true
    }

    fn hear_of_namespaces(&mut self, news: News<Namespace>) -> bool {
        match news {
            News::All(all) => self.book.all_namespaces(all),
            News::Put(one) => self.book.put_namespace(one),
            News::Gone(one) => self.book.namespace_gone(&one),
            News::Back => {
                self.stand(1, None);
                return false;
            }
            News::Failing(trouble) => {
                self.stand(1, Some(trouble.why));
                // Those that need no namespaces must not wait for ever.
                return self.book.give_up_on_namespaces();
            }
        }
        self.stand(1, None);
        true
    }

    fn tell(&mut self) {
        let Some(set) = self.book.set() else { return };
        if self.last.as_ref() != Some(&set) {
            self.last = Some(set.clone());
            (self.told)(set);
        }
    }

    fn stand(&mut self, of: usize, trouble: Option<String>) {
        self.trouble[of] = trouble;
        let first = self.trouble.iter().flatten().next().cloned();
        // The other half may not have been heard of yet, which is no trouble.
        (self.stands)(first.map_or(Standing::Connected, Standing::Failing));
    }
}

/// What the watch of namespaces tells; never, without one.
async fn beside(side: &mut Side) -> News<Namespace> {
    let Some((following, news)) = side else { return std::future::pending().await };
    tokio::select! {
        // It ends only when nobody hears it.
        () = following => std::future::pending().await,
        heard = news.recv() => match heard {
            Some(news) => news,
            None => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests;
