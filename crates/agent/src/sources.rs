//! The sources as tasks: each is started, listened to, and started again where it ends.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use portcullis_runtimes::source::{self, Kind, Report, Request, SourceConfig};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::config::{Config, SourceKind};
use crate::core::{Agent, named_sources};

/// Reports that may wait for the core.
const REPORTS: usize = 64;
/// Requests that may wait for a source: one that is behind reads everything anew anyway.
const REQUESTS: usize = 256;
/// Until a source that broke off is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Starts every source of the configuration.
pub fn start(agent: &Arc<Agent>, config: &Config) -> Vec<JoinHandle<()>> {
    named_sources(config)
        .into_iter()
        .map(|(name, section)| {
            let kind = match section.kind {
                SourceKind::Docker => Kind::Docker,
                SourceKind::Podman => Kind::Podman,
                SourceKind::Cri => Kind::Cri,
            };
            tokio::spawn(keep(Arc::clone(agent), name, SourceConfig::new(kind, section.socket)))
        })
        .collect()
}

/// Follows a source for ever. A runtime's answer that makes a source panic must not end it for good.
async fn keep(agent: Arc<Agent>, name: String, config: SourceConfig) {
    loop {
        // A set, so that whoever ends this task ends that one as well.
        let mut following = JoinSet::new();
        let (agent_of_it, name_of_it, config) = (Arc::clone(&agent), name.clone(), config.clone());
        following.spawn(async move {
            let run = |reports, requests| source::run(config, reports, requests);
            follow(&agent_of_it, &name_of_it, run).await;
        });
        let why = match following.join_next().await {
            Some(Err(error)) => error.to_string(),
            _ => "it ended".to_owned(),
        };
        tracing::error!(source = name, why, "a source broke off; its endpoints stay as they are");
        agent.report(&name, Report::Failing(format!("it broke off ({why}), and is started again")));
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

/// Starts a source, and takes in what it tells until it ends.
pub(crate) async fn follow<F: Future<Output = ()>>(
    agent: &Agent,
    name: &str,
    run: impl FnOnce(mpsc::Sender<Report>, mpsc::Receiver<Request>) -> F,
) {
    let (reports, mut told) = mpsc::channel(REPORTS);
    let (requests, asked) = mpsc::channel(REQUESTS);
    agent.ask_source_on(name, requests);
    let source = run(reports, asked);
    tokio::pin!(source);
    loop {
        tokio::select! {
            biased;
            report = told.recv() => match report {
                Some(report) => agent.report(name, report),
                None => return,
            },
            () = &mut source => return,
        }
    }
}
