//! What a node publishes: its `EndpointMap`.
//!
//! *When* is decided by [`Publisher`], which is pure: it knows the time only as it is told, so that a simulation of
//! thousands of nodes runs the very same code. *How* is [`run`]: server-side apply of the object (owned by the Node) and of its
//! status, as a whole.
//!
//! What a node sends depends on its pods' coming and going only. A change waits a second for others and then a random part of
//! half an interval; writes are an interval apart; pods that the hub is to end are told at once. What failed is tried again
//! after jittered pauses of up to a minute, so that nodes that were cut off do not come back all at once.

mod fit;
mod machine;
mod object;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::watch;
use tokio::time::sleep_until;

pub use fit::{LONGEST_MESSAGE, fit, same_content};
pub use machine::{Next, Outcome, Publisher};
pub use object::{FIELD_MANAGER, offenders};

use crate::crd::{EndpointMapStatus, Offender};
use crate::dice::Dice;
use object::{Found, Object};

/// How a node publishes.
#[derive(Clone)]
pub struct PublishConfig {
    /// The API server.
    pub client: Client,
    /// The node, and the object's name.
    pub node: String,
    /// Between two writes, unless the hub is to end a pod.
    pub interval: Duration,
}

impl std::fmt::Debug for PublishConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PublishConfig").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Keeps the object as `status` says, until its sender is dropped. `None` there: there is nothing to say yet, and the object
/// stays as it is. `told` hears what is wrong, in one sentence, and with `None` that it was written.
pub async fn run(
    config: PublishConfig,
    mut status: watch::Receiver<Option<Arc<EndpointMapStatus>>>,
    mut told: impl FnMut(Option<String>) + Send,
) {
    let mut publisher = Publisher::new(config.interval, Dice::new().seed());
    let mut object = Object::new(config.client, config.node);
    let mut known = false;
    status.mark_changed();
    loop {
        let due = match publisher.next(Instant::now()) {
            Next::Write(status) if known => {
                let outcome = write(&mut object, &status, &mut told).await;
                publisher.done(outcome, Instant::now());
                continue;
            }
            // What is there decides whether anything has to be written at all.
            Next::Write(_) | Next::Verify => {
                let outcome = match object.look().await {
                    Ok(found) => {
                        known = true;
                        verified(found)
                    }
                    Err(trouble) => {
                        told(Some(trouble.why));
                        Outcome::Failed { retry_after: trouble.retry_after }
                    }
                };
                publisher.done(outcome, Instant::now());
                continue;
            }
            Next::At(due) => Some(due),
            Next::Idle => None,
        };
        let waiting = async {
            match due {
                Some(due) => sleep_until(due.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = waiting => {}
            changed = status.changed() => {
                if changed.is_err() {
                    return;
                }
                let offered = status.borrow_and_update().clone();
                if let Some(offered) = offered {
                    publisher.offer(offered, Instant::now());
                }
            }
        }
    }
}

fn verified(found: Found) -> Outcome {
    match found {
        Found::Same => Outcome::Same,
        Found::Missing => Outcome::Present(None),
        Found::Status(status) => Outcome::Present(Some(status)),
    }
}

async fn write(
    object: &mut Object,
    status: &EndpointMapStatus,
    told: &mut impl FnMut(Option<String>),
) -> Outcome {
    match object.write(status).await {
        Ok(()) => {
            told(None);
            Outcome::Written
        }
        Err(trouble) => {
            told(Some(trouble.why));
            Outcome::Failed { retry_after: trouble.retry_after }
        }
    }
}

/// What differs at once is told at once.
fn offenders_differ(one: Option<&EndpointMapStatus>, other: &EndpointMapStatus) -> bool {
    let before: &[Offender] = one.map_or(&[], |one| &one.offenders);
    *before != *other.offenders
}

#[cfg(test)]
mod tests;
