//! A source that runs beside a test.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis_policy::container::{Container, Network};
use portcullis_runtimes::source::{Kind, Report, Request, SourceConfig, run};
use portcullis_testkit::Namespace;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nothing takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Source {
    reports: Option<mpsc::Receiver<Report>>,
    requests: mpsc::Sender<Request>,
    /// What came while something else was waited for.
    passed: Vec<Report>,
    waits: Runtime,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// In the test's own namespace: the runtime's is another.
    pub fn outside(socket: &Path) -> Self {
        Self::start(socket, |work| work())
    }

    /// In this namespace.
    pub fn within(namespace: &Namespace, socket: &Path) -> Self {
        let namespace = Namespace::open(namespace.name()).unwrap();
        Self::start(socket, move |work| namespace.within(work).unwrap())
    }

    fn start(socket: &Path, place: impl FnOnce(Box<dyn FnOnce() + Send>) + Send + 'static) -> Self {
        let (sender, reports) = mpsc::channel(256);
        let (requests, receiver) = mpsc::channel(16);
        let config = SourceConfig::new(Kind::Cri, socket);
        let work = move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            // A task that can be moved between threads, as the agent's is.
            runtime.block_on(async { tokio::spawn(run(config, sender, receiver)).await.unwrap() });
        };
        let thread = std::thread::spawn(move || place(Box::new(work)));
        let waits = Builder::new_current_thread().enable_all().build().unwrap();
        Self { reports: Some(reports), requests, passed: Vec::new(), waits, thread: Some(thread) }
    }

    pub fn ask(&self, request: Request) {
        self.requests.blocking_send(request).unwrap();
    }

    /// The first report that fits, among those that were passed over too.
    pub fn until<T>(&mut self, fits: impl Fn(&Report) -> Option<T>) -> T {
        if let Some(position) = self.passed.iter().position(|report| fits(report).is_some()) {
            return fits(&self.passed.remove(position)).unwrap();
        }
        let reports = self.reports.as_mut().unwrap();
        loop {
            let report = self.waits.block_on(async { timeout(PATIENCE, reports.recv()).await });
            let report = report.unwrap_or_else(|_| panic!("nothing fits among {:?}", self.passed)).unwrap();
            match fits(&report) {
                Some(found) => return found,
                None => self.passed.push(report),
            }
        }
    }

    /// The next snapshot; what came before it is of no more interest.
    pub fn snapshot(&mut self) -> (Vec<Container>, Vec<Network>) {
        self.passed.retain(|report| matches!(report, Report::Snapshot { .. }));
        let found = self.until(|report| match report {
            Report::Snapshot { containers, networks } => Some((containers.clone(), networks.clone())),
            _ => None,
        });
        self.passed.clear();
        found
    }

    pub fn changed(&mut self, id: &str) -> Container {
        self.until(|report| match report {
            Report::Changed(container) if container.id == id => Some((**container).clone()),
            _ => None,
        })
    }

    pub fn gone(&mut self, id: &str) {
        self.until(|report| matches!(report, Report::Gone { id: gone, .. } if gone == id).then_some(()));
    }

    pub fn failing(&mut self) -> String {
        self.until(|report| match report {
            Report::Failing(why) => Some(why.clone()),
            _ => None,
        })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.reports = None;
        let ended = self.thread.take().is_some_and(|thread| thread.join().is_ok());
        assert!(ended || std::thread::panicking(), "the source ends when nobody listens");
    }
}
