//! From a pod's tenth forged attempt to its end: in the kernel at once, at the API by the hub.

use std::time::Instant;

use portcullis_testkit::{wait_for, wait_until};
use serde_json::{Value, json};

use super::stage::Server;
use super::stage::{
    connect, create, deployment, forge, installed, listen, pod, pods_of, ready, uid, wait_bound,
};

fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "portcullis.dev/v1alpha1", "kind": "GatePolicy", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn repeat_offenders_are_cut_off_by_the_kernel_and_ended_by_the_hub() {
    let cluster = installed(2, &[]);
    let control = cluster.control();
    let terminate = json!({"podSelector": {"matchLabels": {"risk": "high"}}, "response": "terminate",
        "threshold": {"attempts": 10, "window": "60s"}});
    create(&cluster, &policy("strict", &terminate));
    create(&cluster, &pod("server", 2, json!({"app": "server"})));
    create(&cluster, &deployment("web", 2, json!({"risk": "high"})));
    create(&cluster, &pod("bare", 1, json!({"risk": "high"})));
    create(&cluster, &pod("exempt", 1, json!({"risk": "high", "portcullis.dev/exempt": "true"})));
    let server_at = ready(&cluster, "server")[0];
    control.wait_rollout("default", "deployment/web").unwrap();
    let server_space = cluster.pod_namespace("default", "server").unwrap();
    let _server = Server::start(&server_space);
    let passed = listen(&server_space);
    let policy_at = "/apis/portcullis.dev/v1alpha1/gatepolicies/strict";
    wait_until("the policy is applied by both nodes", || {
        let policy = control.get(policy_at).unwrap();
        policy["status"]["nodes"] == 2 && policy["status"]["pods"] == 4
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{:#}\n{}", control.get(policy_at).unwrap(), cluster.news()));
    println!("{}", control.kubectl(&["get", "gatepolicies", "-o", "wide"]).unwrap());

    // Below the threshold nothing happens.
    let victims = pods_of(&cluster, "web");
    let (offender, offender_uid) = victims[0].clone();
    let node = wait_bound(&cluster, &offender);
    let from = cluster.pod_namespace("default", &offender).unwrap();
    assert_eq!(connect(&from, server_at, 5), 5);
    forge(&from, server_at, 9);
    assert_eq!(connect(&from, server_at, 5), 5, "nine are not ten");

    // The tenth: everything from it is dropped from the next frame on, and it is replaced.
    let began = Instant::now();
    let (deleted, answered) = std::thread::scope(|scope| {
        forge(&from, server_at, 1);
        let answered = scope.spawn(|| connect(&from, server_at, 1));
        let deleted = wait_for("the hub deletes the pod", || {
            let there = control.get(&format!("/api/v1/namespaces/default/pods/{offender}")).ok();
            let going = there.is_none_or(|pod| !pod["metadata"]["deletionTimestamp"].is_null());
            going.then(|| began.elapsed())
        });
        (deleted, answered.join().unwrap())
    });
    let endpoint = || node.endpoint(&format!("default/{offender}"));
    let deleted = deleted.unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", endpoint(), cluster.news()));
    assert_eq!(answered, 0, "quarantine begins with the next frame");
    println!("from the tenth attempt to the deletion, as seen by polling: {deleted:?}");
    drop(from);
    wait_until("a clean one takes its place", || {
        let now = pods_of(&cluster, "web");
        now.len() == 2 && now.iter().all(|(_, uid)| *uid != offender_uid)
    })
    .unwrap();
    control.wait_rollout("default", "deployment/web").unwrap();
    let fresh = pods_of(&cluster, "web").into_iter().find(|pod| !victims.contains(pod)).unwrap();
    wait_bound(&cluster, &fresh.0);
    let space = cluster.pod_namespace("default", &fresh.0).unwrap();
    assert_eq!(connect(&space, server_at, 5), 5, "who takes its place is clean");

    // A bare pod stays gone; an exempt one stays, cut off.
    for name in ["bare", "exempt"] {
        wait_bound(&cluster, name);
        forge(&cluster.pod_namespace("default", name).unwrap(), server_at, 12);
    }
    control.wait_gone("/api/v1/namespaces/default/pods/bare").unwrap();
    let exempt = cluster.node_of("default", "exempt").unwrap();
    wait_until("the exempt pod is in quarantine", || {
        exempt
            .endpoint("default/exempt")
            .is_ok_and(|it| serde_json::to_value(it.state).unwrap() == "quarantined")
    })
    .unwrap();
    let told =
        |name: &str, reason: &str| {
            let path = "/api/v1/namespaces/default/events";
            let all = control.get(path).unwrap();
            all["items"].as_array().unwrap().iter().any(|event| {
                event["reason"] == reason && event["involvedObject"]["name"].as_str() == Some(name)
            })
        };
    for (name, reason) in [
        (offender.as_str(), "SpoofedSource"),
        (&offender, "Quarantined"),
        (&offender, "Terminated"),
        ("bare", "Terminated"),
        ("exempt", "Quarantined"),
        ("exempt", "TerminationWithheld"),
    ] {
        wait_until(&format!("event {reason} on {name}"), || told(name, reason))
            .unwrap_or_else(|error| panic!("{error:#}\n{}", control.kubectl(&["get", "events"]).unwrap()));
    }
    assert!(uid(&cluster, "exempt").is_some(), "the exempt pod is there");
    assert!(uid(&cluster, "bare").is_none(), "nobody makes a bare pod anew");
    assert_eq!(passed.stop().unwrap(), 0, "no forged segment came through");
    wait_until("the policy counts whom it ended", || {
        control.get(policy_at).unwrap()["status"]["terminated"] == 2
    })
    .unwrap();
    println!("{}", control.kubectl(&["describe", "pod", "exempt"]).unwrap());
}
