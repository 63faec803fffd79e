//! `kubernetes`: what the chart runs, and the custom resource definitions.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PropagationPolicy};
use kube::{Api, Client};
use portcullis_kubernetes::{client, crd};
use rustix::mount::{MountFlags, mount};

use crate::args::{KubernetesCommand, UninstallArgs};
use crate::context::Context;
use crate::failure::{Exit, say};

/// Magic number of a BPF file system (linux/magic.h).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// Between two looks at what is left.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// Runs one of them.
pub fn run(context: &mut Context, command: KubernetesCommand) -> Result<Exit> {
    match command {
        KubernetesCommand::Crds => context.text(&crd::to_yaml()?)?,
        KubernetesCommand::MountBpffs { directory } => {
            let done = mount_bpffs(&directory)?;
            context.line(&format!("{done} {}", directory.display()))?;
        }
        KubernetesCommand::Uninstall(args) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(uninstall(&args))?;
            context.line("every agent has ended")?;
        }
    }
    Ok(Exit::Done)
}

fn mount_bpffs(directory: &Path) -> Result<&'static str> {
    let stat =
        rustix::fs::statfs(directory).with_context(|| format!("cannot look at {}", directory.display()))?;
    if u64::try_from(stat.f_type).is_ok_and(|kind| kind & 0xffff_ffff == BPF_FS_MAGIC) {
        return Ok("the BPF file system is mounted already on");
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", directory, "bpf", flags, Some(c"mode=700")).with_context(|| {
        format!(
            "cannot mount the BPF file system on {}: this needs a privileged container",
            directory.display()
        )
    })?;
    Ok("mounted the BPF file system on")
}

async fn uninstall(args: &UninstallArgs) -> Result<()> {
    client::use_ring();
    let client = client::connect(args.kubeconfig.as_deref()).await?;
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), &args.namespace);
    let name = format!("DaemonSet {}/{}", args.namespace, args.daemonset);
    let Some(set) = sets.get_opt(&args.daemonset).await.with_context(|| format!("cannot look at {name}"))?
    else {
        say(&format!("{name} is gone already"));
        return Ok(());
    };
    let selector = set.spec.selector.match_labels.unwrap_or_default();
    let selector: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    // In the foreground: the object stays, marked as deleted, until its pods are gone, so that they see it.
    let how =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    match sets.delete(&args.daemonset, &how).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(error).with_context(|| format!("cannot delete {name}")),
    }
    wait(&client, args, &selector.join(",")).await
}

async fn wait(client: &Client, args: &UninstallArgs, selector: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &args.namespace);
    let (until, mut before) = (Instant::now() + args.timeout.duration(), usize::MAX);
    loop {
        let left = pods
            .list_metadata(&ListParams::default().labels(selector))
            .await
            .context("cannot list the agents' pods")?;
        let left = left.items.len();
        if left == 0 {
            return Ok(());
        }
        if left != before {
            say(&format!("{left} agents still run"));
            before = left;
        }
        if Instant::now() >= until {
            bail!(
                "{left} agents still run after {}: their nodes may be away; what they did there stays",
                args.timeout
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}
