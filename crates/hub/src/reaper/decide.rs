//! What is to be done about a pod over its threshold. Everything here is pure.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_kubernetes::crd::{Offender, TerminationMethod};
use portcullis_kubernetes::translate::object_name;
use portcullis_policy::guard::Response;
use portcullis_policy::model::Mode;

use super::facts::{Controller, EXEMPT, Facts, Own};
use crate::rules::Rules;

/// What does not change by itself is looked at again after this; a change is looked at at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A pod over its threshold, and all that bears on it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Which node says so.
    pub node: &'a str,
    /// What it says.
    pub offender: &'a Offender,
    /// The pod of that name as it is now; none: there is none.
    pub pod: Option<&'a Facts>,
    /// Labels of its namespace.
    pub namespace: &'a BTreeMap<String, String>,
    /// The policies.
    pub rules: &'a Rules,
    /// What is ours.
    pub own: &'a Own,
    /// Nothing is ended at all.
    pub dry_run: bool,
    /// This hub leads, for certain.
    pub leads: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// End it.
    End(End),
    /// Nothing: it is gone, or going.
    Settled(&'static str),
    /// Nothing yet.
    Withheld(Order),
}

/// A pod is not ended, and is looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in one sentence.
    pub why: String,
    /// When to look again, if nothing changes before.
    pub again: Duration,
    /// The policy that decides, if there is one.
    pub policy: Option<String>,
}

/// A pod is to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// By which way.
    pub method: TerminationMethod,
    /// Seconds that it has; none: as it says itself.
    pub grace: Option<u32>,
    /// The `GatePolicy` that says so.
    pub policy: String,
    /// Who makes a new one.
    pub controller: Option<Controller>,
}

/// Why a pod is not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// This hub does not lead.
    NotLeading,
    /// It is another node's.
    Foreign,
    /// It is ours.
    Own,
    /// A kubelet runs it by itself.
    Static,
    /// A label says so.
    Exempt,
    /// It keeps the cluster alive.
    Vital,
    /// No policy says terminate.
    NoPolicy,
    /// A policy or the hub only says what would be done.
    DryRun,
    /// As many were ended as may be.
    Limit,
    /// Its predecessors were ended, too.
    Backoff,
    /// A disruption budget.
    Budget,
    /// The API server.
    Api,
}

impl Reason {
    /// All there are.
    pub const ALL: [Self; 12] = [
        Self::NotLeading,
        Self::Foreign,
        Self::Own,
        Self::Static,
        Self::Exempt,
        Self::Vital,
        Self::NoPolicy,
        Self::DryRun,
        Self::Limit,
        Self::Backoff,
        Self::Budget,
        Self::Api,
    ];

    /// As metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotLeading => "not-leading",
            Self::Foreign => "foreign",
            Self::Own => "own",
            Self::Static => "static",
            Self::Exempt => "exempt",
            Self::Vital => "vital",
            Self::NoPolicy => "no-policy",
            Self::DryRun => "dry-run",
            Self::Limit => "limit",
            Self::Backoff => "backoff",
            Self::Budget => "budget",
            Self::Api => "api",
        }
    }
}

/// Decides. `permit` is asked at most once, and only for a pod that is about to be ended; where it says no, it says
/// why, and when to ask again.
pub fn decide(
    case: &Case<'_>,
    permit: impl FnOnce(&Facts) -> Result<(), (Reason, String, Duration)>,
) -> Verdict {
    let Some(pod) = case.pod else { return Verdict::Settled("it is gone") };
    if pod.uid != case.offender.uid {
        return Verdict::Settled("it is gone, and another one has its name");
    }
    if pod.ending {
        return Verdict::Settled("it is being deleted already");
    }
    if pod.over {
        return Verdict::Settled("it has ended by itself");
    }
    if !case.leads {
        return withheld(Reason::NotLeading, "this hub does not lead", None);
    }
    if let Some((reason, why)) = untouchable(case, pod) {
        return withheld(reason, why, None);
    }
    let (policy, dry) = match policy(case, pod) {
        Ok(found) => found,
        Err((reason, why)) => return withheld(reason, why, None),
    };
    let termination = case.rules.termination(&policy);
    let policy = object_name(&policy).unwrap_or(&policy).to_owned();
    let dry = dry.then(|| format!("GatePolicy {policy} says dryRun"));
    if let Some(why) = case.dry_run.then(|| "the hub runs with --dry-run".to_owned()).or(dry) {
        return withheld(Reason::DryRun, format!("it would be ended, but {why}"), Some(policy));
    }
    if let Err((reason, why, again)) = permit(pod) {
        return Verdict::Withheld(Order { reason, why, again, policy: Some(policy) });
    }
    Verdict::End(End {
        method: termination.method,
        grace: termination.grace_period_seconds.and_then(|seconds| u32::try_from(seconds).ok()),
        policy,
        controller: pod.controller.clone(),
    })
}

/// What is not ended whatever policies say.
fn untouchable(case: &Case<'_>, pod: &Facts) -> Option<(Reason, String)> {
    let offender = case.offender;
    if pod.node.as_deref() != Some(case.node) {
        let at = pod.node.as_deref().unwrap_or("no node");
        let why = format!(
            "node {} says so, but it runs on {at}: a node's word counts for its own pods only",
            case.node
        );
        return Some((Reason::Foreign, why));
    }
    if case.own.is(&offender.namespace, &offender.pod, &pod.labels) {
        return Some((Reason::Own, "it is Portcullis' own, which is never ended".to_owned()));
    }
    if pod.mirror {
        let why = "it is a static pod, which only the kubelet of its node can end: its quarantine holds";
        return Some((Reason::Static, why.to_owned()));
    }
    if Facts::is_exempt(&pod.labels) {
        return Some((Reason::Exempt, format!("it has the label {EXEMPT}=true")));
    }
    if Facts::is_exempt(case.namespace) {
        let why = format!("its namespace {} has the label {EXEMPT}=true", offender.namespace);
        return Some((Reason::Exempt, why));
    }
    None
}

/// The policy that ends it, by the name that agents have for it, and whether it only would.
fn policy(case: &Case<'_>, pod: &Facts) -> Result<(String, bool), (Reason, String)> {
    let terms = case.rules.terms(&case.offender.namespace, &case.offender.pod, &pod.labels);
    if let Some(why) = terms.spared {
        return Err((Reason::Vital, why.replace("gatepolicy/", "")));
    }
    let policy = match (terms.answer.response, terms.decided_by) {
        (Response::Terminate, Some(policy)) => policy,
        (response, Some(policy)) => {
            let name = object_name(&policy).unwrap_or(&policy);
            return Err((Reason::NoPolicy, format!("GatePolicy {name} says {response} for it now")));
        }
        (_, None) => return Err((Reason::NoPolicy, "no GatePolicy says what to do about it now".to_owned())),
    };
    match terms.mode {
        None | Some(Mode::Enforce) => Ok((policy, terms.answer.dry_run)),
        Some(mode) => {
            Err((Reason::NoPolicy, format!("policies say mode {mode} for it now, in which nothing is ended")))
        }
    }
}

fn withheld(reason: Reason, why: impl Into<String>, policy: Option<String>) -> Verdict {
    Verdict::Withheld(Order { reason, why: why.into(), again: PATIENCE, policy })
}
