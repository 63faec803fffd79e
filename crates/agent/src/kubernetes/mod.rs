//! The agent as one of a cluster's: what it takes from the API server, and what it gives to it.
//!
//! *Taken*: this node's pods (a source like every other), the cluster's gate policies, the hubs' certificates. *Given*: the node's
//! map, with the pods that the hub is to end; events on pods; the API itself, to hubs, over mutual TLS.
//!
//! Everything here may fail for as long as it likes: the gate stays as it is, and runtimes and the plugin go on
//! telling of containers.

mod content;
mod leave;
mod notes;
mod publish;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_kubernetes::client;
use portcullis_kubernetes::crd::{AppliedPolicy, Peer};
use portcullis_kubernetes::peer::{Identity, Listener, Trusted, certificates, server_config};
use portcullis_kubernetes::pods::{self, PodsConfig};
use portcullis_kubernetes::policies::{self, PolicySet, Standing};
use portcullis_runtimes::source::Report;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::api::{Peers, peer_router, serve_peers};
use crate::config::KubernetesSection;
use crate::control::Control;
use crate::core::{Agent, KUBERNETES};

pub use leave::is_dismissed;

/// Between attempts to get hold of a client: a token or a file may come later.
const CLIENT_PAUSE: Duration = Duration::from_secs(2);
/// Until a part that broke off is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// What the parts share.
#[derive(Debug)]
struct Shared {
    agent: Arc<Agent>,
    section: KubernetesSection,
    /// The policies as they were applied, for the map.
    applied: Mutex<Vec<AppliedPolicy>>,
    /// Why the policies cannot be followed.
    policies_trouble: Mutex<Option<String>>,
    peer: Option<Peer>,
    /// Something of the above is new.
    news: watch::Sender<()>,
}

impl Shared {
    fn kubeconfig(&self) -> Option<&Path> {
        Some(self.section.kubeconfig.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    fn take_in(&self, set: PolicySet) {
        *lock(&self.applied) = set.applied;
        if let Err(fault) = self.agent.follow_policies(set.policies) {
            tracing::error!(%fault, "the cluster's gate policies cannot be taken in");
            *lock(&self.policies_trouble) = Some(fault.to_string());
        }
        self.news.send_replace(());
    }

    fn policies_stand(&self) {
        if lock(&self.policies_trouble).take().is_some() {
            self.news.send_replace(());
        }
    }

    fn policies_fail(&self, why: String) {
        let before = lock(&self.policies_trouble).replace(why.clone());
        if before.as_ref() != Some(&why) {
            tracing::warn!(why, "the cluster's gate policies cannot be followed; those of before hold");
            self.news.send_replace(());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part that listens to hubs: bound at once, so that an address that is taken ends the agent with a sentence.
pub struct Door {
    peers: Option<(Peers, Peer)>,
    trusted: Trusted,
}

impl Door {
    /// Makes this agent's key, and listens where the section says.
    ///
    /// # Errors
    /// One sentence.
    pub async fn open(section: &KubernetesSection) -> Result<Self, String> {
        client::use_ring();
        let trusted = Trusted::default();
        let Some(address) = section.listener()? else { return Ok(Self { peers: None, trusted }) };
        let identity = Identity::generate(&section.node).map_err(|error| error.to_string())?;
        let config = server_config(&identity, &trusted).map_err(|error| error.to_string())?;
        let listener = Listener::bind(&address.to_string(), config, Some(trusted.clone())).await;
        let listener = listener.map_err(|error| error.to_string())?;
        let reached = if section.peer_address.is_empty() {
            listener.local_addr().map_err(|error| error.to_string())?.to_string()
        } else {
            section.peer_address.clone()
        };
        let peer = Peer { address: reached, certificate: identity.pem().to_owned() };
        Ok(Self { peers: Some((Peers(listener), peer)), trusted })
    }
}

/// Starts every part.
pub fn start(
    agent: &Arc<Agent>,
    section: &KubernetesSection,
    door: Door,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> Vec<JoinHandle<()>> {
    let (peers, peer) = door.peers.unzip();
    let shared = Arc::new(Shared {
        agent: Arc::clone(agent),
        section: section.clone(),
        applied: Mutex::default(),
        policies_trouble: Mutex::default(),
        peer,
        news: watch::channel(()).0,
    });
    let mut parts = vec![
        tokio::spawn(keep("this node's pods", Arc::clone(&shared), follow_pods)),
        tokio::spawn(keep("the cluster's gate policies", Arc::clone(&shared), follow_policies)),
        tokio::spawn(keep("the node's map", Arc::clone(&shared), publish::run)),
        tokio::spawn(keep("events on pods", Arc::clone(&shared), notes::run)),
    ];
    if let Some(peers) = peers {
        let router = peer_router(Arc::clone(agent) as Arc<dyn Control>);
        parts.push(tokio::spawn(serve_peers(peers, router, stopped)));
        let trusted = door.trusted;
        parts.push(tokio::spawn(keep("the hubs' certificates", shared, move |shared| {
            follow_hubs(shared, trusted.clone())
        })));
    }
    parts
}

/// Runs a part for ever: one that panics on an odd answer must not end for good.
async fn keep<F, P>(what: &'static str, shared: Arc<Shared>, part: P)
where
    F: Future<Output = ()> + Send + 'static,
    P: Fn(Arc<Shared>) -> F,
{
    loop {
        // A set, so that whoever ends this task ends that one as well.
        let mut running = JoinSet::new();
        running.spawn(part(Arc::clone(&shared)));
        let why = match running.join_next().await {
            Some(Err(error)) => error.to_string(),
            _ => "it ended".to_owned(),
        };
        tracing::error!(why, "what follows {what} broke off, and is started again");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

/// A client, as soon as there is what it needs; `tell` hears why there is none.
async fn client(shared: &Shared, mut tell: impl FnMut(String)) -> kube::Client {
    loop {
        match client::connect(shared.kubeconfig()).await {
            Ok(client) => return client,
            Err(error) => tell(error.to_string()),
        }
        tokio::time::sleep(CLIENT_PAUSE).await;
    }
}

async fn follow_pods(shared: Arc<Shared>) {
    let agent = Arc::clone(&shared.agent);
    let fail = |why| agent.report(KUBERNETES, Report::Failing(why));
    let client = client(&shared, fail).await;
    let config = PodsConfig::new(client, shared.section.node.clone());
    crate::sources::follow(&agent, KUBERNETES, |reports, requests| pods::run(config, reports, requests))
        .await;
}

async fn follow_policies(shared: Arc<Shared>) {
    let client = client(&shared, |why| shared.policies_fail(why)).await;
    let stands = |standing| match standing {
        Standing::Connected => shared.policies_stand(),
        Standing::Failing(why) => shared.policies_fail(why),
    };
    policies::run(client, |set| shared.take_in(set), stands).await;
}

async fn follow_hubs(shared: Arc<Shared>, trusted: Trusted) {
    let client = client(&shared, |why| tracing::debug!(why, "no client yet")).await;
    let told = |trouble: Option<String>| {
        if let Some(why) = trouble {
            tracing::warn!(why, "the hubs' certificates cannot be followed; those of before are accepted");
        }
    };
    certificates::follow_hubs(client, &shared.section.namespace, trusted, told).await;
}

/// Where the kubeconfig of a section is.
pub(crate) fn kubeconfig(section: &KubernetesSection) -> Option<PathBuf> {
    Some(section.kubeconfig.clone()).filter(|path| !path.as_os_str().is_empty())
}
