//! Runtimes that speak the Kubernetes container runtime interface: containerd, CRI-O.
//!
//! Pods are what matters: a pod's sandbox owns the network, its containers share it. A sandbox that stops
//! never comes back; the kubelet makes a new one in its place, with another id.
//!
//! Events tell when to look, lists every few seconds find what no event told, and a look asks the runtime
//! and the kernel about one sandbox.

mod attach;
pub mod client;
mod events;
mod follow;
mod info;
mod list;
mod look;
mod networks;
pub mod rpc;
mod schedule;
pub mod wire;
mod wishes;

use std::path::Path;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use self::follow::{Follower, Memory, Stop};
use self::look::{Scene, is_id};
use self::rpc::{Connection, CriError};
use self::wire::{Nothing, PodSandboxId};
use self::wishes::{Wish, Wishes};
use crate::resolve::HostSpaces;
use crate::source::{Report, Request, SourceConfig};

/// Between looks for a socket that does not exist.
const ABSENT: Duration = Duration::from_millis(250);
/// Between attempts: doubled from the first to the last; anew after a connection that lasted.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// Stopping a sandbox runs CNI plugins.
const STOPPING: Duration = Duration::from_secs(30);

/// Follows a runtime until the receiver of its reports is dropped.
pub async fn run(config: SourceConfig, reports: mpsc::Sender<Report>, requests: mpsc::Receiver<Request>) {
    let wishes = Wishes::default();
    tokio::select! {
        () = reports.closed() => {}
        () = follow_always(&config, &reports, &wishes) => {}
        () = serve(&config, requests, &wishes) => {}
    }
}

/// Ends when nobody hears the reports.
async fn follow_always(config: &SourceConfig, reports: &mpsc::Sender<Report>, wishes: &Wishes) {
    let mut memory = Memory::default();
    let mut pause = FIRST_PAUSE;
    let mut said = None;
    loop {
        if !matches!(said, Some(Report::Failing(_))) {
            say(reports, &mut said, Report::Connecting).await;
        }
        let began = Instant::now();
        let why = match open(&config.socket).await {
            Ok(scene) => {
                let mut follower = Follower::new(scene, config, reports, wishes, &mut memory);
                let stop = follower.run().await;
                if follower.announced() {
                    said = None; // the snapshot said that it is connected
                }
                match stop {
                    Err(Stop::Unheard) => return,
                    Err(Stop::Failed(why)) => why,
                    Ok(never) => match never {},
                }
            }
            Err(OpenError::Cri(CriError::Absent(_))) => {
                say(reports, &mut said, Report::Absent).await;
                wait_for(&config.socket).await;
                pause = FIRST_PAUSE;
                continue;
            }
            Err(error) => error.to_string(),
        };
        if reports.is_closed() {
            return;
        }
        say(reports, &mut said, Report::Failing(why)).await;
        if began.elapsed() > LAST_PAUSE {
            pause = FIRST_PAUSE;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Says it, unless it was what was said last.
async fn say(reports: &mpsc::Sender<Report>, said: &mut Option<Report>, report: Report) {
    if said.as_ref() != Some(&report) {
        *said = Some(report.clone());
        // An error means that nobody listens; whoever runs us notices.
        let _ = reports.send(report).await;
    }
}

async fn wait_for(socket: &Path) {
    while !tokio::fs::try_exists(socket).await.unwrap_or(true) {
        sleep(ABSENT).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Cri(#[from] CriError),
    #[error("cannot look at this host's network namespaces: {0}")]
    Hosts(String),
}

async fn open(socket: &Path) -> Result<Scene, OpenError> {
    let connection = Connection::open(socket).await?;
    let process = connection.process;
    let hosts = tokio::task::spawn_blocking(move || HostSpaces::new(process)).await;
    let hosts = hosts.map_err(|error| OpenError::Hosts(error.to_string()))?;
    let hosts = hosts.map_err(|error| OpenError::Hosts(error.to_string()))?;
    tracing::info!(
        runtime = connection.runtime,
        version = connection.version,
        "follows {}",
        socket.display()
    );
    let runtime = runtime_name(&connection.runtime);
    Ok(Scene { connection, runtime, hosts })
}

/// As labels and policies name it: `containerd`, `cri-o`.
fn runtime_name(told: &str) -> String {
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
    let name: String = told.to_ascii_lowercase().chars().filter(plain).take(32).collect();
    if name.is_empty() { "cri".into() } else { name }
}

/// Takes what the agent asks for; never ends.
async fn serve(config: &SourceConfig, mut requests: mpsc::Receiver<Request>, wishes: &Wishes) {
    let mut endings = FuturesUnordered::new();
    let mut open = true;
    loop {
        tokio::select! {
            request = requests.recv(), if open => match request {
                Some(Request::LookAt(id)) if is_id(&id) => wishes.add(Wish::LookAt(id)),
                Some(Request::LookAt(_)) => {}
                Some(Request::Resync) => wishes.add(Wish::Resync),
                Some(Request::Terminate { id, how: _, answer }) => {
                    endings.push(terminate(&config.socket, id, answer, wishes));
                }
                None => open = false,
            },
            Some(()) = endings.next() => {}
            else => std::future::pending().await,
        }
    }
}

/// Stops a sandbox: everything in it is killed. It is the same for every way of ending, since the interface
/// has only this one; whether a fresh pod takes its place is for the kubelet to decide.
///
/// It has a connection of its own: following may be stuck in the very trouble that this is to end.
async fn terminate(socket: &Path, id: String, answer: oneshot::Sender<Result<(), String>>, wishes: &Wishes) {
    let result = stop(socket, &id).await.map_err(|error| error.to_string());
    wishes.add(Wish::Stopped(id));
    // Whoever asked may have gone.
    let _ = answer.send(result);
}

async fn stop(socket: &Path, id: &str) -> Result<(), CriError> {
    let connection = Connection::open(socket).await?;
    let request = PodSandboxId { pod_sandbox_id: id.to_owned() };
    match connection.ask::<_, Nothing>("StopPodSandbox", request, STOPPING).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
