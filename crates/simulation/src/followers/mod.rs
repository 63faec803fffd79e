//! What agents and hubs follow: the real sources, policies and certificates, against an API server in this process, in
//! virtual time (tokio's paused clock).
//!
//! Nothing changes in what they follow: what is measured is how often they ask, most of all after an outage. Their jitter is their own,
//! and differs from run to run.

mod server;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use portcullis_kubernetes::collection::{Change, Collection, follow};
use portcullis_kubernetes::peer::{Trusted, certificates};
use portcullis_kubernetes::pods::{self, PodsConfig};
use portcullis_kubernetes::policies::{self, Standing};
use portcullis_runtimes::source::Report;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

pub use self::server::POD_SIZE;
use self::server::Server;
use crate::chance::Chance;
use crate::ledger::{Ledger, Who};
use crate::plan::{Happening, Plan};

/// Before the measured time.
const WARM_UP: Duration = Duration::from_secs(400);
/// Everything is started within this.
const STARTS: Duration = Duration::from_secs(290);
/// The second hub is started anew so much after the first.
const HUBS_APART: Duration = Duration::from_secs(30);

/// From this on an agent cannot follow the API, or can again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Since the beginning of the measured time.
    pub at: Duration,
    /// Where.
    pub node: u32,
    /// Whether it cannot.
    pub off: bool,
}

/// What they asked.
#[derive(Debug, Default)]
pub struct Followed {
    /// By second.
    pub ledger: Ledger,
    /// Agents that could not follow.
    pub cuts: Vec<Cut>,
}

/// Runs all followers of a plan.
///
/// # Errors
/// If there is no room for a runtime.
pub fn run(plan: &Plan) -> std::io::Result<Followed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(all(plan)))
}

/// What everybody shares.
#[derive(Clone)]
struct Shared {
    client: Client,
    zero: Instant,
    cuts: Arc<Mutex<Vec<Cut>>>,
}

async fn all(plan: &Plan) -> Followed {
    let zero = Instant::now() + WARM_UP;
    let server = Server::new(plan, zero);
    let shared = Shared { client: server.client(Who::Agent), zero, cuts: Arc::default() };
    let mut chance = Chance::new(plan.seed);
    let restarts = plan.restarts();
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    for node in 0..plan.nodes {
        let shared = shared.clone();
        let late = chance.between(Duration::ZERO, STARTS);
        let anew = restarts.iter().find(|restart| restart.node == node).copied();
        tasks.push(tokio::spawn(async move {
            sleep(late).await;
            let Some(anew) = anew else { return agent(&shared, node).await };
            tokio::select! {
                () = agent(&shared, node) => {}
                () = sleep_until(shared.zero + anew.from) => {}
            }
            sleep_until(shared.zero + anew.to).await;
            agent(&shared, node).await;
        }));
    }
    for replica in 0..2 {
        let (client, fails) = (server.client(Who::Hub), plan.happening == Happening::Failover);
        let at = zero + crate::plan::BEGINS + HUBS_APART * replica;
        tasks.push(tokio::spawn(async move {
            if fails {
                tokio::select! {
                    () = hub(&client) => {}
                    () = sleep_until(at) => {}
                }
            }
            hub(&client).await;
        }));
    }
    sleep_until(zero + plan.time).await;
    tasks.iter().for_each(JoinHandle::abort);
    let cuts = std::mem::take(&mut *shared.cuts.lock().unwrap_or_else(PoisonError::into_inner));
    Followed { ledger: server.ledger(), cuts }
}

/// What an agent follows. (The same parts as `crates/agent/src/kubernetes`.)
async fn agent(shared: &Shared, node: u32) {
    let client = || shared.client.clone();
    let cut = Mutex::new([false; 2]);
    let stands = |part: usize, off: bool| {
        let mut parts = cut.lock().unwrap_or_else(PoisonError::into_inner);
        let before = parts.contains(&true);
        parts[part] = off;
        let after = parts.contains(&true);
        if let Some(at) = Instant::now().checked_duration_since(shared.zero).filter(|_| before != after) {
            let mut cuts = shared.cuts.lock().unwrap_or_else(PoisonError::into_inner);
            cuts.push(Cut { at, node, off: after });
        }
    };
    let (reports, mut heard) = mpsc::channel(16);
    let (_wishes, requests) = mpsc::channel(1);
    let pods = pods::run(PodsConfig::new(client(), crate::content::node_name(node)), reports, requests);
    let hearing = async {
        while let Some(report) = heard.recv().await {
            stands(0, matches!(report, Report::Failing(_)));
        }
    };
    let policies =
        policies::run(client(), |_| {}, |standing| stands(1, matches!(standing, Standing::Failing(_))));
    let hubs = certificates::follow_hubs(client(), "portcullis-system", Trusted::default(), |_| {});
    tokio::join!(pods, hearing, policies, hubs);
}

/// What a hub follows (`crates/hub/src/map/watch.rs`).
async fn hub(client: &Client) {
    let collection = |path: &str, resource: &'static str, metadata_only, page| Collection {
        path: path.to_owned(),
        metadata_only,
        resource,
        role: "ClusterRole portcullis-hub",
        page,
    };
    let parts = [
        collection("/apis/portcullis.dev/v1alpha1/endpointmaps", "endpointmaps", false, 50),
        collection("/api/v1/nodes", "nodes", true, 500),
        collection("/apis/portcullis.dev/v1alpha1/gatepolicies", "gatepolicies", false, 200),
        collection("/api/v1/namespaces", "namespaces", true, 500),
    ];
    let follow_one = |part: Collection| async move {
        let (sender, mut changes) = mpsc::channel::<Change<serde_json::Value>>(16);
        let anew = Notify::new();
        let hearing = async { while changes.recv().await.is_some() {} };
        tokio::join!(follow(client.clone(), part, &anew, sender), hearing);
    };
    futures_util::future::join_all(parts.map(follow_one)).await;
}
