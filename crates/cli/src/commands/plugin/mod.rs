//! `kubectl portcullis …`: this binary under the name `kubectl-portcullis`.

mod hub;
mod way;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use portcullis_policy::api::{
    ClusterEndpoints, ClusterMap, ClusterPolicy, Endpoint, HubStatus, NodeStatus, OfNode,
};

use crate::args::{EventsArgs, Format, Global, Plugin, PluginCommand, PluginGlobal, PodArgs, PodFilter};
use crate::context::Context;
use crate::failure::{self, Exit, Failure, say};
use crate::logging;
use crate::output::cluster;
use hub::{Hub, Received, query};

/// The name that kubectl looks for.
const NAME: &str = "kubectl-portcullis";

/// Whether this program was called as the plugin.
pub fn is_call(name: Option<&OsStr>) -> bool {
    name.and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == NAME)
}

/// Is the plugin.
pub fn main() -> ExitCode {
    let plugin = match Plugin::try_parse() {
        Ok(plugin) => plugin,
        Err(error) => return failure::usage(&error),
    };
    match run(plugin) {
        Ok(exit) => exit.into(),
        Err(error) => failure::report(&error),
    }
}

fn run(plugin: Plugin) -> Result<Exit> {
    let Plugin { global, command } = plugin;
    logging::init(global.verbose, "warn")?;
    if global.output == Format::Dot {
        return Err(Failure::usage("only `portcullis map` can be printed with -o dot".to_owned()));
    }
    let mut context = Context::new(&Global { socket: None, output: global.output, verbose: global.verbose });
    let changes = matches!(command, PluginCommand::Quarantine(_) | PluginCommand::Release(_));
    let account = if changes { "portcullis-operator" } else { "portcullis-reader" };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let way = way::Way::find(&global, account).await?;
        match command {
            PluginCommand::Map(filter) => map(&mut context, &way, &filter).await,
            PluginCommand::Endpoints(filter) => endpoints(&mut context, &way, &filter).await,
            PluginCommand::Status => status(&mut context, &way).await,
            PluginCommand::Nodes { node } => nodes(&mut context, &way, node).await,
            PluginCommand::Events(args) => events(&mut context, &way, args).await,
            PluginCommand::Quarantine(args) => quarantine(&mut context, &way, &global, args, true).await,
            PluginCommand::Release(args) => quarantine(&mut context, &way, &global, args, false).await,
        }
    })
}

async fn map(context: &mut Context, way: &way::Way, filter: &PodFilter) -> Result<Exit> {
    let path = format!("/api/v1/map{}", of(filter));
    let map: ClusterMap = way.open().await?.get(&path).await?;
    context.object(&map, |style, wide| cluster::map(&map, style, wide))?;
    Ok(Exit::Done)
}

async fn endpoints(context: &mut Context, way: &way::Way, filter: &PodFilter) -> Result<Exit> {
    let path = format!("/api/v1/endpoints{}", of(filter));
    let mut all: ClusterEndpoints = way.open().await?.get(&path).await?;
    all.endpoints.sort_by(|a, b| (&a.node, &a.of.name).cmp(&(&b.node, &b.of.name)));
    context.object(&all, |style, wide| cluster::endpoints(&all, style, wide))?;
    Ok(Exit::Done)
}

async fn nodes(context: &mut Context, way: &way::Way, node: Option<String>) -> Result<Exit> {
    let path = format!("/api/v1/nodes{}", query(&[("node", node.as_deref())]));
    let nodes: Vec<NodeStatus> = way.open().await?.get(&path).await?;
    let now = Timestamp::now();
    context.object(&nodes, |style, wide| cluster::nodes(&nodes, now, style, wide))?;
    Ok(Exit::Done)
}

/// The hub and its policies, as one object.
#[derive(serde::Serialize)]
struct Whole<'a> {
    hub: &'a HubStatus,
    policies: &'a [ClusterPolicy],
}

/// The hub that leads, and its status: what becomes of offenders, and who did what, only that one tells. Where it
/// cannot be reached, any other.
async fn leader(way: &way::Way) -> Result<(Hub, HubStatus)> {
    let mut hub = way.open().await?;
    let status: HubStatus = hub.get("/api/v1/status").await?;
    if let Some(holder) = status.holder.as_deref().filter(|holder| !status.leader && *holder != status.pod)
        && let Ok(mut leader) = way.open_pod(holder).await
        && let Ok(status) = leader.get("/api/v1/status").await
    {
        return Ok((leader, status));
    }
    Ok((hub, status))
}

async fn status(context: &mut Context, way: &way::Way) -> Result<Exit> {
    let (mut hub, status) = leader(way).await?;
    let policies: Vec<ClusterPolicy> = hub.get("/api/v1/policies").await?;
    let now = Timestamp::now();
    context.object(&Whole { hub: &status, policies: &policies }, |style, wide| {
        cluster::status(&status, &policies, now, style, wide)
    })?;
    Ok(Exit::Done)
}

async fn events(context: &mut Context, way: &way::Way, args: EventsArgs) -> Result<Exit> {
    let last = args.last.to_string();
    let path = format!(
        "/api/v1/events{}",
        query(&[
            ("node", args.pods.node.as_deref()),
            ("namespace", args.pods.namespace.as_deref()),
            ("kind", args.kind.as_deref()),
            ("history", Some(&last)),
        ])
    );
    let mut stream = leader(way).await?.0.follow(&path).await?;
    let zone = TimeZone::system();
    let patience = (!args.follow).then_some(hub::PAST);
    while let Some(received) = stream.next(patience).await? {
        match received {
            Received::Event(event) => {
                context.item(&*event, |style, wide| cluster::event(&event, &zone, style, wide))?;
            }
            Received::Lost(lost) => say(&format!("{lost} events were lost: this reader was too slow")),
        }
    }
    if args.follow {
        anyhow::bail!(
            "the hub has ended the stream: it stopped, or another version takes its place; ask again"
        );
    }
    Ok(Exit::Done)
}

async fn quarantine(
    context: &mut Context,
    way: &way::Way,
    global: &PluginGlobal,
    args: PodArgs,
    quarantined: bool,
) -> Result<Exit> {
    let name = match (&args.namespace, args.pod.contains('/')) {
        (_, true) => args.pod.clone(),
        (Some(namespace), false) => format!("{namespace}/{}", args.pod),
        (None, false) => format!("{}/{}", way.default_namespace(), args.pod),
    };
    tracing::debug!(kubeconfig = ?global.kubeconfig, name, "changing the quarantine");
    let path = format!(
        "/api/v1/endpoints/{}/quarantine{}",
        hub::encode(&name),
        query(&[("node", args.node.as_deref())])
    );
    let method = if quarantined { hyper::Method::PUT } else { hyper::Method::DELETE };
    let done: OfNode<Endpoint> = leader(way).await?.0.send(method, &path).await?;
    context.object(&done, |style, _| cluster::quarantine(&done, quarantined, style))?;
    Ok(Exit::Done)
}

fn of(filter: &PodFilter) -> String {
    query(&[("namespace", filter.namespace.as_deref()), ("node", filter.node.as_deref())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_by_its_name() {
        let is = |name: &str| is_call(Some(OsStr::new(name)));
        assert!(is("kubectl-portcullis") && is("/usr/local/bin/kubectl-portcullis"));
        assert!(!is("portcullis") && !is("/kubectl-portcullis/portcullis") && !is_call(None));
    }
}
