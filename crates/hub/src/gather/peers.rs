//! Connections to agents, as their maps tell where they are and what certificate they have.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use hyper::{Method, StatusCode};
use portcullis_kubernetes::peer::{
    Answer, Connection, Events, Identity, certificate_from_pem, client_config,
};
use portcullis_policy::api::Problem;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::world::World;

/// Agents that are asked at a time.
const AT_ONCE: usize = 64;
/// An answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A node's endpoints, 1,000 of them.
const MOST_BYTES: usize = 8 << 20;

/// Why a node's agent could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// There is no such node.
    NoNode(String),
    /// It does not answer: one sentence.
    Away(String),
    /// It said no.
    Refused(Box<Problem>),
}

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoNode(node) => write!(f, "there is no node {node:?} in the map"),
            Self::Away(why) => f.write_str(why),
            Self::Refused(problem) => f.write_str(&problem.detail),
        }
    }
}

#[derive(Clone)]
struct Known {
    address: String,
    certificate: String,
    connection: Arc<Connection>,
}

/// The way to every agent; shared.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    world: World,
    identity: Identity,
    known: Mutex<BTreeMap<String, Known>>,
    room: Semaphore,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

impl Peers {
    /// Agents of this world; they know us by this identity.
    #[must_use]
    pub fn new(world: World, identity: Identity) -> Self {
        Self(Arc::new(Inner { world, identity, known: Mutex::default(), room: Semaphore::new(AT_ONCE) }))
    }

    /// Asks a node's agent for JSON.
    ///
    /// # Errors
    /// If it cannot be asked, or says no.
    pub async fn get<T: DeserializeOwned>(&self, node: &str, path: &str) -> Result<T, Unreachable> {
        let answer = self.ask(node, Method::GET, path).await?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            Unreachable::Away(format!("what the agent of node {node} says cannot be read: {error}"))
        })
    }

    /// Asks a node's agent anything.
    ///
    /// # Errors
    /// If it cannot be asked, or says no.
    pub async fn ask(&self, node: &str, method: Method, path: &str) -> Result<Answer, Unreachable> {
        let connection = self.connection(node)?;
        // It is never closed.
        let _room = self.0.room.acquire().await;
        let away = |error| Unreachable::Away(format!("the agent of node {node} does not answer: {error}"));
        let answer = connection.request(method, path, None).await.map_err(away)?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        match serde_json::from_slice::<Problem>(&answer.body) {
            Ok(problem) if answer.status != StatusCode::UNAUTHORIZED => {
                Err(Unreachable::Refused(Box::new(problem)))
            }
            _ => Err(Unreachable::Away(format!("the agent of node {node} answers with {}", answer.status))),
        }
    }

    /// Asks all of these nodes the same; answers come as they come.
    pub fn fan_out<T: DeserializeOwned + Send + 'static>(
        &self,
        nodes: Vec<String>,
        path: String,
    ) -> impl Stream<Item = (String, Result<T, Unreachable>)> + Send + use<T> {
        let peers = self.clone();
        stream::iter(nodes)
            .map(move |node| {
                let (peers, path) = (peers.clone(), path.clone());
                async move {
                    let answer = peers.get(&node, &path).await;
                    (node, answer)
                }
            })
            .buffer_unordered(AT_ONCE)
    }

    /// Follows a node's events.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub async fn events(&self, node: &str, path: &str) -> Result<Events, Unreachable> {
        let connection = self.connection(node)?;
        let _room = self.0.room.acquire().await;
        connection
            .stream_sse(path)
            .await
            .map_err(|error| Unreachable::Away(format!("the agent of node {node} tells no events: {error}")))
    }

    /// What is known of nodes that are no more goes.
    pub fn sweep(&self) {
        let map = self.0.world.map();
        self.lock().retain(|node, _| map.get(node).is_some());
    }

    fn connection(&self, node: &str) -> Result<Arc<Connection>, Unreachable> {
        let map = self.0.world.map();
        let entry = map.get(node).ok_or_else(|| Unreachable::NoNode(node.to_owned()))?;
        let Some(told) = &entry.map else {
            return Err(Unreachable::Away(format!("no agent ever published a map of node {node}")));
        };
        let Some(peer) = &told.agent.peer else {
            return Err(Unreachable::Away(format!(
                "the agent of node {node} takes no connections (peer_listen is off)"
            )));
        };
        let mut known = self.lock();
        if let Some(same) =
            known.get(node).filter(|it| it.address == peer.address && it.certificate == peer.certificate)
        {
            return Ok(Arc::clone(&same.connection));
        }
        let bad = |error| Unreachable::Away(format!("node {node} published no usable certificate: {error}"));
        let certificate = certificate_from_pem(&peer.certificate).map_err(bad)?;
        let config = client_config(Some(&self.0.identity), &certificate).map_err(bad)?;
        let connection = Arc::new(Connection::new(&peer.address, config).with_limits(PATIENCE, MOST_BYTES));
        known.insert(
            node.to_owned(),
            Known {
                address: peer.address.clone(),
                certificate: peer.certificate.clone(),
                connection: Arc::clone(&connection),
            },
        );
        Ok(connection)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
