//! The sources as tasks: each is started, listened to, and started again where it ends.

use std::sync::Arc;

use portcullis_runtimes::source::{self, Kind, SourceConfig};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::{Config, SourceKind};
use crate::core::{Agent, named_sources};

/// Reports that may wait for the core.
const REPORTS: usize = 64;
/// Requests that may wait for a source: one that is behind reads everything anew anyway.
const REQUESTS: usize = 256;

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
            tokio::spawn(follow(Arc::clone(agent), name, SourceConfig::new(kind, section.socket)))
        })
        .collect()
}

async fn follow(agent: Arc<Agent>, name: String, config: SourceConfig) {
    let (reports, mut told) = mpsc::channel(REPORTS);
    let (requests, asked) = mpsc::channel(REQUESTS);
    agent.ask_source_on(&name, requests);
    let source = source::run(config, reports, asked);
    tokio::pin!(source);
    loop {
        tokio::select! {
            biased;
            report = told.recv() => match report {
                Some(report) => agent.report(&name, report),
                None => return,
            },
            () = &mut source => {
                tracing::error!(source = name, "a source ended; its endpoints stay as they are");
                return;
            }
        }
    }
}
