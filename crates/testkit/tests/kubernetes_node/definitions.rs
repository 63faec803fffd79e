//! The custom resources, and the policies as an agent hears them.

use std::sync::mpsc::Sender;

use portcullis_kubernetes::crd;
use portcullis_kubernetes::policies::{self, PolicySet, Standing};
use serde_json::{Value, json};

use crate::running::Running;
use crate::{agent, has, kubectl, plane};

const POLICIES: &str = "/apis/portcullis.dev/v1alpha1/gatepolicies";

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "portcullis.dev/v1alpha1", "kind": "GatePolicy", "metadata": {"name": name}, "spec": spec})
}

/// 5 and 5.0 are the same.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => values.iter().map(plain).collect(),
        Value::Object(values) => values.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_api_server_takes_the_definitions_and_refuses_nonsense() {
    let plane = plane();
    for definition in crd::all() {
        let name = definition.metadata.name.unwrap();
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        let object = plane.get(&path).unwrap();
        assert!(!has(&object, "NonStructuralSchema", "True"), "{object}");
        assert!(has(&object, "NamesAccepted", "True"));
        // Whatever the schema says must be kept, or two agents of one release would disagree with the API server.
        let spec = serde_json::to_value(&definition.spec).unwrap();
        let schema = |spec: &Value| plain(&spec["versions"][0]["schema"]);
        assert_eq!(schema(&spec), schema(&object["spec"]), "{name}");
    }
    for (name, spec) in [
        ("mode", json!({"mode": "lenient"})),
        ("priority", json!({"priority": "high"})),
        ("allow", json!({"allow": ["everything"]})),
        ("address", json!({"addresses": ["shop"]})),
        ("attempts", json!({"threshold": {"attempts": 0}})),
        ("window", json!({"threshold": {"window": "soon"}})),
        ("response", json!({"response": "explode"})),
        ("namespaces", json!({"namespaces": ["Shop!"]})),
        ("grace", json!({"response": "terminate", "termination": {"gracePeriodSeconds": -1}})),
        ("method", json!({"response": "terminate", "termination": {"method": "ask"}})),
    ] {
        let refused = plane.send("POST", POLICIES, Some(&policy(name, spec))).unwrap_err();
        assert!(format!("{refused:#}").contains("spec"), "{name}: {refused:#}");
    }
    let everything = json!({"priority": 5, "mode": "enforce", "namespaces": ["sh*"], "allow": ["router"],
        "namespaceSelector": {"matchLabels": {"tier": "front"}},
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]},
        "addresses": ["10.9.9.9/32", "fd00::/64"], "threshold": {"attempts": 3, "window": "5s"}, "response": "terminate",
        "termination": {"method": "evict", "gracePeriodSeconds": 3}, "releaseAfter": "10m", "dryRun": true});
    plane.send("POST", POLICIES, Some(&policy("everything", everything.clone()))).unwrap();
    let kept = plane.get(&format!("{POLICIES}/everything")).unwrap();
    assert_eq!(kept["spec"], everything, "nothing is pruned");
    let table = kubectl(&plane, &["get", "gp", "-o", "wide"]);
    for word in ["MODE", "RESPONSE", "PRIORITY", "PODS", "ACCEPTED", "MESSAGE", "enforce", "terminate"] {
        assert!(table.contains(word), "{word}: {table}");
    }
    let shown = kubectl(&plane, &["explain", "gatepolicy.spec.response"]);
    assert!(shown.contains("quarantine"), "{shown}");
}

enum Word {
    Set(PolicySet),
    Stands(Standing),
}

async fn follow(client: kube::Client, words: Sender<Word>) {
    let told = words.clone();
    policies::run(
        client,
        move |set| _ = told.send(Word::Set(set)),
        move |standing| _ = words.send(Word::Stands(standing)),
    )
    .await;
}

fn holds(word: Word, names: &[&str]) -> Option<PolicySet> {
    let Word::Set(set) = word else { return None };
    let found: Vec<&str> =
        set.policies.iter().filter_map(|policy| policy.name.strip_prefix("gatepolicy/")).collect();
    (found == names).then_some(set)
}

#[test]
fn policies_follow_the_cluster() {
    let plane = plane();
    plane.ensure_namespace("shop").unwrap();
    plane.send("POST", POLICIES, Some(&policy("plain", json!({"mode": "audit"})))).unwrap();
    let running = Running::start(&plane, &agent(&plane), follow);
    running.until("the first", |word| holds(word, &["plain"]));
    let by_agent = |path: &str| {
        let all = plane.requests().unwrap();
        let of = |request: &&Value| {
            request["user"]["username"].as_str().unwrap_or_default().ends_with(":portcullis-agent")
                && request["requestURI"].as_str().unwrap_or_default().starts_with(path)
        };
        all.iter().filter(of).count()
    };
    assert_eq!(by_agent("/api/v1/namespaces"), 0, "nobody asked for labels of namespaces");
    let selector = json!({"mode": "enforce", "namespaceSelector": {"matchLabels": {"tier": "front"}}});
    plane.send("POST", POLICIES, Some(&policy("front", selector))).unwrap();
    // Accepted by the API server, and wrong all the same.
    let wrong = json!({"mode": "audit", "addresses": ["10.0.0.300"]});
    plane.send("POST", POLICIES, Some(&policy("wrong", wrong))).unwrap();
    let set = running.until("what is wrong", |word| match word {
        Word::Set(set) if set.applied.len() == 3 => Some(set),
        _ => None,
    });
    let wrong = set.applied.iter().find(|applied| applied.name == "wrong").unwrap();
    assert!(wrong.trouble.as_ref().unwrap().contains("10.0.0.300"), "{wrong:?}");
    plane.kubectl(&["label", "namespace", "shop", "tier=front"]).unwrap();
    let set = running.until("the label", |word| holds(word, &["front", "plain"]));
    assert_eq!(set.policies[0].selector.namespaces, ["shop"]);
    assert!(by_agent("/api/v1/namespaces?") > 0);
    plane.send("DELETE", &format!("{POLICIES}/front"), None).unwrap();
    running.until("one less", |word| holds(word, &["plain"]));
    kubectl(&plane, &["patch", "gp", "plain", "--type=merge", "-p", "{\"spec\":{\"priority\":7}}"]);
    let set = running
        .until("the change", |word| holds(word, &["plain"]).filter(|set| set.policies[0].priority == 7));
    assert_eq!(set.applied.iter().find(|applied| applied.name == "plain").unwrap().generation, 2);
}

#[test]
fn what_is_missing_is_said_in_one_sentence() {
    let plane = plane();
    // A user that nobody gave anything to.
    let stranger = plane.kubeconfig("stranger", "").unwrap();
    let running = Running::start(&plane, &stranger, follow);
    let failing = |word: Word| match word {
        Word::Stands(Standing::Failing(why)) => Some(why),
        _ => None,
    };
    let why = running.until("a sentence", failing);
    for word in ["list", "gatepolicies.portcullis.dev", "403", "ClusterRole portcullis-agent", "stranger"] {
        assert!(why.contains(word), "{word}: {why}");
    }
    let bind = ["create", "clusterrolebinding", "x", "--clusterrole=portcullis-agent", "--user=stranger"];
    plane.kubectl(&bind).unwrap();
    running.until("its end", |word| holds(word, &[]));
    drop(running);
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gatepolicies.portcullis.dev";
    plane.send("DELETE", definition, None).unwrap();
    plane.wait_gone(definition).unwrap();
    let running = Running::start(&plane, &agent(&plane), follow);
    let why = running.until("a sentence", failing);
    assert!(why.contains("404") && why.contains("gatepolicies.portcullis.dev"), "{why}");
    plane.apply(&crd::to_yaml().unwrap()).unwrap();
    running.until("its end", |word| holds(word, &[]));
}
