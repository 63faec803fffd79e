//! `endpoint …`.

use anyhow::Result;
use jiff::Timestamp;
use portcullis_policy::api::Endpoint;

use super::each::each;
use crate::args::{BindArgs, EndpointCommand, ListArgs};
use crate::client::{Client, ClientError};
use crate::context::Context;
use crate::failure::Exit;
use crate::output::{clean, endpoint};

/// Runs one of the commands under `endpoint`.
pub fn run(context: &mut Context, command: EndpointCommand) -> Result<Exit> {
    match command {
        EndpointCommand::List(args) => list(context, &args)?,
        EndpointCommand::Show { endpoint } => {
            let found = context.client()?.endpoint(&endpoint)?;
            context.object(&found, |style, _| endpoint::show(&found, Timestamp::now(), style))?;
        }
        EndpointCommand::Bind(args) => bind(context, *args)?,
        EndpointCommand::Mode { endpoint, mode } => {
            let found = context.client()?.set_mode(&endpoint, mode)?;
            let line =
                format!("endpoint \"{}\" set to {}\n", clean(&found.name), endpoint::word(&found.mode));
            context.object(&found, |_, _| line)?;
        }
        EndpointCommand::Unbind(names) => return all(context, &names.endpoints, "unbound", Client::unbind),
        EndpointCommand::Quarantine(names) => {
            return all(
                context,
                &names.endpoints,
                "quarantined: every frame from and to it is dropped",
                |c, n| c.quarantine(n, true),
            );
        }
        EndpointCommand::Release(names) => {
            return all(context, &names.endpoints, "released", |c, n| c.quarantine(n, false));
        }
    }
    Ok(Exit::Done)
}

fn list(context: &mut Context, args: &ListArgs) -> Result<()> {
    let all = context.client()?.endpoints()?;
    let wanted = |endpoint: &Endpoint| {
        args.workloads.passes(&endpoint.workload, endpoint.network.as_deref())
            && args.source.is_none_or(|source| endpoint.owner == source || endpoint.sources.contains(&source))
    };
    let none_at_all = all.is_empty();
    let endpoints: Vec<Endpoint> = all.into_iter().filter(wanted).collect();
    context.object(&endpoints, |style, wide| {
        if endpoints.is_empty() && !none_at_all {
            return "no endpoint is like that\n".to_owned();
        }
        endpoint::list(&endpoints, Timestamp::now(), style, wide)
    })
}

fn bind(context: &mut Context, args: BindArgs) -> Result<()> {
    let allow_missing = args.allow_missing;
    let (bound, created) = context.client()?.bind(&args.into_spec(), allow_missing)?;
    context.object(&bound, |_, _| endpoint::bound(&bound, created) + "\n")
}

/// Does the same to each.
fn all(
    context: &mut Context,
    names: &[String],
    done: &str,
    act: impl Fn(&Client, &str) -> Result<Endpoint, ClientError>,
) -> Result<Exit> {
    let client = context.client()?;
    let line = |found: &Endpoint| format!("endpoint \"{}\" {done}\n", clean(&found.name));
    each(context, names, |name| act(&client, name), line)
}
