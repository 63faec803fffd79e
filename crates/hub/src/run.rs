//! A hub, put together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::{Client, ResourceExt};
use portcullis_kubernetes::client;
use portcullis_kubernetes::peer::{Identity, Listener, PeerError, open_server_config};
use portcullis_web::serve;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::announce::{self, Announcement, Announcer, Subject};
use crate::api::{self, About, App, Gate, PlainEndpoint, TlsEndpoint};
use crate::bus::Bus;
use crate::clock::wall;
use crate::counters::Counters;
use crate::election::{self, Leadership};
use crate::gather::{Liveness, Peers};
use crate::map::watch as reading;
use crate::options::Options;
use crate::own;
use crate::reaper::{self, Own, Reaper};
use crate::status::{self, Writer, definitions};
use crate::troubles::Troubles;
use crate::world::World;

/// What has to be finished after the signal to stop: the lease is given back.
const STOPPING: Duration = Duration::from_secs(5);

/// Why there is no hub. Each is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// There is no way to the API server.
    #[error(transparent)]
    Client(#[from] client::ClientError),
    /// No identity, or an address that cannot be listened on.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The system does not give what every program needs.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// Runs a hub until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start. What goes wrong later it says, and goes on.
pub fn run(options: Options) -> Result<(), HubError> {
    // The lease must be renewed while a map of half a million rows is being written.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (stop, stopping) = watch::channel(false);
        let signals = signals()?;
        let hub = start(options, stopping).await?;
        signals.await;
        tracing::info!("stopping");
        stop.send_replace(true);
        hub.finish().await;
        Ok(())
    })
}

fn signals() -> Result<impl Future<Output = ()>, std::io::Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

/// A hub that runs.
#[derive(Debug)]
pub struct Running {
    /// Tasks that end by themselves when it is to stop.
    finishing: JoinSet<()>,
    /// Tasks that go on for ever.
    _going: JoinSet<()>,
}

impl Running {
    /// Waits until everything is finished.
    pub async fn finish(mut self) {
        let all = async { while self.finishing.join_next().await.is_some() {} };
        _ = tokio::time::timeout(STOPPING, all).await;
    }
}

/// What tasks share.
struct Parts {
    client: Client,
    options: Options,
    identity: Identity,
    own: Own,
    world: World,
    troubles: Troubles,
    bus: Bus,
    counters: Counters,
    leadership: Leadership,
    announcer: Announcer,
    peers: Peers,
    liveness: Liveness,
    board: reaper::Board,
}

/// Starts everything.
async fn start(options: Options, stopping: watch::Receiver<bool>) -> Result<Running, HubError> {
    let client = client::connect(options.kubeconfig.as_deref()).await?;
    let identity = Identity::generate(&options.pod)?;
    let listener = Listener::bind(&options.listen.to_string(), open_server_config(&identity)?, None).await?;
    let plain = TcpListener::bind(options.metrics_listen).await;
    let plain = plain.map_err(|source| HubError::Listen { address: options.metrics_listen, source })?;
    let world = World::default();
    let (terms, leadership) = Leadership::new();
    let (announcer, announcements) = Announcer::new();
    let parts = Parts {
        own: Own { namespace: options.namespace.clone(), pod: options.pod.clone() },
        peers: Peers::new(world.clone(), identity.clone()),
        troubles: Troubles::default(),
        bus: Bus::default(),
        counters: Counters::default(),
        liveness: Liveness::default(),
        board: reaper::Board::default(),
        client,
        options,
        identity,
        world,
        leadership,
        announcer,
    };
    let mut going = JoinSet::new();
    parts.read(&mut going);
    parts.work(&mut going, announcements);
    let mut finishing = JoinSet::new();
    let place = (parts.client.clone(), parts.options.namespace.clone());
    let (pod, timing) = (parts.options.pod.clone(), parts.options.timing);
    let stop = stopped(stopping.clone());
    finishing.spawn(election::run(place, pod, timing, terms, parts.troubles.clone(), stop));
    let (app, gate) = (parts.app(), Gate::of_cluster(parts.client.clone(), parts.troubles.clone()));
    let health = api::health_router(Arc::clone(&app));
    finishing.spawn(serve(TlsEndpoint(listener), api::router(app, gate), stopped(stopping.clone())));
    finishing.spawn(serve(PlainEndpoint(plain), health, stopped(stopping)));
    let Options { listen, metrics_listen, .. } = parts.options;
    tracing::info!(%listen, metrics = %metrics_listen, "the hub runs");
    Ok(Running { finishing, _going: going })
}

impl Parts {
    /// Tasks that keep up to date what is known.
    fn read(&self, going: &mut JoinSet<()>) {
        let all = || (self.client.clone(), self.world.clone(), self.troubles.clone());
        let (client, world, troubles) = all();
        going.spawn(reading::maps(client, world, troubles));
        let (client, world, troubles) = all();
        going.spawn(reading::nodes(client, world, troubles));
        let (client, world, troubles) = all();
        going.spawn(reading::policies(client, world, troubles));
        let (client, world, troubles) = all();
        going.spawn(reading::namespaces(client, world, troubles));
        let (client, world, troubles) = all();
        going.spawn(reading::rules(world, troubles.clone()));
        going.spawn(definitions::run(client, troubles));
        going.spawn(self.liveness.clone().run(self.world.clone(), self.peers.clone(), self.bus.clone()));
    }

    /// Tasks that do something with it.
    fn work(&self, going: &mut JoinSet<()>, announcements: mpsc::Receiver<Announcement>) {
        let (ended, hears_ended) = mpsc::unbounded_channel();
        let (own_pods, hears_own) = watch::channel(Vec::new());
        let (client, troubles) = (self.client.clone(), self.troubles.clone());
        let instance = self.options.pod.clone();
        going.spawn(announce::run(client, instance, self.announcer.clone(), announcements, troubles));
        let (client, troubles) = (self.client.clone(), self.troubles.clone());
        let certificate = self.identity.pem().to_owned();
        going.spawn(own::run(
            client,
            self.own.clone(),
            certificate,
            self.leadership.clone(),
            own_pods,
            troubles,
        ));
        let (client, troubles) = (self.client.clone(), self.troubles.clone());
        going.spawn(say_troubles(client, self.own.clone(), troubles, self.announcer.clone()));
        let reaper = Reaper {
            world: self.world.clone(),
            leadership: self.leadership.clone(),
            own: self.own.clone(),
            dry_run: self.options.dry_run,
            per_minute: self.options.terminations_per_minute,
            announcer: self.announcer.clone(),
            bus: self.bus.clone(),
            counters: self.counters.clone(),
            troubles: self.troubles.clone(),
            board: Arc::clone(&self.board),
            ended,
        };
        going.spawn(reaper::run(self.client.clone(), reaper));
        let writer = Writer {
            world: self.world.clone(),
            leadership: self.leadership.clone(),
            own: hears_own,
            announcer: self.announcer.clone(),
            troubles: self.troubles.clone(),
            ended: hears_ended,
        };
        going.spawn(status::run(self.client.clone(), writer));
    }

    fn app(&self) -> Arc<App> {
        Arc::new(App {
            world: self.world.clone(),
            peers: self.peers.clone(),
            liveness: self.liveness.clone(),
            leadership: self.leadership.clone(),
            bus: self.bus.clone(),
            counters: self.counters.clone(),
            troubles: self.troubles.clone(),
            offenders: Arc::clone(&self.board),
            about: Arc::new(About {
                pod: self.options.pod.clone(),
                started: wall(),
                dry_run: self.options.dry_run,
                per_minute: self.options.terminations_per_minute,
            }),
            streams: Arc::new(Semaphore::new(api::MAX_STREAMS)),
            followed: Arc::new(Semaphore::new(api::MAX_FOLLOWED)),
        })
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that nobody is left who could say so.
    _ = stopping.wait_for(|stop| *stop).await;
}

/// Says what is wrong on this hub's pod, for ever: each thing once when it begins.
async fn say_troubles(client: Client, own: Own, troubles: Troubles, announcer: Announcer) {
    let mut follower = troubles.follow();
    let mut said: BTreeSet<String> = BTreeSet::new();
    let mut uid = None;
    loop {
        let all = follower.borrow_and_update().clone();
        said.retain(|name| all.contains_key(name));
        for (name, trouble) in all {
            // That Events cannot be written is not to be said by one.
            if name == "events" || !said.insert(name) {
                continue;
            }
            if uid.is_none() {
                let api: Api<Pod> = Api::namespaced(client.clone(), &own.namespace);
                uid = api.get_metadata(&own.pod).await.ok().and_then(|pod| pod.uid());
            }
            announcer.say(Announcement {
                subject: Subject {
                    api_version: "v1".into(),
                    kind: "Pod".into(),
                    namespace: own.namespace.clone(),
                    name: own.pod.clone(),
                    uid: uid.clone().unwrap_or_default(),
                },
                warning: true,
                reason: "Trouble",
                message: trouble.why,
            });
        }
        if follower.changed().await.is_err() {
            return;
        }
    }
}
