//! Ending containers.

use std::time::Duration;

use hyper::StatusCode;
use portcullis_policy::guard::Termination;

use super::answer::Inspected;
use super::http::{Client, Error};
use super::ids;

/// Beyond its grace period a container is killed, and Docker waits ten seconds for that.
const LEEWAY: Duration = Duration::from_secs(15);

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
    match client.post(&what, &path, patience).await {
        Ok(()) => Ok(()),
        // Runtimes refuse to end what has ended, each with another status and another text.
        Err(Error::Refused { .. }) if how != Termination::Restart && is_down(client, id).await => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

async fn is_down(client: &Client, id: &str) -> bool {
    match client.get::<Inspected>("a container to be ended", &format!("/containers/{id}/json")).await {
        Ok(inspected) => !inspected.state.running && !inspected.state.paused,
        Err(error) => error.status() == Some(StatusCode::NOT_FOUND),
    }
}
