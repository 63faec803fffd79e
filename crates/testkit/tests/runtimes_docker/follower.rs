//! Follows a source as the agent does, and keeps what it said.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use portcullis_policy::container::{AttachmentPlace, Container, HostInterface, Network};
use portcullis_policy::guard::Termination;
use portcullis_runtimes::source::{self, Kind, Report, Request, SourceConfig};
use portcullis_testkit::{Namespace, wait_for};
use tokio::sync::{mpsc, oneshot};

/// All that was said, and when.
#[derive(Default)]
pub struct Said {
    pub containers: BTreeMap<String, Container>,
    pub networks: Vec<Network>,
    pub connected: bool,
    pub state: Option<Report>,
    pub snapshots: usize,
    pub log: Vec<(Instant, Report)>,
}

impl Said {
    fn take(&mut self, report: Report) {
        self.log.push((Instant::now(), report.clone()));
        match report {
            Report::Snapshot { containers, networks } => {
                self.containers = containers.into_iter().map(|c| (c.id.clone(), c)).collect();
                self.networks = networks;
                self.connected = true;
                self.snapshots += 1;
            }
            Report::Changed(container) => drop(self.containers.insert(container.id.clone(), *container)),
            Report::Gone { id, .. } => drop(self.containers.remove(&id)),
            Report::Networks(networks) => self.networks = networks,
            Report::Absent | Report::Connecting | Report::Failing(_) => {
                self.connected = false;
                self.state = Some(report);
            }
        }
    }

    pub fn named(&self, name: &str) -> Option<&Container> {
        self.containers.values().find(|container| container.name == name)
    }
}

/// A source that runs on a thread of its own; it ends when this is dropped.
pub struct Follower {
    said: Arc<Mutex<Said>>,
    requests: mpsc::Sender<Request>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Follower {
    pub fn start(kind: Kind, socket: &Path) -> Self {
        Self::with(SourceConfig::new(kind, socket))
    }

    pub fn with(config: SourceConfig) -> Self {
        let said: Arc<Mutex<Said>> = Arc::default();
        let (requests, receiver) = mpsc::channel(16);
        let (stop, stopped) = oneshot::channel::<()>();
        let keep = said.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let (sender, mut reports) = mpsc::channel(16);
                tokio::spawn(source::run(config, sender, receiver));
                let listen = async {
                    while let Some(report) = reports.recv().await {
                        keep.lock().unwrap().take(report);
                    }
                };
                tokio::select! {
                    () = listen => {}
                    _ = stopped => {}
                }
            });
        });
        Self { said, requests, stop: Some(stop), thread: Some(thread) }
    }

    /// Waits until what was said gives an answer.
    pub fn wait<T>(&self, what: &str, mut ask: impl FnMut(&Said) -> Option<T>) -> T {
        wait_for(what, || ask(&self.said.lock().unwrap()))
            .map_err(|error| format!("{error:#}\n{:#?}", self.said.lock().unwrap().log.last()))
            .unwrap()
    }

    /// Waits for a container that is as it should be.
    pub fn container(&self, name: &str, good: impl Fn(&Container) -> bool) -> Container {
        self.wait(name, |said| said.named(name).filter(|container| good(container)).cloned())
    }

    /// Waits for a container all of whose attachments were found.
    pub fn settled(&self, name: &str, attachments: usize) -> Container {
        self.container(name, |container| {
            let found = |a: &_| !matches!(a, AttachmentPlace::Expected { .. });
            container.attachments.len() == attachments
                && container.attachments.iter().all(|attachment| found(&attachment.place))
        })
    }

    pub fn ask(&self, request: Request) {
        self.requests.blocking_send(request).unwrap();
    }

    pub fn terminate(&self, id: &str, how: Termination) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Terminate { id: id.to_owned(), how, answer });
        answered.blocking_recv().unwrap()
    }

    pub fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// The host side of an attachment.
pub fn host(container: &Container, attachment: usize) -> HostInterface {
    match &container.attachments[attachment].place {
        AttachmentPlace::Pair { host } => host.clone(),
        other => panic!("{}: {other:?}", container.name),
    }
}

/// Checks with `ip` that a host side is the other end of an interface inside.
pub fn assert_is_other_end(host: &HostInterface, outside: &Namespace, inside: &Namespace, interface: &str) {
    let there = outside.run(&format!("ip -o link show dev {}", host.name)).unwrap();
    assert!(there.starts_with(&format!("{}: {}@if", host.index, host.name)), "{there}");
    let here = inside.run(&format!("ip -o link show dev {interface}")).unwrap();
    assert!(here.contains(&format!("{interface}@if{}:", host.index)), "{host:?}: {here}");
}
