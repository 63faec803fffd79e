//! Asks the API server for a candidate.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use super::{Answer, Ask, Candidate, Record, Term, Timing};
use crate::clock::now;
use crate::dice;
use crate::troubles::{Asking, Troubles};

/// Its name, in our own namespace.
pub const LEASE: &str = "portcullis-hub";
const ROLE: &str = "Role portcullis-hub";

/// Keeps `terms` up to date until `stop` is over; then the lease is given back.
pub async fn run(
    (client, namespace): (Client, String),
    identity: String,
    timing: Timing,
    terms: watch::Sender<Term>,
    troubles: Troubles,
    stop: impl Future<Output = ()>,
) {
    let api = Api::namespaced(client, &namespace);
    let mut clerk = Clerk { api, timing, troubles, lease: None };
    let mut candidate = Candidate::new(identity, timing);
    let mut stop = std::pin::pin!(stop);
    loop {
        attempt(&mut candidate, &mut clerk).await;
        tell(&terms, candidate.term());
        let pause = timing.retry + dice::up_to(timing.retry / 5);
        tokio::select! {
            () = &mut stop => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    // Nothing is done in its name any more before others may have it.
    tell(&terms, Term { until: None, ..candidate.term() });
    if let Some(ask) = candidate.release(&wall()) {
        clerk.answer(ask).await;
    }
}

fn tell(terms: &watch::Sender<Term>, term: Term) {
    terms.send_if_modified(|known| {
        if known.until.is_some() != term.until.is_some() || known.holder != term.holder {
            tracing::info!(leads = term.until.is_some(), holder = term.holder, "leadership");
        }
        let changed = *known != term;
        *known = term;
        changed
    });
}

async fn attempt(candidate: &mut Candidate, clerk: &mut Clerk) {
    let mut ask = candidate.next(&wall());
    // A renewal, reading why it was refused, then writing; whatever more there were would only repeat that.
    for _ in 0..3 {
        let sent = now();
        let answer = clerk.answer(ask).await;
        match candidate.heard(sent, now(), answer, &wall()) {
            Some(next) => ask = next,
            None => return,
        }
    }
}

/// With the precision of Kubernetes' `MicroTime`.
fn wall() -> String {
    let now = Timestamp::now();
    now.round(jiff::Unit::Microsecond).unwrap_or(now).to_string()
}

struct Clerk {
    api: Api<Lease>,
    timing: Timing,
    troubles: Troubles,
    /// As it was last seen: what others wrote besides is kept.
    lease: Option<Lease>,
}

impl Clerk {
    async fn answer(&mut self, ask: Ask) -> Answer {
        let verb = match ask {
            Ask::Read => "get",
            Ask::Create(_) => "create",
            Ask::Replace(..) => "update",
        };
        // Several attempts must fit into the time that a leader is certain for.
        let patience = (self.timing.renew / 3).max(Duration::from_millis(100));
        let asked = tokio::time::timeout(patience, self.ask(ask)).await;
        let asking = Asking { verb, resource: "lease portcullis-hub", role: ROLE };
        match asked {
            Ok(Ok(answer)) => {
                self.troubles.clear("lease");
                answer
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Answer::Conflict,
            Ok(Err(error)) => {
                self.troubles.set("lease", asking.failed(&error), true);
                Answer::Failed
            }
            Err(_) => {
                self.troubles.set("lease", asking.silent(patience), true);
                Answer::Failed
            }
        }
    }

    async fn ask(&mut self, ask: Ask) -> Result<Answer, kube::Error> {
        let (record, written) = match ask {
            Ask::Read => {
                self.lease = self.api.get_opt(LEASE).await?;
                let Some(lease) = &self.lease else { return Ok(Answer::Absent) };
                return Ok(Answer::Found(read(lease), lease.resource_version().unwrap_or_default()));
            }
            Ask::Create(record) => {
                let mut lease = Lease::default();
                lease.metadata.name = Some(LEASE.to_owned());
                lease.spec = Some(spec(&record, self.timing));
                (record, self.api.create(&PostParams::default(), &lease).await?)
            }
            Ask::Replace(record, version) => {
                let mut lease = self.lease.clone().unwrap_or_default();
                lease.metadata.name = Some(LEASE.to_owned());
                lease.metadata.resource_version = Some(version);
                lease.spec = Some(spec(&record, self.timing));
                (record, self.api.replace(LEASE, &PostParams::default(), &lease).await?)
            }
        };
        let version = written.resource_version().unwrap_or_default();
        self.lease = Some(written);
        Ok(Answer::Written(record, version))
    }
}

fn read(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let text = |time: Option<MicroTime>| time.map(|time| time.0.to_string()).unwrap_or_default();
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        renewed: text(spec.renew_time),
        acquired: text(spec.acquire_time),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

fn spec(record: &Record, timing: Timing) -> LeaseSpec {
    let time = |text: &str| text.parse::<Timestamp>().ok().map(MicroTime);
    let duration = if record.holder.is_empty() { Duration::from_secs(1) } else { timing.lease };
    LeaseSpec {
        holder_identity: Some(record.holder.clone()),
        renew_time: time(&record.renewed),
        acquire_time: time(&record.acquired),
        lease_duration_seconds: i32::try_from(duration.as_secs().max(1)).ok(),
        lease_transitions: Some(record.transitions),
        ..LeaseSpec::default()
    }
}
