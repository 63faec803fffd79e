//! One look at one sandbox: what the runtime says, and what the kernel shows.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_inventory::Netns;
use portcullis_policy::container::{Attachment, Container, Networking};
use portcullis_policy::model::Workload;

use super::attach::Search;
use super::info::Facts;
use super::list::configured;
use super::networks::{self, CniNetwork};
use super::rpc::{ASKING, Connection, CriError};
use super::wire::{
    PodSandboxMetadata, PodSandboxStatus, PodSandboxStatusRequest, PodSandboxStatusResponse, READY,
};
use crate::resolve::{HostSpaces, resolve};

/// A sandbox this young has no process of its workload yet: the kubelet makes the first container after the
/// sandbox, and that alone takes most of it.
const YOUNG: Duration = Duration::from_secs(1);
const LONGEST_NAME: usize = 253;
const LONGEST_ID: usize = 128;

/// Where looks are taken.
#[derive(Debug)]
pub(super) struct Scene {
    /// The runtime.
    pub connection: Connection,
    /// What workloads call it.
    pub runtime: String,
    /// Where host sides are.
    pub hosts: HostSpaces,
}

/// What is already known of the sandbox.
#[derive(Clone, Debug, Default)]
pub(super) struct Prior {
    /// The attachments that were found before.
    pub kept: Vec<Attachment>,
    /// It was seen to appear just now.
    pub appeared: bool,
    /// The CNI networks.
    pub networks: Arc<[CniNetwork]>,
}

/// What was seen.
#[derive(Debug)]
pub(super) enum Seen {
    /// It runs.
    Here(Box<Container>),
    /// It does not run, or the runtime does not know it.
    Gone,
}

/// An id that may be used: runtimes give hexadecimal ones; CRI itself promises nothing.
pub(super) fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(plain)
}

/// Looks once.
pub(super) async fn look(scene: Arc<Scene>, id: &str, mut prior: Prior) -> Result<Seen, CriError> {
    let question = PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: true };
    let answer: PodSandboxStatusResponse =
        match scene.connection.ask("PodSandboxStatus", question, ASKING).await {
            Ok(answer) => answer,
            Err(error) if error.is_not_found() => return Ok(Seen::Gone),
            Err(error) => return Err(error),
        };
    let nonsense = |what: &str| CriError::Nonsense { method: "PodSandboxStatus", what: what.into() };
    let status = answer.status.as_ref().ok_or_else(|| nonsense("no status"))?;
    if status.id != id {
        return Err(nonsense("the status of another sandbox"));
    }
    if status.state != READY {
        return Ok(Seen::Gone);
    }
    let facts = Facts::read(&answer, status);
    // The configuration may have changed since; a new sandbox is of the present one.
    if prior.appeared
        && let Some(networks) = configured(&scene).await
    {
        prior.networks = networks.into();
    }
    let container = basics(&scene.runtime, status, &facts);
    // The kernel's answers are awaited on a thread that may.
    let placed = tokio::task::spawn_blocking(move || place(container, &facts, &scene.hosts, &prior));
    let container =
        placed.await.map_err(|_| nonsense("something that made the search for its interfaces fail"))?;
    Ok(Seen::Here(Box::new(container)))
}

/// What a list says of a sandbox that could not be looked at.
pub(super) fn placeholder(runtime: &str, id: &str, metadata: Option<&PodSandboxMetadata>) -> Container {
    let (name, workload) = identity(runtime, id, metadata);
    Container {
        id: id.into(),
        name,
        workload,
        netns: None,
        networking: Networking::Own,
        attachments: Vec::new(),
        since: None,
        trouble: Some("the runtime did not tell more of it yet".into()),
    }
}

fn identity(runtime: &str, id: &str, metadata: Option<&PodSandboxMetadata>) -> (String, Workload) {
    let fit = |text: &str| -> Option<String> {
        let fits = !text.is_empty() && text.len() <= LONGEST_NAME && !text.contains(char::is_control);
        fits.then(|| text.to_owned())
    };
    let pod = metadata.and_then(|metadata| fit(&metadata.name));
    let namespace = metadata.and_then(|metadata| fit(&metadata.namespace));
    let name = match (&namespace, &pod) {
        (Some(namespace), Some(pod)) => format!("{namespace}/{pod}"),
        (None, Some(pod)) => pod.clone(),
        _ => id.into(),
    };
    let workload = Workload {
        runtime: Some(runtime.into()),
        container: Some(id.into()),
        pod,
        namespace,
        uid: metadata.and_then(|metadata| fit(&metadata.uid)),
        ..Workload::default()
    };
    (name, workload)
}

/// What the runtime says, without its interfaces.
fn basics(runtime: &str, status: &PodSandboxStatus, facts: &Facts) -> Container {
    let (name, workload) = identity(runtime, &status.id, status.metadata.as_ref());
    let since = jiff::Timestamp::from_nanosecond(i128::from(facts.created_at)).ok();
    Container {
        id: status.id.clone(),
        name,
        workload: Workload { labels: facts.labels.clone(), ..workload },
        netns: None,
        networking: if facts.host_network { Networking::Host } else { Networking::Own },
        attachments: Vec::new(),
        since: since.filter(|_| facts.created_at > 0).map(|since| since.to_string()),
        trouble: None,
    }
}

/// With its interfaces.
fn place(mut container: Container, facts: &Facts, hosts: &HostSpaces, prior: &Prior) -> Container {
    if facts.host_network {
        return container;
    }
    let netns = match open(facts, hosts) {
        Ok(netns) => netns,
        Err(trouble) => return Container { trouble: Some(trouble), ..container },
    };
    let links = match resolve(&netns, hosts) {
        Ok(links) => links,
        Err(error) => return Container { trouble: Some(error.to_string()), ..container },
    };
    let path = netns.path.clone().unwrap_or_default();
    container.netns = Some(path.display().to_string());
    let search = Search {
        told: &facts.interfaces,
        kept: &prior.kept,
        fresh: prior.appeared || is_young(facts.created_at),
        netns: &path,
        hosts,
        network: &|inside| networks::name_of(&prior.networks, inside),
    };
    (container.attachments, container.trouble) = search.run(&links);
    if container.attachments.is_empty() && container.trouble.is_none() {
        container.networking = Networking::None;
    }
    container
}

fn is_young(created_at: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    u128::try_from(created_at).is_ok_and(|created| now.saturating_sub(created) < YOUNG.as_nanos())
}

fn open(facts: &Facts, hosts: &HostSpaces) -> Result<Netns, String> {
    let mut trouble = "the runtime does not tell its network namespace".to_owned();
    for path in &facts.netns {
        match Netns::open(path) {
            // A process that ended just now may have left its number to one of the host's.
            Ok(netns) if hosts.is_host(netns.id) => {
                trouble = format!("{} is the host's namespace, though it has one of its own", path.display());
            }
            Ok(netns) => return Ok(netns),
            Err(error) => trouble = error.to_string(),
        }
    }
    Err(trouble)
}
