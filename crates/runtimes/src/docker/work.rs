//! Questions to the runtime and the kernel that take their time, each for itself.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use portcullis_policy::container::{Attachment, Container, Network};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::answer::{DockerNetwork, Inspected, Listed, Listing};
use super::describe::{self, Mode};
use super::http::{Client, Error, Result};
use super::ledger::Found;
use super::{ids, network};
use crate::resolve::HostSpaces;
use crate::source::Kind;

/// Questions that one source has open at a time. Docker answers many only when a start has ended.
const OPEN_QUESTIONS: usize = 16;

/// Whom to ask.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) client: Client,
    pub(super) kind: Kind,
    pub(super) hosts: Arc<HostSpaces>,
    permits: Arc<Semaphore>,
}

/// The networks as they are at the time of a look.
#[derive(Clone, Debug)]
pub(super) struct Networks {
    pub(super) known: Arc<[network::Known]>,
    pub(super) shown: Arc<[Network]>,
}

/// A container that is being started.
#[derive(Debug)]
pub(super) enum Prepared {
    /// It runs already.
    Runs,
    /// Its interface in this network will be found so.
    Expected(Box<Container>, Attachment),
    /// Nothing can be told beforehand.
    Nothing,
}

impl Asker {
    pub(super) fn new(client: Client, kind: Kind, hosts: Arc<HostSpaces>) -> Self {
        Self { client, kind, hosts, permits: Arc::new(Semaphore::new(OPEN_QUESTIONS)) }
    }

    /// All containers that run.
    pub(super) async fn list(&self) -> Result<Vec<Listed>> {
        // Podman leaves out what is paused or being stopped, unless all are asked for.
        let all = self.kind == Kind::Podman;
        let path = if all { "/containers/json?all=1" } else { "/containers/json" };
        let Listing(mut list) = self.client.get("the list of containers", path).await?;
        list.retain(|listed| ids::is_safe(&listed.id) && (!all || listed.runs()));
        Ok(list)
    }

    /// All networks.
    pub(super) async fn networks(&self) -> Result<Networks> {
        let known: Arc<[network::Known]> = network::list(&self.client, self.kind).await?.into();
        Ok(Networks { shown: self.show(&known).await?, known })
    }

    /// Networks with their bridges as they are now.
    pub(super) async fn show(&self, known: &Arc<[network::Known]>) -> Result<Arc<[Network]>> {
        let (known, hosts) = (known.clone(), self.hosts.clone());
        Ok(blocking(move || network::look(&known, &hosts)).await?.into())
    }

    /// Looks at one container: what the runtime says, and what is in its namespace. Doubtful bridges are
    /// looked at anew, if `anew`.
    pub(super) async fn look(&self, id: &str, networks: Networks, anew: bool) -> Result<Found> {
        let _permit = self.permits.acquire().await;
        let what = format!("container {}", short(id));
        let inspected: Inspected = match self.client.get(&what, &format!("/containers/{id}/json")).await {
            Ok(inspected) => inspected,
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => return Ok(Found::Missing),
            Err(error @ (Error::Nonsense { .. } | Error::TooLong { .. })) => {
                return Ok(self.garbled(id, &error));
            }
            Err(error) => return Err(error),
        };
        if inspected.id != id {
            return Ok(self.garbled(id, &"it has another id"));
        }
        if !inspected.state.is_up() {
            return Ok(Found::Down);
        }
        let started = describe::started(&inspected);
        let mode = describe::mode(&inspected.host_config.network_mode);
        let shares = match mode {
            Mode::Of(other) => self.whole_id(other).await,
            _ => None,
        };
        let own = mode == Mode::Own;
        let mut container = describe::described(self.kind, &inspected, shares);
        if own {
            let (hosts, anew) =
                (self.hosts.clone(), anew || self.kind == Kind::Podman || networks.is_doubtful());
            container = blocking(move || {
                let fresh = anew.then(|| network::look(&networks.known, &hosts).ok()).flatten();
                let shown = fresh.as_deref().unwrap_or(&networks.shown);
                describe::attach(&mut container, &inspected, shown, &hosts);
                container
            })
            .await;
        }
        Ok(Found::Running { container: Box::new(container), started })
    }

    fn garbled(&self, id: &str, why: &dyn std::fmt::Display) -> Found {
        let mut container = describe::bare(self.kind, id, "");
        container.trouble = Some(why.to_string());
        Found::Garbled(Box::new(container))
    }

    async fn whole_id(&self, other: &str) -> Option<String> {
        if let Some(id) = describe::whole_id(other) {
            return Some(id);
        }
        let path = ids::is_safe(other).then(|| format!("/containers/{other}/json"))?;
        let inspected: Value =
            self.client.get("the container that another shares its network with", &path).await.ok()?;
        describe::whole_id(inspected.get("Id")?.as_str()?)
    }

    /// Looks at a container that joined a network before it runs. An inspection would be answered only when
    /// it does (Docker holds the container's lock all the while); the network and the list answer at once.
    pub(super) async fn prepare(&self, id: &str, network: &str) -> Result<Prepared> {
        // %7B"id":["…"]%7D
        let path = format!("/containers/json?all=1&filters=%7B%22id%22%3A%5B%22{id}%22%5D%7D");
        let network_path = format!("/networks/{network}");
        let (listing, network) = tokio::join!(
            self.client.get::<Listing>("a container that is being started", &path),
            self.client.get::<DockerNetwork>("a network", &network_path),
        );
        let Some(listed) = listing?.0.into_iter().find(|listed| listed.id == id) else {
            return Ok(Prepared::Nothing);
        };
        if listed.runs() {
            return Ok(Prepared::Runs);
        }
        let network = network?;
        let Some(member) = network.containers.get(id).cloned() else { return Ok(Prepared::Nothing) };
        let hosts = self.hosts.clone();
        let known = network::Known::from(&network);
        let shown = blocking(move || network::look(&[known], &hosts)).await?;
        let bridge = shown.into_iter().next().and_then(|network| network.bridge);
        let Some(attachment) = describe::expected(&network, bridge, &member) else {
            return Ok(Prepared::Nothing);
        };
        Ok(Prepared::Expected(Box::new(describe::starting(self.kind, &listed)), attachment))
    }

    /// A container that the runtime lists and does not describe.
    pub(super) fn silent(&self, listed: &Listed, error: &Error) -> Container {
        let mut container = describe::starting(self.kind, listed);
        container.trouble = Some(error.to_string());
        container
    }
}

impl Networks {
    /// Whether a bridge was not there when they were last looked at.
    fn is_doubtful(&self) -> bool {
        self.known
            .iter()
            .zip(self.shown.iter())
            .any(|(known, shown)| known.bridge.is_some() && shown.bridge.is_none())
    }
}

/// Ids as people see them.
pub(super) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Waits without holding up the others.
pub(super) async fn after(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// Runs something that blocks on a thread that may. A panic there goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        },
    }
}
