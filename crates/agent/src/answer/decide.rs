//! What is to be done: pure.

use portcullis_policy::api::ActionOutcome;
use portcullis_policy::guard::{Response, Termination};
use portcullis_policy::model::Mode;

use super::{Case, Own, Tenant};

/// What is to be done about an endpoint over its threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// End this container, before anything else.
    pub end: Option<End>,
    /// Have the quarantine recorded.
    pub quarantine: bool,
    /// What comes of it if all of that succeeds.
    pub outcome: ActionOutcome,
    /// Why not all of the response is carried out: part of a sentence.
    pub remark: Option<String>,
}

/// A container to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Which.
    pub tenant: Tenant,
    /// How.
    pub how: Termination,
}

/// Decides. `cgroup` is the path of the sender's, where it is known; `permit` is asked at most once, and only
/// if a container is about to be ended.
pub fn decide(case: &Case, cgroup: Option<&str>, own: &Own, permit: impl FnOnce() -> bool) -> Plan {
    let answer = &case.answer;
    let plan = |outcome, quarantine, remark| Plan { end: None, quarantine, outcome, remark };
    if answer.response == Response::Report {
        return plan(ActionOutcome::Done, false, case.spared.clone());
    }
    if case.mode != Mode::Enforce {
        return plan(ActionOutcome::DryRun, false, Some(format!("the endpoint is in mode {}", case.mode)));
    }
    if answer.dry_run {
        return plan(ActionOutcome::DryRun, false, Some("this is a dry run".to_owned()));
    }
    if answer.response == Response::Quarantine {
        return plan(ActionOutcome::Done, true, case.spared.clone());
    }
    if case.is_of_cluster {
        return plan(ActionOutcome::Requested, true, None);
    }
    let Some(tenant) = offender(&case.tenants, cgroup) else {
        let why = "no source knows a container behind it that could be ended";
        return plan(ActionOutcome::Failed, true, Some(why.to_owned()));
    };
    if own.is(&tenant.id) {
        let why = format!("container {} is the agent's own, which is never ended", tenant.name);
        return plan(ActionOutcome::Withheld, true, Some(why));
    }
    if !permit() {
        let why = "as many containers were ended in the last minute as may be (terminations_per_minute)";
        return plan(ActionOutcome::Withheld, true, Some(why.to_owned()));
    }
    // What is started anew is clean: a quarantine would be its predecessor's.
    let quarantine = answer.terminate != Termination::Restart;
    let end = Some(End { tenant: tenant.clone(), how: answer.terminate });
    Plan { end, quarantine, outcome: ActionOutcome::Done, remark: None }
}

/// The container that sent the frame, where several share the namespace and its cgroup tells; else the owner
/// of the namespace.
fn offender<'a>(tenants: &'a [Tenant], cgroup: Option<&str>) -> Option<&'a Tenant> {
    let named =
        |tenant: &&Tenant| cgroup.is_some_and(|path| !tenant.id.is_empty() && path.contains(&tenant.id));
    tenants.iter().find(named).or(tenants.first())
}

#[cfg(test)]
mod tests {
    use portcullis_policy::guard::Answer;

    use super::super::tests::{case, tenant};
    use super::*;

    fn nobody() -> Own {
        Own::default()
    }

    fn with(response: Response, change: impl FnOnce(&mut Case)) -> Plan {
        let mut case = case(response);
        change(&mut case);
        decide(&case, None, &nobody(), || true)
    }

    #[test]
    fn each_response_does_what_it_says_and_no_more() {
        let plan = with(Response::Report, |_| ());
        assert_eq!((plan.end, plan.quarantine, plan.outcome), (None, false, ActionOutcome::Done));
        let plan = with(Response::Quarantine, |_| ());
        assert_eq!((plan.end, plan.quarantine, plan.outcome), (None, true, ActionOutcome::Done));
        let plan = with(Response::Terminate, |_| ());
        assert!(plan.quarantine && plan.outcome == ActionOutcome::Done);
        assert_eq!(plan.end, Some(End { tenant: tenant('a'), how: Termination::Kill }));
        let plan = with(Response::Terminate, |case| case.answer.terminate = Termination::Restart);
        assert!(!plan.quarantine, "what is started anew is not in quarantine");
    }

    #[test]
    fn a_dry_run_and_audit_mode_do_nothing() {
        for response in [Response::Quarantine, Response::Terminate] {
            for change in [
                (|case: &mut Case| case.answer.dry_run = true) as fn(&mut Case),
                |case| case.mode = Mode::Audit,
                |case| case.mode = Mode::Off,
            ] {
                let plan = with(response, change);
                assert_eq!((plan.end, plan.quarantine, plan.outcome), (None, false, ActionOutcome::DryRun));
                assert!(plan.remark.is_some());
            }
        }
    }

    #[test]
    fn what_may_not_be_ended_stays_in_quarantine() {
        let case = case(Response::Terminate);
        let plan = decide(&case, None, &nobody(), || false);
        assert_eq!((plan.end, plan.quarantine, plan.outcome), (None, true, ActionOutcome::Withheld));
        let own = Own::from_traces(&format!("0::/docker/{}", tenant('a').id));
        let plan = decide(&case, None, &own, || panic!("nothing is to be ended"));
        assert_eq!((plan.end, plan.quarantine, plan.outcome), (None, true, ActionOutcome::Withheld));
        let plan = with(Response::Terminate, |case| case.tenants.clear());
        assert_eq!((plan.end, plan.quarantine, plan.outcome), (None, true, ActionOutcome::Failed));
    }

    #[test]
    fn a_pod_of_a_cluster_is_left_to_the_hub() {
        let mut case = case(Response::Terminate);
        case.is_of_cluster = true;
        let plan = decide(&case, None, &nobody(), || panic!("nothing is ended here"));
        assert_eq!((plan.end, plan.quarantine, plan.outcome), (None, true, ActionOutcome::Requested));
        case.answer.dry_run = true;
        assert_eq!(decide(&case, None, &nobody(), || true).outcome, ActionOutcome::DryRun);
    }

    #[test]
    fn of_containers_that_share_a_namespace_the_sender_is_ended() {
        let mut case = case(Response::Terminate);
        case.tenants = vec![tenant('a'), tenant('b')];
        let ended = |cgroup: Option<&str>| {
            decide(&case, cgroup, &nobody(), || true).end.map(|end| end.tenant.id.chars().next())
        };
        let path = |c: char| format!("/machine.slice/libpod-{}.scope/container", tenant(c).id);
        assert_eq!(ended(Some(&path('b'))), Some(Some('b')));
        assert_eq!(ended(Some(&path('a'))), Some(Some('a')));
        assert_eq!(ended(Some(&path('c'))), Some(Some('a')), "a stranger's cgroup names nobody");
        assert_eq!(ended(None), Some(Some('a')));
    }

    #[test]
    fn the_default_answer_only_reports() {
        let case = Case { answer: Answer::default(), ..case(Response::Report) };
        assert_eq!(decide(&case, None, &nobody(), || true).end, None);
    }
}
