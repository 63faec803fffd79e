//! What is ended, and what is not.

use std::time::{Duration, Instant};

use portcullis_testkit::{wait_for, wait_until};
use serde_json::{Value, json};

use crate::cluster::{Cluster, path};

const STRICT: &str = "strict";

fn strict(cluster: &Cluster, spec: &Value) {
    let mut whole = json!({"response": "terminate", "termination": {"gracePeriodSeconds": 0}});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    cluster.policy(STRICT, whole);
}

#[test]
fn an_offender_is_deleted_at_once_and_only_that_pod() {
    let cluster = Cluster::start();
    strict(&cluster, &json!({}));
    cluster.node("n1");
    let hub = cluster.leader(0, &[]);
    let bystander = cluster.pod("shop", "db", "n1", &json!({}));
    let mut best = Duration::MAX;
    for number in 0..5 {
        let pod = cluster.pod("shop", &format!("web-{number}"), "n1", &json!({}));
        let begin = Instant::now();
        cluster.offend("n1", &[&pod]);
        wait_until("the pod to be deleted", || !cluster.exists(&pod))
            .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.log(&hub)));
        best = best.min(begin.elapsed());
    }
    println!("from the report to the deletion, as seen from outside: {best:?} at best");
    let message = cluster.wait_event("shop", "web-0", "Terminated");
    assert_eq!(
        message,
        "deleted after 10 hostile attempts within 60s (spoofed-ipv4 10), as GatePolicy strict says; it has no controller, \
         and stays gone"
    );
    assert!(cluster.exists(&bystander));

    // A successor of the same name does not die for its predecessor, which the node still tells of.
    let gone = cluster.pod("shop", "same", "n1", &json!({}));
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    cluster.plane.send("DELETE", &path(&gone), Some(&options)).unwrap();
    let successor = cluster.pod("shop", "same", "n1", &json!({}));
    let witness = cluster.pod("shop", "witness", "n1", &json!({}));
    cluster.offend("n1", &[&gone, &witness]);
    wait_until("the witness to be deleted", || !cluster.exists(&witness)).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(cluster.exists(&successor));

    // The policy counts them.
    let policy = cluster
        .plane
        .wait_object(&format!("{}/{STRICT}", crate::cluster::POLICIES), "up to date", |policy| {
            policy["status"]["terminated"] == 6
        })
        .unwrap();
    assert_eq!(policy["status"]["observedGeneration"], 1);
    let (_, metrics) = cluster.plain(&hub, "/metrics").unwrap();
    assert!(
        metrics.contains(r#"portcullis_hub_terminations_total{method="delete",outcome="done"} 6"#),
        "{metrics}"
    );
}

#[test]
fn what_must_not_be_ended_stays_and_it_is_said_why() {
    let cluster = Cluster::start();
    strict(&cluster, &json!({}));
    for node in ["n1", "n2"] {
        cluster.node(node);
    }
    cluster.plane.ensure_namespace("calm").unwrap();
    let exempt = json!({"metadata": {"labels": {"portcullis.dev/exempt": "true"}}});
    cluster.plane.send("PATCH", "/api/v1/namespaces/calm", Some(&exempt)).unwrap();
    let hub = cluster.leader(0, &[]);
    let ours = json!({"app.kubernetes.io/name": "portcullis", "app.kubernetes.io/component": "agent"});
    let spared = [
        (cluster.pod("shop", "exempt", "n1", &json!({"portcullis.dev/exempt": "true"})), "exempt=true"),
        (cluster.pod("calm", "web", "n1", &json!({})), "its namespace calm"),
        (cluster.pod("kube-system", "dns", "n1", &json!({})), "kube-system"),
        (cluster.pod("portcullis-system", "agent-x", "n1", &ours), "never ended"),
    ];
    let foreign = cluster.pod("shop", "elsewhere", "n2", &json!({}));
    let pods: Vec<&Value> = spared.iter().map(|(pod, _)| pod).chain([&foreign]).collect();
    cluster.offend("n1", &pods);
    for (pod, words) in &spared {
        let (namespace, name) =
            (pod["metadata"]["namespace"].as_str().unwrap(), pod["metadata"]["name"].as_str().unwrap());
        let message = cluster.wait_event(namespace, name, "TerminationWithheld");
        assert!(message.contains(words) && message.ends_with("its quarantine holds"), "{message}");
    }
    let log = wait_for("the foreign node's word to be refused", || {
        Some(cluster.log(&hub)).filter(|log| log.contains("a node's word counts for its own pods only"))
    });
    log.unwrap();
    assert!(pods.iter().all(|pod| cluster.exists(pod)));
    assert!(cluster.events("shop", "elsewhere").is_empty(), "a node cannot write onto another's pods");

    // When the label goes, so does the pod.
    let label = json!({"metadata": {"labels": {"portcullis.dev/exempt": null}}});
    cluster.plane.send("PATCH", &path(&spared[0].0), Some(&label)).unwrap();
    wait_until("the pod that is exempt no more to be deleted", || !cluster.exists(&spared[0].0)).unwrap();
}

#[test]
fn no_more_than_may_be_are_ended_and_a_dry_run_ends_none() {
    let cluster = Cluster::start();
    strict(&cluster, &json!({}));
    cluster.node("n1");
    let mut dry = cluster.leader(0, &["--dry-run"]);
    let pods: Vec<Value> =
        (0..3).map(|n| cluster.pod("shop", &format!("web-{n}"), "n1", &json!({}))).collect();
    cluster.offend("n1", &pods.iter().collect::<Vec<_>>());
    let message = cluster.wait_event("shop", "web-2", "TerminationWithheld");
    assert!(message.contains("it would be ended, but the hub runs with --dry-run"), "{message}");
    assert!(pods.iter().all(|pod| cluster.exists(pod)));
    dry.process.signal(rustix::process::Signal::TERM).unwrap();
    dry.process.wait().unwrap();

    let hub = cluster.leader(1, &["--terminations-per-minute=2"]);
    wait_until("two to be deleted", || pods.iter().filter(|pod| cluster.exists(pod)).count() == 1).unwrap();
    let left =
        pods.iter().find(|pod| cluster.exists(pod)).unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
    wait_for("it to be said", || {
        std::thread::sleep(Duration::from_millis(100));
        cluster
            .events("shop", &left)
            .into_iter()
            .find(|(_, message)| message.contains("2 pods were ended in the last minute"))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.log(&hub)));
}

#[test]
fn an_eviction_keeps_to_the_disruption_budget() {
    let cluster = Cluster::start();
    strict(&cluster, &json!({"termination": {"method": "evict", "gracePeriodSeconds": 0}}));
    cluster.node("n1");
    let hub = cluster.leader(0, &[]);
    let pod = cluster.pod("shop", "web", "n1", &json!({"app": "web"}));
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    cluster.plane.send("PATCH", &format!("{}/status", path(&pod)), Some(&status)).unwrap();
    let budgets = "/apis/policy/v1beta1/namespaces/shop/poddisruptionbudgets";
    let budget = json!({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    cluster.plane.send("POST", budgets, Some(&budget)).unwrap();
    let allow = |allowed: u32| {
        let status = json!({"status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1,
            "expectedPods": 1, "observedGeneration": 1}});
        cluster.plane.send("PATCH", &format!("{budgets}/web/status"), Some(&status)).unwrap();
    };
    allow(0);
    cluster.offend("n1", &[&pod]);
    let message = cluster.wait_event("shop", "web", "TerminationWithheld");
    assert!(message.contains("its disruption budget forbids to evict it now"), "{message}");
    assert!(
        message.contains("The disruption budget web needs 1 healthy pods and has 1 currently"),
        "{message}"
    );
    assert!(cluster.exists(&pod));
    allow(1);
    wait_until("it to be evicted", || !cluster.exists(&pod))
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.log(&hub)));
    assert!(cluster.wait_event("shop", "web", "Terminated").starts_with("evicted after 10 hostile attempts"));
}
