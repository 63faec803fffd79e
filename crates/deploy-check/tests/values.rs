//! Values: each documented, each in the schema, and bad ones refused in a sentence.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use portcullis_deploy_check::{Helm, Render, chart};
use serde_json::Value;

fn values() -> (String, Value) {
    let text = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
    (text, serde_json::to_value(value).unwrap())
}

fn schema() -> Value {
    serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap()
}

/// A part of the schema, behind its reference.
fn resolved<'s>(root: &'s Value, part: &'s Value) -> &'s Value {
    match part["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => part,
    }
}

/// Every path that the schema names, and every path of the values that it does not.
fn walk(
    root: &Value,
    part: &Value,
    value: Option<&Value>,
    path: &str,
    known: &mut BTreeSet<String>,
    strangers: &mut Vec<String>,
) {
    let part = resolved(root, part);
    let Some(properties) = part["properties"].as_object() else { return };
    assert_eq!(part["additionalProperties"], false, "{path}: an unknown key would not be refused");
    for (key, below) in properties {
        let path = format!("{path}.{key}");
        walk(root, below, value.and_then(|value| value.get(key)), &path, known, strangers);
        known.insert(path);
    }
    let keys = value.and_then(Value::as_object).into_iter().flatten();
    strangers.extend(
        keys.filter(|(key, _)| !properties.contains_key(*key)).map(|(key, _)| format!("{path}.{key}")),
    );
}

/// Paths of the schema that have no value by default.
const WITHOUT_DEFAULT: [&str; 2] = [".agent.seLinuxOptions.role", ".agent.seLinuxOptions.user"];

#[test]
fn the_schema_has_every_value_and_the_values_have_everything_of_the_schema() {
    let ((_, values), schema) = (values(), schema());
    let (mut known, mut strangers) = (BTreeSet::new(), Vec::new());
    walk(&schema, &schema, Some(&values), "", &mut known, &mut strangers);
    assert!(strangers.is_empty(), "the schema lacks {strangers:?}");
    assert!(known.len() > 100, "{}", known.len());
    let missing: Vec<&String> = known
        .iter()
        .filter(|path| !WITHOUT_DEFAULT.contains(&path.as_str()) && !path.contains(".pullSecrets."))
        .filter(|path| values.pointer(&path.replace('.', "/")).is_none())
        .collect();
    assert!(missing.is_empty(), "values.yaml lacks {missing:?}");
}

/// Each value stands below a comment, but for parts of one that is documented as a whole.
#[test]
fn every_value_is_documented() {
    let whole = ["resources", "nodeSelector", "seLinuxOptions", "tolerations", "metricsFrom"];
    let (text, _) = values();
    let (mut above, mut parents) = ("", Vec::<(usize, &str)>::new());
    for line in text.lines() {
        let indentation = line.len() - line.trim_start().len();
        let Some((key, value)) =
            line.trim_start().split_once(':').filter(|_| !line.trim_start().starts_with('#'))
        else {
            above = line;
            continue;
        };
        parents.retain(|(depth, _)| *depth < indentation);
        let inside = parents.iter().any(|(_, parent)| whole.contains(parent));
        let commented = above.trim_start().starts_with('#');
        assert!(commented || inside || value.is_empty(), "values.yaml: nothing is said of {key}: {line}");
        parents.push((indentation, key));
        above = line;
    }
}

/// Values that are refused, and a word that says which or why.
const BAD: [(&str, &str); 27] = [
    ("nothing.here=1", "nothing"),
    ("agent.privilegd=true", "privilegd"),
    ("agent.privileged=maybe", "privileged"),
    ("agent.config.unbound=open", "unbound"),
    ("agent.config.kubernetes.unknown=ask", "unknown"),
    ("agent.config.kubernetes.peerPort=0", "peerPort"),
    ("agent.config.kubernetes.publishInterval=10", "publishInterval"),
    ("agent.config.kubernetes.trusted={a*b}", "trusted"),
    ("agent.config.answer.attempts=0", "attempts"),
    ("agent.extraCapabilities={CAP_NET_RAW}", "write NET_RAW"),
    ("agent.runtimeSockets={containerd.sock}", "runtimeSockets"),
    ("agent.runtimeSockets={/containerd.sock}", "runtimeSockets"),
    ("agent.stateDir=var", "stateDir"),
    ("agent.seccompProfile.type=Localhost", "Localhost needs it"),
    ("agent.seccompProfile.localhostProfile=x.json", "belongs to type Localhost"),
    ("agent.updateStrategy.maxUnavailable=0", "maxUnavailable"),
    ("agent.podLabels.app\\.kubernetes\\.io/name=x", "the chart's own"),
    ("cni.onAgentDown=never", "onAgentDown"),
    ("cni.remove=true", "contradict"),
    ("cni.file=../x.conflist", "file"),
    ("hub.replicas=0", "replicas"),
    ("hub.metricsPort=8443", "the same"),
    ("hub.apiPort=443", "apiPort"),
    ("image.digest=sha1:abc", "digest"),
    ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("networkPolicy.nodes.cidrs={10.0.0.0}", "cidrs"),
    ("defaultPolicy.enabled=true", "defaultPolicy.spec"),
];

#[test]
fn bad_values_are_refused() {
    for helm in Helm::all().unwrap() {
        for (bad, word) in BAD {
            let error = helm.text(&Render { set: &[bad], ..Render::default() });
            let error = error.expect_err(bad).to_string();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }
    let both = ["cni.file=a.conflist", "cni.network=b"];
    let error = Helm::newest().unwrap().text(&Render { set: &both, ..Render::default() }).unwrap_err();
    assert!(error.to_string().contains("give one of them"), "{error}");
}
