//! Examines offenders, and carries out what was decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use portcullis_kubernetes::crd::Offender;
use portcullis_policy::api::{Action, ActionOutcome, Event, OffenderStatus};
use portcullis_policy::guard::Response;
use portcullis_policy::model::Workload;
use portcullis_policy::span::Span;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::ask::{Api, Look, Outcome};
use super::decide::{Case, End, Order, Reason, Verdict, decide};
use super::facts::{Facts, Own};
use super::limit::Limiter;
use super::owners::Owners;
use super::sentence;
use super::work::{Key, Work};
use super::{Board, method_name};
use crate::announce::{Announcement, Announcer, Subject};
use crate::bus::Bus;
use crate::clock::{Moment, now, wall};
use crate::counters::Counters;
use crate::election::Leadership;
use crate::troubles::Troubles;
use crate::world::World;

/// Questions to the API server at a time.
const MOST_AT_ONCE: usize = 16;
/// One that is going is looked at again after this.
const GOING: Duration = Duration::from_secs(10);

/// All that the reaper goes by.
#[derive(Clone, Debug)]
pub struct Reaper {
    /// The cluster.
    pub world: World,
    /// Whether this hub leads.
    pub leadership: Leadership,
    /// What is ours.
    pub own: Own,
    /// Nothing is ended at all.
    pub dry_run: bool,
    /// Most pods that are ended in a minute.
    pub per_minute: u16,
    /// Events on pods.
    pub announcer: Announcer,
    /// The hub's own events.
    pub bus: Bus,
    /// Counts.
    pub counters: Counters,
    /// Troubles.
    pub troubles: Troubles,
    /// Where it shows what becomes of offenders.
    pub board: Board,
    /// Hears the name of a policy for each pod that was ended because of it.
    pub ended: mpsc::UnboundedSender<String>,
}

/// What a task found out.
enum Found {
    Look(Key, Arc<Offender>, Result<Look, String>),
    End(Key, Arc<Offender>, Facts, End, Outcome),
}

/// Works, for ever.
pub async fn run(client: Client, reaper: Reaper) {
    let mut desk = Desk {
        api: Arc::new(Api::new(client)),
        limiter: Limiter::per_minute(reaper.per_minute),
        owners: Owners::default(),
        work: Work::default(),
        tasks: JoinSet::new(),
        ending: BTreeSet::new(),
        reaper,
    };
    let mut changes = desk.reaper.world.changes();
    let mut rules = desk.reaper.world.follow_rules();
    let mut leadership = desk.reaper.leadership.clone();
    let mut led = false;
    // What was there before anybody heard of changes.
    desk.renew();
    loop {
        let leads = desk.leads();
        if leads && !led {
            desk.work.touch(now());
        }
        led = leads;
        desk.begin();
        let pause = desk.pause();
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() { return }
                desk.renew();
            }
            changed = rules.changed() => {
                if changed.is_err() { return }
                desk.work.touch(now());
            }
            () = leadership.changed() => {}
            Some(found) = desk.tasks.join_next() => {
                // A task that panicked is one that is not done: see `Work`; it cannot.
                if let Ok(found) = found { desk.hear(found) }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Desk {
    reaper: Reaper,
    api: Arc<Api>,
    work: Work,
    limiter: Limiter,
    owners: Owners,
    tasks: JoinSet<Found>,
    /// UIDs of pods that are being ended just now: never twice at a time.
    ending: BTreeSet<String>,
}

impl Desk {
    fn leads(&self) -> bool {
        self.reaper.leadership.is_certain(now()) && self.reaper.world.is_whole()
    }

    fn renew(&mut self) {
        let map = self.reaper.world.map();
        self.work.set(now(), map.offenders());
        drop(map);
        self.reaper.counters.set_offenders(self.work.len());
        self.show();
    }

    fn show(&self) {
        let status = |(node, offender, told): (&str, &Offender, Option<(Reason, &str)>)| OffenderStatus {
            node: node.to_owned(),
            namespace: offender.namespace.clone(),
            pod: offender.pod.clone(),
            uid: offender.uid.clone(),
            reason: told.map(|(reason, _)| reason.name().to_owned()),
            message: told.map(|(_, why)| why.to_owned()),
            time: offender.time.clone(),
        };
        let all = self.work.told().map(status).collect();
        *self.reaper.board.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    fn pause(&self) -> Duration {
        let next = self.work.next().map_or(GOING, |next| next.saturating_sub(now()));
        // One that does not lead wakes up when it does.
        if self.leads() && self.tasks.len() < MOST_AT_ONCE { next.min(GOING) } else { GOING }
    }

    /// Looks at those that are due.
    fn begin(&mut self) {
        if !self.leads() {
            return;
        }
        let room = MOST_AT_ONCE.saturating_sub(self.tasks.len());
        for (key, offender) in self.work.take(now(), room) {
            let api = Arc::clone(&self.api);
            self.tasks.spawn(async move {
                let look = if is_name(&offender.namespace) && is_name(&offender.pod) {
                    api.look(&offender).await
                } else {
                    // It would be part of a path.
                    Ok(Look { pod: None, namespace: BTreeMap::new() })
                };
                Found::Look(key, offender, look)
            });
        }
    }

    fn hear(&mut self, found: Found) {
        match found {
            Found::Look(key, offender, Ok(look)) => self.judge(key, offender, look),
            Found::Look(key, offender, Err(why)) => {
                self.reaper.troubles.set("reaper", why.clone(), false);
                self.refuse(&key, &offender, Reason::Api, &why, None);
                self.work.failed(&key, now(), Duration::ZERO);
            }
            Found::End(key, offender, pod, end, outcome) => self.ended(&key, &offender, &pod, &end, outcome),
        }
    }

    fn judge(&mut self, key: Key, offender: Arc<Offender>, look: Look) {
        let rules = self.reaper.world.rules();
        let present = now();
        let case = Case {
            node: &key.0,
            offender: &offender,
            pod: look.pod.as_ref(),
            namespace: &look.namespace,
            rules: &rules,
            own: &self.reaper.own,
            dry_run: self.reaper.dry_run,
            leads: self.reaper.leadership.is_certain(present),
        };
        let (limiter, owners) = (&mut self.limiter, &self.owners);
        let verdict = decide(&case, |pod| permit(limiter, owners, pod, present));
        self.reaper.troubles.clear("reaper");
        match verdict {
            Verdict::Settled(why) => {
                tracing::debug!(
                    pod = offender.pod,
                    namespace = offender.namespace,
                    why,
                    "nothing to be done"
                );
                self.work.done(&key, present, GOING);
            }
            Verdict::Withheld(Order { reason, why, again, policy }) => {
                self.refuse(&key, &offender, reason, &why, policy.as_deref());
                self.work.done(&key, present, again);
            }
            Verdict::End(_) if !self.ending.insert(offender.uid.clone()) => {
                self.limiter.give_back();
                self.work.done(&key, present, GOING);
            }
            Verdict::End(end) => {
                let api = Arc::clone(&self.api);
                let leadership = self.reaper.leadership.clone();
                let pod = look.pod.unwrap_or_default();
                self.tasks.spawn(async move {
                    let outcome = api.end(&offender, &end, || leadership.is_certain(now())).await;
                    Found::End(key, offender, pod, end, outcome)
                });
            }
        }
    }

    fn ended(&mut self, key: &Key, offender: &Offender, pod: &Facts, end: &End, outcome: Outcome) {
        let present = now();
        self.ending.remove(&offender.uid);
        let method = method_name(end.method);
        if outcome != Outcome::Done {
            self.limiter.give_back();
        }
        match outcome {
            Outcome::Done => {
                if let Some(controller) = &end.controller {
                    self.owners.ended(&controller.uid, pod.age, present);
                }
                self.reaper.counters.termination(method, "done");
                let message = sentence::ended(offender, end);
                self.reaper.announcer.say(announcement(offender, "Terminated", &message));
                self.publish(key, offender, ActionOutcome::Done, message, Some(&end.policy));
                // An error means that the hub is stopping.
                _ = self.reaper.ended.send(end.policy.clone());
                self.work.done(key, present, GOING);
            }
            Outcome::Gone => {
                self.reaper.counters.termination(method, "gone");
                self.work.done(key, present, GOING);
            }
            Outcome::NotLeading => self.work.done(key, present, Duration::ZERO),
            Outcome::Budget(why, wait) => {
                self.reaper.counters.termination(method, "blocked");
                let why = format!("its disruption budget forbids to evict it now ({why}); it is tried again");
                self.refuse(key, offender, Reason::Budget, &why, Some(&end.policy));
                self.work.failed(key, present, wait);
            }
            Outcome::Failed(why, wait) => {
                self.reaper.counters.termination(method, "failed");
                self.reaper.troubles.set("reaper", why.clone(), false);
                self.refuse(key, offender, Reason::Api, &why, Some(&end.policy));
                self.work.failed(key, present, wait);
            }
        }
    }

    /// Says that it is not ended, unless that was said a short while ago.
    fn refuse(&mut self, key: &Key, offender: &Offender, reason: Reason, why: &str, policy: Option<&str>) {
        if reason == Reason::NotLeading || !self.work.tell(key, now(), reason, why) {
            return;
        }
        self.show();
        let outcome = match reason {
            Reason::DryRun => ActionOutcome::DryRun,
            Reason::Api => ActionOutcome::Failed,
            _ => ActionOutcome::Withheld,
        };
        if !matches!(reason, Reason::Api | Reason::Budget) {
            self.reaper.counters.termination("none", reason.name());
        }
        let message = sentence::withheld(offender, why);
        // A node must not be able to write onto the pods of others.
        if reason != Reason::Foreign {
            self.reaper.announcer.say(announcement(offender, "TerminationWithheld", &message));
        }
        self.publish(key, offender, outcome, message, policy);
    }

    fn publish(
        &self,
        key: &Key,
        offender: &Offender,
        outcome: ActionOutcome,
        message: String,
        policy: Option<&str>,
    ) {
        tracing::info!(node = &*key.0, pod = offender.pod, namespace = offender.namespace, "{message}");
        let since = offender.time.parse::<Timestamp>().ok();
        let took = since.map(|then| Timestamp::now().duration_since(then).as_secs_f64() * 1000.0);
        let action = Action {
            time: wall(),
            endpoint: offender.endpoint.clone(),
            workload: Workload {
                pod: Some(offender.pod.clone()),
                namespace: Some(offender.namespace.clone()),
                uid: Some(offender.uid.clone()),
                ..Workload::default()
            },
            response: Response::Terminate,
            terminate: None,
            outcome,
            message: format!("{}/{}: {message}", offender.namespace, offender.pod),
            policy: policy.map(str::to_owned),
            attempts: offender.attempts,
            threshold: offender.threshold,
            window: offender.window.parse().unwrap_or(Span::from_secs(60)),
            reasons: offender.reasons.clone(),
            frames: Vec::new(),
            threshold_time: offender.time.clone(),
            took_ms: took.unwrap_or_default().max(0.0),
        };
        self.reaper.bus.publish(&key.0, Event::Action(Box::new(action)));
    }
}

fn permit(
    limiter: &mut Limiter,
    owners: &Owners,
    pod: &Facts,
    now: Moment,
) -> Result<(), (Reason, String, Duration)> {
    if let Some(controller) = &pod.controller {
        owners.permit(&controller.uid, pod.age, now).map_err(|(wait, count)| {
            let why = format!(
                "{} {} made it in place of one that was ended, and it forges again ({count} before it did, too): \
                 it is ended in {} s",
                controller.kind,
                controller.name,
                wait.as_secs() + 1
            );
            (Reason::Backoff, why, wait)
        })?;
    }
    limiter.permit(now).map_err(|wait| {
        let why = format!(
            "{} pods were ended in the last minute, as many as may be (--terminations-per-minute)",
            limiter.most()
        );
        (Reason::Limit, why, wait)
    })
}

/// Names of pods and namespaces are DNS names (RFC 1123). What a node says is not trusted to be one.
fn is_name(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    text.len() <= 253 && edge(text.bytes().next()) && edge(text.bytes().last()) && text.bytes().all(inner)
}

fn announcement(offender: &Offender, reason: &'static str, message: &str) -> Announcement {
    Announcement {
        subject: Subject {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: offender.namespace.clone(),
            name: offender.pod.clone(),
            uid: offender.uid.clone(),
        },
        warning: true,
        reason,
        message: message.to_owned(),
    }
}
