//! Docker, and Podman's service that speaks Docker's API.
//!
//! Events are subscribed to before anything is listed, so nothing falls between the two. What an event says
//! is only taken as a reason to look; the exception is a container's end, which is believed at once.
//!
//! Docker holds the lock of a container while it starts, and answers an inspection only when it runs. So that
//! the gate can be shut before the first frame, a container that joins a network while it does not run yet is
//! described from the network and the list, with [`AttachmentPlace::Expected`]: the veth is there by then, a
//! port of the bridge, and gets its MAC inside when it is moved in, some 200 ms later (Docker 20.10).
//!
//! Podman tells of containers late (its event log is read four times a second) and not at all of networks that
//! are joined or left. There the interfaces of the runtime's namespace are followed too: whenever a pair comes
//! or goes, it is asked for its list.
//!
//! [`AttachmentPlace::Expected`]: portcullis_policy::container::AttachmentPlace::Expected

mod answer;
mod describe;
mod end;
mod events;
mod http;
mod ids;
mod ledger;
mod network;
mod session;
mod work;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc};

use crate::source::{Report, Request, SourceConfig};
use http::Client;

/// A socket that is not there is looked for this often: one system call.
const LOOK_FOR_SOCKET: Duration = Duration::from_millis(100);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LAST: Duration = Duration::from_secs(2);

/// Follows a runtime until the receiver of its reports is dropped.
pub async fn run(config: SourceConfig, reports: mpsc::Sender<Report>, requests: mpsc::Receiver<Request>) {
    let wishes = Wishes::default();
    tokio::select! {
        () = follow(&config, &reports, &wishes) => {}
        () = serve(&config, requests, &wishes) => {}
        () = reports.closed() => {}
    }
}

/// What the agent wants to be looked at. Wishes for the same are one.
#[derive(Debug, Default)]
struct Wishes {
    wanted: Mutex<Wanted>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Wanted {
    containers: BTreeSet<String>,
    everything: bool,
}

impl Wishes {
    fn add(&self, add: impl FnOnce(&mut Wanted)) {
        add(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        self.added.notify_one();
    }

    fn take(&self) -> Wanted {
        std::mem::take(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for wishes. Cancel safe.
    async fn next(&self) -> Wanted {
        self.added.notified().await;
        self.take()
    }
}

/// Ends containers beside everything else, and passes on the other requests. Never returns.
async fn serve(config: &SourceConfig, mut requests: mpsc::Receiver<Request>, wishes: &Wishes) {
    let client = Client { socket: config.socket.clone() };
    let mut ending = FuturesUnordered::new();
    let mut open = true;
    loop {
        tokio::select! {
            request = requests.recv(), if open => match request {
                None => open = false,
                Some(Request::LookAt(id)) => wishes.add(|wanted| {
                    wanted.containers.insert(id);
                }),
                Some(Request::Resync) => wishes.add(|wanted| wanted.everything = true),
                Some(Request::Terminate { id, how, answer }) => ending.push({
                    let client = client.clone();
                    async move {
                        // Whoever asked may have lost interest.
                        let _ = answer.send(end::terminate(&client, &id, how, config.stop_grace).await);
                    }
                }),
            },
            Some(()) = ending.next() => {}
            else => std::future::pending().await,
        }
    }
}

/// One session after another. Returns when nobody listens any more.
async fn follow(config: &SourceConfig, reports: &mpsc::Sender<Report>, wishes: &Wishes) {
    let mut backoff = BACKOFF_FIRST;
    let mut said = None;
    loop {
        if !matches!(said, Some(Report::Failing(_) | Report::Connecting))
            && say(reports, &mut said, Report::Connecting).await
        {
            return;
        }
        let session = session::run(config, reports, wishes).await;
        let error = match session.end {
            session::End::Anew => {
                said = None;
                continue;
            }
            session::End::Unheard => return,
            session::End::Failed(error) => error,
        };
        if session.was_connected {
            (backoff, said) = (BACKOFF_FIRST, None);
        }
        if error.is_absent() {
            if say(reports, &mut said, Report::Absent).await {
                return;
            }
            while !config.socket.exists() {
                tokio::time::sleep(LOOK_FOR_SOCKET).await;
            }
            backoff = BACKOFF_FIRST;
            continue;
        }
        if say(reports, &mut said, Report::Failing(error.to_string())).await {
            return;
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_LAST);
    }
}

/// Reports what was not just said. True: nobody listens.
async fn say(reports: &mpsc::Sender<Report>, said: &mut Option<Report>, report: Report) -> bool {
    if said.as_ref() == Some(&report) {
        return false;
    }
    *said = Some(report.clone());
    reports.send(report).await.is_err()
}
