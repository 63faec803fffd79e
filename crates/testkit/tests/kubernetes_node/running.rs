//! Something of the node part, running in a control plane's namespace.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portcullis_kubernetes::client;
use portcullis_testkit::Namespace;
use portcullis_testkit::kube::ControlPlane;
use tokio::sync::oneshot;

/// A test that waits longer has failed. Nothing is as fast as that on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs until it is dropped.
pub struct Running<T> {
    heard: Receiver<T>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Running<T> {
    /// Starts it with a client of ours, as the agent has it.
    pub fn start<F>(plane: &ControlPlane, kubeconfig: &Path, body: F) -> Self
    where
        F: AsyncFnOnce(kube::Client, Sender<T>) + Send + 'static,
    {
        let namespace = Namespace::open(plane.namespace().name()).unwrap();
        let kubeconfig = kubeconfig.to_owned();
        let (sender, heard) = channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let running = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let client = client::connect(Some(&kubeconfig)).await.unwrap();
                    tokio::select! {
                        () = body(client, sender) => {}
                        _ = stopped => {}
                    }
                });
                runtime.shutdown_background();
            };
            namespace.within(running).unwrap();
        });
        Self { heard, stop: Some(stop), thread: Some(thread) }
    }

    /// Waits for a word that is wanted; others pass.
    pub fn until<U>(&self, what: &str, mut wanted: impl FnMut(T) -> Option<U>) -> U {
        let began = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let word =
                self.heard.recv_timeout(left).unwrap_or_else(|error| panic!("waiting for {what}: {error}"));
            if let Some(found) = wanted(word) {
                return found;
            }
        }
    }

    /// What was said, without waiting.
    pub fn so_far(&self) -> Vec<T> {
        self.heard.try_iter().collect()
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(panic)) = ended
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Runs something to its end there.
pub fn once<T, F>(plane: &ControlPlane, kubeconfig: &Path, body: F) -> T
where
    T: Send + 'static,
    F: AsyncFnOnce(kube::Client) -> T + Send + 'static,
{
    let running = Running::start(plane, kubeconfig, async move |client, sender: Sender<T>| {
        sender.send(body(client).await).unwrap();
    });
    running.until("an answer", Some)
}
