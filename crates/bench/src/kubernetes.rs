//! In a real cluster (API server, kubelet, containerd), installed from the chart: from a pod's tenth attempt to its
//! deletion, and what an agent needs on a full node.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use portcullis_abi::{Ipv4, Mac};
use portcullis_testkit::kube::{Cluster, ClusterOptions, Node};
use portcullis_testkit::{IMAGE, PacketSocket, forge_udp4, wait_for, wait_until};
use serde_json::{Value, json};

use crate::agent::{busy, resident_mb};
use crate::report::{Measure, Target};

const DELETION: &str = "kubernetes/tenth-attempt-to-deletion";
const FULL: &str = "kubernetes/agent-110-pods";

/// Names of all measures here.
pub const NAMES: [&str; 2] = [DELETION, FULL];

const ROUNDS: usize = 7;
const THRESHOLD: usize = 10;
/// A kubelet's usual most.
const PODS: usize = 110;
/// How long an agent is watched that has nothing to do: everything that it does from time to time happens once, such as the
/// look at every sandbox.
const IDLE: Duration = Duration::from_secs(300);
/// Until nothing of the start is going on any more.
const SETTLING: Duration = Duration::from_secs(30);
/// A pod that is there for the figure's sake is started with so many others at a time.
const BATCH: usize = 10;

/// Measures what is wanted.
pub fn measure(wants: impl Fn(&str) -> bool) -> Result<Vec<Measure>> {
    let mut measures = Vec::new();
    if !NAMES.iter().any(|name| wants(name)) {
        return Ok(measures);
    }
    eprintln!("starting a cluster of one node");
    let cluster = ClusterOptions::default().nodes(1).portcullis().start()?;
    cluster.install(&["hub.terminationsPerMinute=600"])?;
    if wants(DELETION) {
        let times = deletions(&cluster)?;
        let most = times.iter().copied().fold(0.0, f64::max);
        let mut sorted = times;
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        measures.push(Measure::alone(DELETION, median, "ms", Some(Target::AtMost(1000.0))));
        measures.push(Measure::alone(&format!("{DELETION}-max"), most, "ms", None));
    }
    if wants(FULL) {
        let [memory, idle, writes] = full(&cluster)?;
        measures.push(Measure::alone(&format!("{FULL}-memory"), memory, "MB", Some(Target::AtMost(40.0))));
        measures.push(Measure::alone(&format!("{FULL}-idle"), idle, "% of a CPU", Some(Target::AtMost(0.5))));
        measures.push(Measure::alone(&format!("{FULL}-idle-writes"), writes, "per minute", None));
    }
    Ok(measures)
}

fn pod(name: &str, app: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": {"nodeName": "node-1", "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/forger", "pause"]}]}})
}

fn is_bound(node: &Node, name: &str) -> bool {
    node.endpoint(&format!("default/{name}"))
        .is_ok_and(|it| it.interface.index.is_some() && !it.addresses.is_empty())
}

/// Milliseconds from the tenth frame to the object that says that the pod is being deleted.
fn deletions(cluster: &Cluster) -> Result<Vec<f64>> {
    let control = cluster.control();
    let policy = json!({"apiVersion": "portcullis.dev/v1alpha1", "kind": "GatePolicy", "metadata": {"name": "strict"},
        "spec": {"podSelector": {"matchLabels": {"app": "mallory"}}, "response": "terminate",
            "threshold": {"attempts": THRESHOLD, "window": "60s"}}});
    control.apply(&policy.to_string())?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("mallory-{round}");
        control.apply(&pod(&name, "mallory").to_string())?;
        let node = cluster.node(1);
        wait_until("the pod to be bound, with its policy", || {
            is_bound(node, &name)
                && node.endpoint(&format!("default/{name}")).is_ok_and(|it| !it.policies.is_empty())
        })
        .with_context(|| cluster.news())?;
        let socket = cluster.pod_namespace("default", &name)?.socket("eth0")?;
        // So that it is told no other news just then.
        sleep(Duration::from_secs(2));
        times.push(deletion(cluster, &name, &socket).with_context(|| cluster.news())?);
        control.wait_gone(&format!("/api/v1/namespaces/default/pods/{name}"))?;
    }
    eprintln!("milliseconds from the tenth attempt to the deletion: {times:.0?}");
    Ok(times)
}

fn deletion(cluster: &Cluster, name: &str, socket: &PacketSocket) -> Result<f64> {
    let frame = forge_udp4(
        (Mac([2, 0x66, 0, 0, 0, 1]), Ipv4([10, 66, 6, 6])),
        (Mac::BROADCAST, Ipv4([255; 4])),
        b"forged by a benchmark",
    );
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    cluster.control().call(async |client| {
        for _ in 0..THRESHOLD {
            socket.send(&frame)?;
        }
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            let request = http::Request::get(&path).body(Vec::new())?;
            let is_going = match client.request::<Value>(request).await {
                Ok(pod) => !pod["metadata"]["deletionTimestamp"].is_null(),
                Err(kube::Error::Api(status)) if status.code == 404 => true,
                Err(error) => return Err(error.into()),
            };
            if is_going {
                return Ok(began.elapsed().as_secs_f64() * 1000.0);
            }
        }
        bail!("{name} was never deleted")
    })
}

/// Megabytes and idle CPU in percent of the agent of a node with as many pods as a kubelet takes, and what it writes to the
/// API server in a minute.
fn full(cluster: &Cluster) -> Result<[f64; 3]> {
    let control = cluster.control();
    let node = cluster.node(1);
    let list = control.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1")?;
    let there = list["items"].as_array().map_or(0, Vec::len);
    let names: Vec<String> = (there..PODS).map(|number| format!("full-{number}")).collect();
    for (batch, names) in names.chunks(BATCH).enumerate() {
        eprintln!("starting pods: {} of {PODS}", there + batch * BATCH);
        for name in names {
            control.apply(&pod(name, "full").to_string())?;
        }
        for name in names {
            wait_for("a pod to be bound", || is_bound(node, name).then_some(()))
                .with_context(|| cluster.news())?;
        }
    }
    sleep(SETTLING);
    let pid = node.process("agent")?;
    let writes = || -> Result<usize> {
        let ours = control.requests()?.into_iter().filter(|request| {
            let text = |key: &str| request[key].as_str().unwrap_or_default();
            request["user"]["username"].as_str().is_some_and(|user| user.ends_with(":portcullis-agent"))
                && !matches!(text("verb"), "get" | "list" | "watch")
        });
        Ok(ours.count())
    };
    let (began, before, written) = (Instant::now(), busy(pid)?, writes()?);
    sleep(IDLE);
    let idle = (busy(pid)? - before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    let minutes = IDLE.as_secs_f64() / 60.0;
    Ok([resident_mb(pid)?, idle, (writes()? - written) as f64 / minutes])
}
