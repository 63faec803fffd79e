//! A source that runs beside a test.

use std::time::Duration;

use portcullis_policy::container::Container;
use portcullis_runtimes::source::{Kind, Report, Request, SourceConfig, run};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::fake::Fake;

/// Nothing takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Source {
    pub reports: mpsc::Receiver<Report>,
    pub requests: mpsc::Sender<Request>,
    pub task: tokio::task::JoinHandle<()>,
}

impl Source {
    pub fn follow(fake: &Fake) -> Self {
        let (sender, reports) = mpsc::channel(64);
        let (requests, receiver) = mpsc::channel(16);
        let task = tokio::spawn(run(SourceConfig::new(Kind::Cri, &fake.socket), sender, receiver));
        Self { reports, requests, task }
    }

    pub async fn next(&mut self) -> Report {
        timeout(PATIENCE, self.reports.recv()).await.expect("a report in time").expect("the source runs")
    }

    /// Passes over reports until one fits.
    pub async fn until<T>(&mut self, fits: impl Fn(&Report) -> Option<T>) -> T {
        loop {
            let report = self.next().await;
            if let Some(found) = fits(&report) {
                return found;
            }
        }
    }

    pub async fn snapshot(&mut self) -> Vec<Container> {
        self.until(|report| match report {
            Report::Snapshot { containers, .. } => Some(containers.clone()),
            _ => None,
        })
        .await
    }

    pub async fn changed(&mut self) -> Container {
        self.until(|report| match report {
            Report::Changed(container) => Some((**container).clone()),
            _ => None,
        })
        .await
    }

    pub async fn gone(&mut self) -> String {
        self.until(|report| match report {
            Report::Gone { id, removed: true } => Some(id.clone()),
            _ => None,
        })
        .await
    }

    pub async fn failing(&mut self) -> String {
        self.until(|report| match report {
            Report::Failing(why) => Some(why.clone()),
            _ => None,
        })
        .await
    }
}

pub fn names(containers: &[Container]) -> Vec<&str> {
    let mut names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
    names.sort_unstable();
    names
}
