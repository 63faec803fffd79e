//! Carries out what was decided, each action in a task of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use portcullis_datapath::monotonic_ns;
use portcullis_policy::api::{Action, ActionOutcome, Event};
use portcullis_policy::guard::{Answer, Response, Termination};
use portcullis_policy::span::Span;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::decide::{End, Plan, decide};
use super::{Case, Evidence, Hands, Limiter, Own, Trip, message};
use crate::observe::wall_clock;
use crate::store::Sentence;

/// A runtime that has not ended a container by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// The request to end a container is out before anything else is done: recording a quarantine waits for the
/// disk and for the kernel.
const HEAD_START: Duration = Duration::from_millis(5);
/// So long an action waits for the frame that was one too many to be decoded.
const EVIDENCE_PATIENCE: Duration = Duration::from_millis(200);
/// Whether a quarantine is over is looked at this often, whatever the clock does meanwhile.
const RELEASE_PAUSE: Duration = Duration::from_secs(10);
/// Pause between two looks for it.
const EVIDENCE_PAUSE: Duration = Duration::from_millis(5);

/// Answers trips.
#[derive(Debug)]
pub struct Responder<H> {
    hands: Arc<H>,
    evidence: Arc<Evidence>,
    limiter: Limiter,
    own: Own,
    /// Endpoints that were only reported and may go on: not told again until the window is over.
    told: HashMap<String, (Instant, Span)>,
    /// Endpoints that something is being done about.
    busy: JoinSet<String>,
    names: Vec<String>,
}

impl<H: Hands> Responder<H> {
    /// A responder that has not done anything yet.
    #[must_use]
    pub fn new(hands: Arc<H>, evidence: Arc<Evidence>, limiter: Limiter, own: Own) -> Self {
        Self { hands, evidence, limiter, own, told: HashMap::new(), busy: JoinSet::new(), names: Vec::new() }
    }

    /// Answers every trip, until nobody can send one any more and all that was begun is done.
    pub async fn run(mut self, mut trips: mpsc::Receiver<Trip>) {
        let mut release = self.next_release();
        loop {
            tokio::select! {
                trip = trips.recv() => match trip {
                    Some(trip) => self.answer(trip),
                    None => break,
                },
                Some(done) = self.busy.join_next() => {
                    self.done(done);
                    release = self.next_release();
                }
                () = tokio::time::sleep_until(release) => release = self.next_release(),
            }
        }
        while let Some(done) = self.busy.join_next().await {
            self.done(done);
        }
    }

    /// Ends what is over; when to look again.
    fn next_release(&self) -> tokio::time::Instant {
        let now = Timestamp::now();
        let left = self.hands.release_due(now).map(|next| next.duration_since(now));
        let left = left.map_or(RELEASE_PAUSE, |left| Duration::try_from(left).unwrap_or_default());
        // Never at once again: what could not be released must not keep us busy.
        tokio::time::Instant::now() + left.clamp(Duration::from_millis(50), RELEASE_PAUSE)
    }

    fn done(&mut self, done: Result<String, tokio::task::JoinError>) {
        match done {
            Ok(endpoint) => self.names.retain(|name| *name != endpoint),
            // An action that panicked must not make its endpoint untouchable.
            Err(error) => {
                tracing::error!(%error, "an action broke off");
                self.names.clear();
            }
        }
    }

    fn answer(&mut self, trip: Trip) {
        if self.names.contains(&trip.endpoint) || self.told_lately(&trip.endpoint) {
            return;
        }
        let Some(case) = self.hands.case(&trip.endpoint) else {
            self.hands.publish(Event::Action(Box::new(nobody(&trip))));
            return;
        };
        let limiter = &mut self.limiter;
        let plan = decide(&case, trip.cgroup.as_deref(), &self.own, || limiter.permit(Instant::now()));
        if plan.end.is_none() && !plan.quarantine {
            self.told.insert(trip.endpoint.clone(), (Instant::now(), case.answer.window));
        }
        self.names.push(trip.endpoint.clone());
        let (hands, evidence) = (Arc::clone(&self.hands), Arc::clone(&self.evidence));
        self.busy.spawn(async move {
            let action = carry_out(&*hands, &evidence, &trip, case, plan).await;
            tracing::warn!(endpoint = trip.endpoint, outcome = action.outcome.name(), "{}", action.message);
            hands.publish(Event::Action(Box::new(action)));
            trip.endpoint
        });
    }

    /// Whoever may go on forging goes on forging: one report in a window says it.
    fn told_lately(&mut self, endpoint: &str) -> bool {
        self.told.retain(|_, (then, window)| then.elapsed() < window.duration());
        self.told.contains_key(endpoint)
    }
}

async fn carry_out<H: Hands>(hands: &H, evidence: &Evidence, trip: &Trip, case: Case, plan: Plan) -> Action {
    let (outcome, trouble) = match &plan.end {
        Some(end) => end_container(hands, trip, &case, &plan, end).await,
        None if plan.quarantine => quarantine(hands, trip, &case)
            .map_or_else(|trouble| (ActionOutcome::Failed, Some(trouble)), |()| (plan.outcome, None)),
        None => (plan.outcome, None),
    };
    let took_ms = monotonic_ns().saturating_sub(trip.timestamp_ns) as f64 / 1e6;
    let time = Timestamp::now().to_string();
    let until = Instant::now() + EVIDENCE_PATIENCE;
    while !evidence.reaches(&trip.endpoint, trip.timestamp_ns) && Instant::now() < until {
        tokio::time::sleep(EVIDENCE_PAUSE).await;
    }
    // The frame that was one too many is counted by now. What was started anew counts from nothing.
    let mut reasons = hands.case(&trip.endpoint).map_or_else(BTreeMap::new, |now| now.reasons);
    for (reason, before) in &case.reasons {
        let count = reasons.entry(reason.clone()).or_default();
        *count = (*count).max(*before);
    }
    Action {
        time,
        message: message::sentence(trip, &case, &plan, outcome, trouble.as_deref()),
        endpoint: trip.endpoint.clone(),
        response: case.answer.response,
        terminate: (case.answer.response == Response::Terminate).then_some(case.answer.terminate),
        outcome,
        policy: case.policy,
        attempts: trip.within_window(),
        threshold: trip.threshold,
        window: case.answer.window,
        reasons,
        frames: evidence.take(&trip.endpoint),
        threshold_time: wall_clock(trip.timestamp_ns),
        took_ms,
        workload: case.workload,
    }
}

async fn end_container<H: Hands>(
    hands: &H,
    trip: &Trip,
    case: &Case,
    plan: &Plan,
    end: &End,
) -> (ActionOutcome, Option<String>) {
    let ending = async {
        let ending = hands.terminate(&end.tenant.id, end.how);
        tokio::time::timeout(PATIENCE, ending)
            .await
            .unwrap_or_else(|_| Err(format!("its runtime did not end it within {} s", PATIENCE.as_secs())))
    };
    let recording = async {
        tokio::time::sleep(HEAD_START).await;
        if plan.quarantine { quarantine(hands, trip, case).err() } else { None }
    };
    let (ended, unrecorded) = tokio::join!(ending, recording);
    match ended {
        Ok(()) if end.how == Termination::Restart => {
            (ActionOutcome::Done, hands.release(&trip.endpoint).err().map(|fault| fault.to_string()))
        }
        Ok(()) => (ActionOutcome::Done, unrecorded),
        // Whoever ended it was faster; there is nothing left to be ended.
        Err(_) if hands.case(&trip.endpoint).is_none() => {
            (ActionOutcome::Done, Some("which was gone already".to_owned()))
        }
        Err(why) => {
            let unrecorded = if plan.quarantine { unrecorded } else { quarantine(hands, trip, case).err() };
            let trouble = std::iter::once(why).chain(unrecorded).collect::<Vec<_>>().join(", and ");
            (ActionOutcome::Failed, Some(trouble))
        }
    }
}

fn quarantine<H: Hands>(hands: &H, trip: &Trip, case: &Case) -> Result<(), String> {
    let since = Timestamp::now();
    let length = case.answer.release_after.map(|after| SignedDuration::from_millis(after.millis().into()));
    let sentence = Sentence {
        endpoint: trip.endpoint.clone(),
        since,
        until: length.and_then(|length| since.checked_add(length).ok()),
        policy: case.policy.clone(),
        message: message::cause(trip, case),
    };
    match hands.quarantine(&trip.endpoint, sentence) {
        // Its container ended meanwhile; so did the endpoint.
        Err(_) if hands.case(&trip.endpoint).is_none() => Ok(()),
        result => result.map_err(|fault| fault.to_string()),
    }
}

/// An endpoint that was gone before anything could be done.
fn nobody(trip: &Trip) -> Action {
    Action {
        time: Timestamp::now().to_string(),
        endpoint: trip.endpoint.clone(),
        workload: Default::default(),
        response: Response::Report,
        terminate: None,
        outcome: ActionOutcome::Done,
        message: format!(
            "endpoint \"{}\" made {} hostile attempts, and was gone before anything was done",
            trip.endpoint,
            trip.within_window()
        ),
        policy: None,
        attempts: trip.within_window(),
        threshold: trip.threshold,
        window: Answer::default().window,
        reasons: BTreeMap::new(),
        frames: Vec::new(),
        threshold_time: wall_clock(trip.timestamp_ns),
        took_ms: monotonic_ns().saturating_sub(trip.timestamp_ns) as f64 / 1e6,
    }
}
