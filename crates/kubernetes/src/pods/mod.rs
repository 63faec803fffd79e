//! This node's pods, as the API tells them: a source beside runtimes and the CNI plugin.
//!
//! Only this node's pods are watched, and of each only the dozen fields that matter are kept. The API knows a pod's
//! labels as they are now, its UID and its addresses, but not its interface: that is found by the pod's cgroup, which
//! leads to its processes and they to its network namespace, without knowing the runtime or the CNI. What the API says
//! lags behind; where the sources contradict each other, whoever merges them knows that.

mod cgroup;
mod find;
mod known;
mod pod;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use portcullis_runtimes::resolve::HostSpaces;
use portcullis_runtimes::source::{Report, Request};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use self::find::{Found, Wanted, find};
use self::known::Pods;
use self::pod::Pod;
use crate::follow::{News, Target, Timing, follow};

/// A search looks at every process of the node: not more often than this.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// What the source has to know.
#[derive(Clone)]
pub struct PodsConfig {
    /// The API server.
    pub client: Client,
    /// This node's name.
    pub node: String,
    /// Everything is read anew this often, give or take a half, in case something was lost; zero: never.
    pub resync: Duration,
}

impl PodsConfig {
    /// With the usual times.
    #[must_use]
    pub fn new(client: Client, node: impl Into<String>) -> Self {
        Self { client, node: node.into(), resync: Duration::from_secs(1800) }
    }
}

impl std::fmt::Debug for PodsConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PodsConfig").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Tells of this node's pods until nobody hears it.
///
/// While the API server cannot be reached, what was said holds: the only report is that it is failing.
pub async fn run(config: PodsConfig, reports: mpsc::Sender<Report>, requests: mpsc::Receiver<Request>) {
    let target = Target {
        path: "/api/v1/pods".to_owned(),
        fields: Some(format!("spec.nodeName={}", config.node)),
        metadata_only: false,
        resource: "pods",
        role: "ClusterRole portcullis-agent",
    };
    let timing = Timing { resync: config.resync, ..Timing::default() };
    let (sender, news) = mpsc::channel(16);
    let anew = Notify::new();
    let mut source = Source {
        reports: reports.clone(),
        pods: Pods::default(),
        hosts: None,
        search: None,
        searched: None,
        anew: &anew,
    };
    tokio::select! {
        () = reports.closed() => {}
        () = follow::<Pod>(config.client, target, timing, &anew, sender) => {}
        _ = source.run(news, requests) => {}
    }
}

struct Source<'a> {
    reports: mpsc::Sender<Report>,
    pods: Pods,
    hosts: Option<Arc<HostSpaces>>,
    search: Option<JoinHandle<Vec<Found>>>,
    searched: Option<Instant>,
    anew: &'a Notify,
}

/// Nobody hears the reports.
struct Unheard;

impl Source<'_> {
    async fn run(
        &mut self,
        mut news: mpsc::Receiver<News<Pod>>,
        mut requests: mpsc::Receiver<Request>,
    ) -> Result<(), Unheard> {
        self.tell([Report::Connecting]).await?;
        let mut asked = true;
        loop {
            let due = self.due();
            let waiting = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                heard = news.recv() => match heard {
                    Some(news) => self.hear(news).await?,
                    None => return Ok(()),
                },
                request = requests.recv(), if asked => match request {
                    Some(request) => self.serve(request),
                    None => asked = false,
                },
                found = finished(&mut self.search) => {
                    self.search = None;
                    let reports = self.pods.found(found, Instant::now());
                    self.tell(reports).await?;
                }
                () = waiting => self.begin_search(),
            }
        }
    }

    async fn tell(&self, reports: impl IntoIterator<Item = Report>) -> Result<(), Unheard> {
        for report in reports {
            self.reports.send(report).await.map_err(|_| Unheard)?;
        }
        Ok(())
    }

    async fn hear(&mut self, news: News<Pod>) -> Result<(), Unheard> {
        let now = Instant::now();
        let reports = match news {
            News::All(pods) => vec![self.pods.all(pods, now)],
            News::Put(pod) => self.pods.put(pod, now),
            News::Gone(pod) => self.pods.gone(&pod.metadata.uid),
            News::Back => vec![self.pods.snapshot()],
            News::Failing(trouble) => vec![Report::Failing(trouble.why)],
        };
        self.tell(reports).await
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::LookAt(id) => self.pods.look_at(&id, Instant::now()),
            Request::Resync => self.anew.notify_one(),
            // Whoever asked may have gone meanwhile.
            Request::Terminate { answer, .. } => _ = answer.send(Err("pods are ended by the hub".into())),
        }
    }

    /// When to search next.
    fn due(&self) -> Option<Instant> {
        if self.search.is_some() {
            return None;
        }
        let due = self.pods.due()?;
        Some(self.searched.map_or(due, |last| due.max(last + SEARCH_EVERY)))
    }

    fn begin_search(&mut self) {
        let now = Instant::now();
        self.searched = Some(now);
        let wanted: Vec<Wanted> = self.pods.wanted(now);
        if wanted.is_empty() {
            return;
        }
        let hosts = match &self.hosts {
            Some(hosts) => Arc::clone(hosts),
            None => match HostSpaces::new(None) {
                Ok(hosts) => Arc::clone(self.hosts.insert(Arc::new(hosts))),
                Err(error) => {
                    tracing::warn!(%error, "pods' network namespaces cannot be searched for");
                    return;
                }
            },
        };
        // The kernel's answers are awaited on a thread that may.
        self.search = Some(tokio::task::spawn_blocking(move || find(&wanted, &hosts)));
    }
}

/// What a search has found; never, without one.
async fn finished(search: &mut Option<JoinHandle<Vec<Found>>>) -> Vec<Found> {
    match search {
        Some(search) => search.await.unwrap_or_default(),
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
