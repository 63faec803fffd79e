//! Ending containers.

use std::time::Duration;

use hyper::StatusCode;
use portcullis_inventory::Process;
use portcullis_policy::guard::Termination;

use super::answer::Inspected;
use super::http::{Client, Error};
use super::ids;

/// Beyond its grace period a container is killed, and Docker waits ten seconds for that.
const LEEWAY: Duration = Duration::from_secs(15);

/// The end of a container waits no longer than this for what makes it noticed sooner.
const INSPECTION: Duration = Duration::from_millis(50);

/// Ends a container. That it does not run any more is no error, unless it was to run anew.
pub(super) async fn terminate(
    client: &Client,
    id: &str,
    how: Termination,
    grace: Duration,
) -> Result<(), String> {
    if !ids::is_safe(id) {
        return Err(format!("{id:?} is not the id of a container"));
    }
    let seconds = grace.as_secs();
    let (path, patience) = match how {
        Termination::Kill => (format!("/containers/{id}/kill?signal=KILL"), LEEWAY),
        Termination::Stop => (format!("/containers/{id}/stop?t={seconds}"), grace + LEEWAY),
        Termination::Restart => (format!("/containers/{id}/restart?t=0"), LEEWAY * 2),
    };
    let what = format!("container {} to be ended", &id[..id.len().min(12)]);
    let watched = if how == Termination::Kill { first_process(client, id).await } else { None };
    // In a task of its own: it goes on when the container is dead before the runtime has tidied up.
    let asked = client.clone();
    let answer = tokio::spawn(async move { asked.post(&what, &path, patience).await });
    let answer = async { answer.await.map_err(|error| error.to_string()) };
    let answer = tokio::select! {
        biased;
        () = death(watched) => return Ok(()),
        answer = answer => answer?,
    };
    match answer {
        Ok(()) => Ok(()),
        // Runtimes refuse to end what has ended, each with another status and another text.
        Err(Error::Refused { .. }) if how != Termination::Restart && is_down(client, id).await => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The first process of a container, where it can be told for certain. Its death is that of all others there
/// (pid_namespaces(7)); the runtime says so a fifth of a second later, when it has tidied up.
async fn first_process(client: &Client, id: &str) -> Option<Process> {
    let asked = format!("/containers/{id}/json");
    let inspected = client.get::<Inspected>("a container to be ended", &asked);
    let inspected = tokio::time::timeout(INSPECTION, inspected).await.ok()?.ok()?;
    let process = Process::watch(inspected.state.pid).ok()?;
    // The number may be another PID namespace's than ours.
    process.cgroups().ok()?.contains(id).then_some(process)
}

/// Waits for the end of a process; for ever where there is none to watch.
async fn death(process: Option<Process>) {
    match process {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}

async fn is_down(client: &Client, id: &str) -> bool {
    match client.get::<Inspected>("a container to be ended", &format!("/containers/{id}/json")).await {
        Ok(inspected) => !inspected.state.is_up(),
        Err(error) => error.status() == Some(StatusCode::NOT_FOUND),
    }
}
