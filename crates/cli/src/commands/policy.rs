//! `policy …`.

use anyhow::Result;
use portcullis_policy::api::PolicyView;
use portcullis_policy::guard::Answer;
use portcullis_policy::model::Mode;
use serde::Serialize;

use super::each::each;
use crate::args::{PolicyCommand, SetArgs};
use crate::context::Context;
use crate::failure::{self, Exit};
use crate::output::{clean, policy};

/// What `policy test` says.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Name of the endpoint.
    pub endpoint: String,
    /// Its mode.
    pub mode: Mode,
    /// What becomes of it when it keeps forging.
    pub answer: Answer,
    /// The policy that decided on the response; none: the default.
    pub decided_by: Option<String>,
    /// Policies that match, the first to be asked first.
    pub policies: Vec<PolicyView>,
    /// What is not plain from these: one sentence.
    pub note: Option<String>,
}

/// Runs one of the commands under `policy`.
pub fn run(context: &mut Context, command: PolicyCommand) -> Result<Exit> {
    match command {
        PolicyCommand::List => {
            let policies = context.client()?.policies()?;
            context.object(&policies, |style, wide| policy::list(&policies, style, wide))?;
        }
        PolicyCommand::Show { policy: name } => {
            let found = context.client()?.policy(&name)?;
            context.object(&found, |style, _| policy::show(&found, style))?;
        }
        PolicyCommand::Set(args) => set(context, *args)?,
        PolicyCommand::Remove { policies } => return remove(context, &policies),
        PolicyCommand::Test { endpoint } => {
            let verdict = test(context, &endpoint)?;
            context.object(&verdict, |style, _| policy::verdict(&verdict, style))?;
        }
    }
    Ok(Exit::Done)
}

fn set(context: &mut Context, args: SetArgs) -> Result<()> {
    let (view, created) = context.client()?.put_policy(&args.into_policy())?;
    context.object(&view, |_, _| policy::put(&view, created) + "\n")?;
    if let Some(warning) = &view.warning {
        failure::say(&format!("policy \"{}\": {warning}", view.policy.name));
    }
    Ok(())
}

/// Takes each away.
fn remove(context: &mut Context, names: &[String]) -> Result<Exit> {
    let client = context.client()?;
    let line = |view: &PolicyView| format!("policy \"{}\" removed\n", clean(&view.policy.name));
    each(context, names, |name| client.remove_policy(name), line)
}

fn test(context: &Context, name: &str) -> Result<Verdict> {
    let client = context.client()?;
    let endpoint = client.endpoint(name)?;
    let mut all = client.policies()?;
    all.retain(|view| endpoint.policies.contains(&view.policy.name));
    let decided = all.iter().find(|view| view.policy.response.is_some());
    let wanted = decided.and_then(|view| view.policy.response);
    let answer = endpoint.answer;
    let note = if wanted.is_some_and(|wanted| wanted != answer.response) {
        Some(format!(
            "the policy says {}, but that is not done to what keeps a cluster alive unless a policy selects its namespace by name",
            wanted.map(|wanted| wanted.name()).unwrap_or_default()
        ))
    } else if endpoint.mode != Mode::Enforce && answer.response != Default::default() {
        Some(format!("in mode {} nothing is done beyond a report", endpoint.mode))
    } else {
        None
    };
    Ok(Verdict {
        endpoint: endpoint.name,
        mode: endpoint.mode,
        answer,
        decided_by: decided.map(|view| view.policy.name.clone()),
        policies: all,
        note,
    })
}
