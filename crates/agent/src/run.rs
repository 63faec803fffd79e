//! The agent as a process: its tasks, its signals, its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_datapath::shield::Shield as KernelShield;
use portcullis_datapath::{Datapath, possible_cpus};
use portcullis_inventory::{Monitor, Netns};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::answer::{Evidence, Limiter, Own, Responder, Trip};
use crate::api::{ServeError, TcpEndpoint, Token, UnixEndpoint, router, serve_tcp, serve_unix};
use crate::config::Config;
use crate::control::Control;
use crate::core::{Agent, StartError, settings};
use crate::kubernetes::{self, Door};
use crate::observe::observe;
use crate::shield::Shield;

/// Endpoints that reached their threshold and may wait for an answer.
const TRIPS: usize = 1024;

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It could not serve.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A setting contradicts another.
    #[error("{0}")]
    Setting(String),
    /// A part of the agent ended.
    #[error("{part} ended ({why}): the gate stays shut; start the agent again")]
    Ended {
        /// Which.
        part: &'static str,
        /// Why.
        why: String,
    },
    /// The runtime failed.
    #[error("the agent's runtime failed: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Looks into containers' namespaces at a time. Each takes well below a millisecond, and a thread 100 KB.
const BLOCKING_THREADS: usize = 8;

/// How the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to. The gate stays shut: another agent takes it over.
    Stopped,
    /// It was told to, and the `DaemonSet` that it is of was deleted: no other agent comes.
    Dismissed,
}

/// Runs the agent until SIGTERM or SIGINT. The gate stays shut behind it: what is pinned goes on
/// enforcing, and the next agent takes it over.
pub fn run(mut config: Config) -> Result<Ended, RunError> {
    portcullis_datapath::give_memory_back();
    raise_file_limit();
    choose_capacity(&mut config);
    let host = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    config.kubernetes.complete(|name| std::env::var(name).ok(), &host);
    config.check().map_err(|rejection| RunError::Setting(rejection.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    runtime.block_on(serve(config))
}

/// Takes everything of ours out of the kernel: no interface is verified any more.
pub fn teardown(config: &Config) -> Result<(), RunError> {
    let mut config = config.clone();
    choose_capacity(&mut config);
    KernelShield::take_down(&config.bpffs).map_err(StartError::from)?;
    let opened = Datapath::open(&config.bpffs, settings(&config)).map_err(StartError::from)?;
    Ok(opened.datapath.take_down(&opened.tables).map_err(StartError::from)?)
}

/// Settles how many endpoints there may be: tables of another size would be made anew.
fn choose_capacity(config: &mut Config) {
    config.limits.endpoints = config.limits.capacity(u32::try_from(possible_cpus()).unwrap_or(u32::MAX));
}

async fn serve(config: Config) -> Result<Ended, RunError> {
    // The socket first: a second agent ends here, before it touches the kernel.
    let socket = UnixEndpoint::bind(&config.socket)?;
    let tcp = tcp(&config)?;
    let door = match config.kubernetes.enabled {
        true => Some(Door::open(&config.kubernetes).await.map_err(RunError::Setting)?),
        false => None,
    };
    let pause = Duration::from_millis(config.reconcile.interval_ms.max(10));
    let (agent, events) = Agent::start(config.clone())?;
    // The gate must not fall with the shield. What stands of that stands on, and its API says that it is not there.
    let shield =
        agent.start_shield().inspect_err(|fault| tracing::error!(%fault, "the shield is out of reach")).ok();
    let (stop, stopped) = watch::channel(false);
    let app = router(Arc::clone(&agent) as Arc<dyn Control>);
    let mut servers = vec![tokio::spawn(serve_unix(socket, app.clone(), when(stopped.clone())))];
    if let Some((endpoint, token)) = tcp {
        servers.push(tokio::spawn(serve_tcp(endpoint, app, token, when(stopped.clone()))));
    }
    let (trips, tripped) = mpsc::channel(TRIPS);
    let evidence = Arc::new(Evidence::default());
    let limiter = Limiter::per_minute(config.answer.terminations_per_minute);
    let responder =
        Responder::new(Arc::clone(&agent), Arc::clone(&evidence), limiter, Own::of_this_process());
    let responder = tokio::spawn(responder.run(tripped));
    let mut observer = tokio::spawn(observe(Arc::clone(&agent), events, trips.clone(), evidence));
    let mut watcher = tokio::spawn(look_after(Arc::clone(&agent), pause, trips));
    let mut sources = crate::sources::start(&agent, &config);
    if let Some(shield) = shield {
        sources.push(tokio::spawn(look_after_shield(Arc::clone(&agent), shield)));
    }
    if let Some(door) = door {
        sources.extend(kubernetes::start(&agent, &config.kubernetes, door, when(stopped.clone())));
    }
    tracing::info!("the gate is in place");
    let ended = tokio::select! {
        signal = wait_for_signal() => signal.map_err(RunError::from),
        ended = &mut observer => Err(broke_off("what reads the kernel's events", format!("{ended:?}"))),
        ended = &mut watcher => Err(broke_off("what looks after the gate", format!("{ended:?}"))),
    };
    tracing::info!("stopping; the gate stays shut");
    let _nobody_listens = stop.send(true);
    sources.iter().for_each(JoinHandle::abort);
    watcher.abort();
    observer.abort();
    responder.abort();
    agent.settle();
    for server in servers {
        // Streams that clients keep open end with the process.
        let _late = tokio::time::timeout(Duration::from_secs(2), server).await;
    }
    ended?;
    let dismissed = kubernetes::is_dismissed(&config.kubernetes).await;
    Ok(if dismissed { Ended::Dismissed } else { Ended::Stopped })
}

/// An agent of which a part is missing would only seem to be there.
fn broke_off(part: &'static str, why: String) -> RunError {
    RunError::Ended { part, why }
}

fn tcp(config: &Config) -> Result<Option<(TcpEndpoint, Token)>, RunError> {
    let Some(address) = config.listen else {
        return Ok(None);
    };
    let Some(file) = &config.token_file else {
        return Err(RunError::Setting(
            "`listen` wants a token: name a file with a secret of at least 16 characters as `token_file` (--token-file)"
                .to_owned(),
        ));
    };
    Ok(Some((TcpEndpoint::bind(address)?, Token::from_file(file)?)))
}

async fn when(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone: stop as well.
    let _gone = stopped.wait_for(|stop| *stop).await;
}

async fn wait_for_signal() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Looks after the kernel side at every tick, and follows the network in between.
async fn look_after(agent: Arc<Agent>, pause: Duration, trips: mpsc::Sender<Trip>) {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut monitors = Monitors::default();
    loop {
        monitors.follow(&agent);
        ticks.tick().await;
        for trip in agent.check() {
            if let Err(TrySendError::Full(trip) | TrySendError::Closed(trip)) = trips.try_send(trip) {
                agent.put_off_trip(&trip.endpoint);
            }
        }
    }
}

/// Looks after the shield, and after changes that wait for a confirmation, once a second, on a thread that may wait.
async fn look_after_shield(agent: Arc<Agent>, shield: Arc<Shield>) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (shield, agent) = (Arc::clone(&shield), Arc::clone(&agent));
        let confirmation = agent.confirmation();
        let waits = confirmation.as_ref().is_some_and(|confirmation| confirmation.until().is_some());
        if !shield.signs().is_busy && !waits {
            continue;
        }
        let look = move || {
            if let Some(confirmation) = confirmation {
                confirmation.check(&*agent);
            }
            shield.check();
        };
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            tracing::error!(%error, "a look at the shield broke off");
        }
    }
}

/// One listener for each namespace with endpoints.
#[derive(Default)]
struct Monitors {
    tasks: HashMap<u32, JoinHandle<()>>,
}

impl Monitors {
    fn follow(&mut self, agent: &Arc<Agent>) {
        let namespaces = agent.namespaces();
        self.tasks.retain(|netns, task| {
            let wanted = namespaces.iter().any(|namespace| namespace.id.0 == *netns) && !task.is_finished();
            if !wanted {
                task.abort();
            }
            wanted
        });
        for namespace in namespaces {
            self.tasks
                .entry(namespace.id.0)
                .or_insert_with(|| tokio::spawn(monitor(Arc::clone(agent), namespace)));
        }
    }
}

async fn monitor(agent: Arc<Agent>, namespace: Netns) {
    let netns = namespace.id.0;
    let mut monitor = match Monitor::new(&namespace) {
        Ok(monitor) => monitor,
        Err(error) => {
            tracing::warn!(%error, "cannot follow the changes of a network namespace");
            tokio::time::sleep(Duration::from_secs(5)).await;
            return;
        }
    };
    // The descriptor would keep the namespace alive.
    drop(namespace);
    // What changed before we listened.
    agent.follow(netns, &[portcullis_inventory::Change::Overrun]);
    loop {
        let changes = monitor.next().await;
        agent.follow(netns, &changes);
    }
}

/// Every attachment holds a descriptor, so that removing its pin does not remove it.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
