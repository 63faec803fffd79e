//! What is said of policies, and of the hub itself.

use portcullis_testkit::wait_for;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Hub, POLICIES};

fn condition(cluster: &Cluster, hub: &Hub, policy: &str, kind: &str, status: &str) -> String {
    let mut last = Value::Null;
    let found = wait_for(&format!("{policy} to be {kind}={status}"), || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let object = cluster.plane.get(&format!("{POLICIES}/{policy}")).ok()?;
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        last = object["status"].clone();
        let found = all.into_iter().find(|one| one["type"] == kind && one["status"] == status)?;
        Some(found["message"].as_str().unwrap_or_default().to_owned())
    });
    found.unwrap_or_else(|error| panic!("{error:#}\n{last}\n{}", cluster.log(hub)))
}

#[test]
fn policies_are_told_what_is_wrong_with_them() {
    let cluster = Cluster::start();
    cluster.node("n1");
    cluster.node("n2");
    let hub = cluster.leader(0, &[]);
    cluster.policy("a", json!({"mode": "enforce"}));
    cluster.policy("b", json!({"mode": "audit"}));
    cluster.policy("bad", json!({"mode": "enforce", "addresses": ["127.0.0.1"]}));
    cluster.policy("all", json!({"priority": -1, "response": "terminate"}));
    cluster.policy("nobody", json!({"mode": "audit", "namespaceSelector": {"matchLabels": {"no": "such"}}}));
    let ours = json!({"app.kubernetes.io/name": "portcullis", "app.kubernetes.io/component": "hub"});
    cluster.pod("portcullis-system", "portcullis-hub-0", "n1", &ours);
    let row = json!({"name": "shop/web", "namespace": "shop", "pod": "web", "uid": "u", "state": "bound", "mode": "enforce",
        "policies": ["a", "b", "all"]});
    let applied = |generation: u32| json!([{"name": "a", "generation": generation}, {"name": "b", "generation": 1}, {"name": "all", "generation": 1}]);
    cluster.say("n1", &json!({"endpoints": [row], "policies": applied(1)}));
    cluster.say("n2", &json!({"policies": applied(0)}));

    let why = condition(&cluster, &hub, "bad", "Accepted", "False");
    assert!(why.contains("127.0.0.1 is a loopback address"), "{why}");
    assert!(cluster.wait_event("default", "bad", "Refused").contains("loopback"));
    let why = condition(&cluster, &hub, "nobody", "Matching", "False");
    assert_eq!(why, "no namespace fits its selectors");
    let why = condition(&cluster, &hub, "a", "Conflicting", "True");
    assert!(why.starts_with("mode: enforce here and audit in b") && why.contains("shop/web"), "{why}");
    condition(&cluster, &hub, "b", "Conflicting", "True");
    assert_eq!(condition(&cluster, &hub, "a", "Applied", "False"), "1 of 2 nodes apply generation 1");
    assert_eq!(condition(&cluster, &hub, "all", "Applied", "True"), "2 of 2 nodes apply generation 1");
    let why = condition(&cluster, &hub, "all", "Spared", "True");
    assert!(why.contains("kube-system"), "{why}");
    condition(&cluster, &hub, "all", "Conflicting", "False");
    let policy = cluster.plane.get(&format!("{POLICIES}/a")).unwrap();
    assert_eq!((&policy["status"]["pods"], &policy["status"]["nodes"]), (&json!(1), &json!(1)));
    // What does not change is not written again.
    let version = |name: &str| {
        cluster.plane.get(&format!("{POLICIES}/{name}")).unwrap()["metadata"]["resourceVersion"].clone()
    };
    let before = version("bad");
    cluster.say("n2", &json!({"policies": applied(1)}));
    condition(&cluster, &hub, "a", "Applied", "True");
    assert_eq!(version("bad"), before);
    let shown = cluster.plane.kubectl(&["get", "gatepolicies"]).unwrap();
    println!("{shown}");
    // Said as soon as its own pods are looked at again.
    let why = wait_for("the policy to be told that it selects the hub", || {
        let message = condition(&cluster, &hub, "all", "Spared", "True");
        message
            .contains("the hub's own pods (portcullis-system/portcullis-hub-0), which are never ended")
            .then_some(message)
    });
    why.unwrap();
}

#[test]
fn an_old_definition_and_a_missing_right_are_told() {
    let cluster = Cluster::start();
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gatepolicies.portcullis.dev";
    let old = json!({"metadata": {"annotations": {"portcullis.dev/schema": "0123456789abcdef"}}});
    cluster.plane.send("PATCH", path, Some(&old)).unwrap();
    let hub = cluster.leader(0, &[]);
    let told = |words: &str| {
        wait_for(&format!("{words:?} to be told"), || {
            let output = cluster.plugin(&hub, &["status", "-o", "json"]);
            Some(String::from_utf8_lossy(&output.stdout).into_owned()).filter(|text| text.contains(words))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.log(&hub)))
    };
    crate::access::account(&cluster, "portcullis-reader", &["get"]);
    told("gatepolicies.portcullis.dev is of another release than this hub");

    // A hub that may do nothing says what it lacks.
    let account = cluster.plane.account_kubeconfig("portcullis-system", "nobody").unwrap();
    let poor = cluster.hub_as(&account, 1, &[]);
    wait_for("the hub to say what it lacks", || {
        let (status, text) = cluster.plain(&poor, "/readyz")?;
        let lacks = |what: &str| text.contains(what);
        (status == 503
            && lacks("not read yet: endpointmaps, gatepolicies, namespaces, nodes")
            && lacks("list endpointmaps.portcullis.dev (403): apply the chart's ClusterRole portcullis-hub")
            && lacks("RBAC gives the hub no right to get lease portcullis-hub (403): apply the chart's Role portcullis-hub"))
        .then_some(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", cluster.plain(&poor, "/readyz"), cluster.log(&poor)));
    assert_eq!(cluster.plain(&poor, "/healthz").unwrap().0, 200);
}
