//! The list of sandboxes: which run. It says nothing of their interfaces.

use std::sync::Arc;

use portcullis_policy::container::Network;
use tokio::time::Instant;

use super::look::{Scene, is_id};
use super::networks::{self, CniNetwork};
use super::rpc::{ASKING, CriError};
use super::wire::{
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, READY, StatusRequest, StatusResponse,
};

/// Kubernetes supports 110 pods a node, and 250 with large ones: who names more than this is wrong.
const MOST_SANDBOXES: usize = 4096;

/// What runs.
#[derive(Debug)]
pub(super) struct Listed {
    /// When it was asked for.
    pub asked: Instant,
    /// Everything is to be read anew.
    pub whole: bool,
    /// Sandboxes that run.
    pub items: Vec<PodSandbox>,
    /// The CNI networks, if `whole` and if the runtime tells.
    pub networks: Option<(Vec<CniNetwork>, Vec<Network>)>,
}

/// Asks for the list, and for the networks if everything is to be read anew.
pub(super) async fn list(scene: Arc<Scene>, whole: bool) -> Result<Listed, CriError> {
    let asked = Instant::now();
    // Unfiltered: the few that do not run cost less than a runtime that misreads the filter.
    let question = ListPodSandboxRequest { filter: None };
    let answer: ListPodSandboxResponse = scene.connection.ask("ListPodSandbox", question, ASKING).await?;
    let mut items = answer.items;
    items.retain(|item| item.state == READY && is_id(&item.id));
    if items.len() > MOST_SANDBOXES {
        let what = format!("{} sandboxes, more than {MOST_SANDBOXES}", items.len());
        return Err(CriError::Nonsense { method: "ListPodSandbox", what });
    }
    let networks = if whole { networks(&scene).await } else { None };
    Ok(Listed { asked, whole, items, networks })
}

/// The CNI networks of this moment. Nice to know, and nothing depends on it: a failure leaves what was known.
pub(super) async fn configured(scene: &Scene) -> Option<Vec<CniNetwork>> {
    let question = StatusRequest { verbose: true };
    let status: Result<StatusResponse, _> = scene.connection.ask("Status", question, ASKING).await;
    let status = status.inspect_err(|error| tracing::debug!(%error, "no CNI networks")).ok()?;
    Some(networks::read(&status))
}

async fn networks(scene: &Arc<Scene>) -> Option<(Vec<CniNetwork>, Vec<Network>)> {
    let read = configured(scene).await?;
    let scene = Arc::clone(scene);
    let describe = tokio::task::spawn_blocking(move || {
        let described = networks::describe(&read, &scene.hosts);
        (read, described)
    });
    describe.await.ok()
}
