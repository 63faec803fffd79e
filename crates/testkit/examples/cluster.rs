//! A cluster by hand: `cargo run -p portcullis-testkit --example cluster [NODES]` (0: an API server alone), as root.
//! It stays until its standard input ends or it gets SIGINT, and leaves nothing.

use std::io::{self, BufRead};

use anyhow::{Context, Result, bail};
use portcullis_testkit::kube::{Cluster, ClusterOptions, ControlPlane};

fn main() -> Result<()> {
    let nodes = match &std::env::args().skip(1).collect::<Vec<_>>()[..] {
        [] => 1,
        [nodes] => nodes.parse().context("usage: cluster [NODES]")?,
        _ => bail!("usage: cluster [NODES]"),
    };
    if nodes == 0 {
        let plane = ControlPlane::alone()?;
        describe(&plane)?;
        return wait();
    }
    let mut options = ClusterOptions::default().nodes(nodes);
    if std::env::var_os("PORTCULLIS_STATIC").is_some() {
        options = options.portcullis();
    }
    let cluster: Cluster = options.start()?;
    describe(cluster.control())?;
    for node in cluster.nodes() {
        let files = node.outside("/")?;
        println!(
            "{}: nsenter --net=/run/netns/{} …; its files: {}",
            node.name(),
            node.tag(),
            files.display()
        );
    }
    wait()
}

fn describe(plane: &ControlPlane) -> Result<()> {
    let (namespace, admin) = (plane.namespace().name(), plane.admin()?);
    println!("namespace {namespace}, {}", plane.url());
    println!("nsenter --net=/run/netns/{namespace} env KUBECONFIG={} kubectl get nodes", admin.display());
    Ok(())
}

fn wait() -> Result<()> {
    println!("ready; Enter ends it");
    io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}
