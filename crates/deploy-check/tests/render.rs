//! The chart renders, whatever is asked of it, and both Helms agree on what comes out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use portcullis_deploy_check::{ADMISSION, Helm, NAMESPACE, Object, Render, chart, find, parse};
use serde_json::Value;

/// Everything at once: every template says all that it can.
const ALL: &[&str] = &[
    "agent.bpffs.mount=true",
    "agent.logFilter=debug",
    "agent.runtimeSockets={/run/k3s/containerd/containerd.sock,/run/cri-dockerd.sock}",
    "agent.config.extra=[events]\nper_second = 5",
    "agent.config.kubernetes.peerAddress=::",
    "agent.affinity.nodeAffinity.x=y",
    "agent.podLabels.team=net",
    "agent.extraCapabilities={NET_RAW}",
    "agent.extraEnv[0].name=A",
    "agent.extraEnv[0].value=b",
    "agent.seccompProfile.type=Localhost",
    "agent.seccompProfile.localhostProfile=portcullis/agent.json",
    "cni.file=10-x.conflist",
    "commonLabels.owner=net",
    "defaultPolicy.enabled=true",
    "defaultPolicy.spec.mode=enforce",
    "hub.dryRun=true",
    "hub.logFilter=info",
    "hub.nodeSelector.disk=fast",
    "image.pullSecrets[0].name=registry",
    "kubernetesApi.host=10.0.0.1",
    "monitoring.serviceMonitor.enabled=true",
    "monitoring.prometheusRule.enabled=true",
    "namespace.create=true",
    "networkPolicy.apiServer.cidrs={10.0.0.0/8,fd00::/8}",
    "networkPolicy.nodes.cidrs={10.1.0.0/16}",
    "resourceQuota.enabled=true",
];

fn cases() -> Vec<(&'static str, Render<'static>)> {
    let set = |set: &'static [&'static str]| Render { set, ..Render::default() };
    vec![
        ("defaults", Render::default()),
        ("all", Render { apis: &[ADMISSION, "portcullis.dev/v1alpha1/GatePolicy"], ..set(ALL) }),
        ("all, without the newest APIs", set(ALL)),
        ("all, on 1.20", Render { kubernetes: Some("v1.20.2"), ..set(ALL) }),
        ("all, on 1.29", Render { kubernetes: Some("v1.29.0"), ..set(ALL) }),
        ("privileged", set(&["agent.privileged=true"])),
        ("capabilities before CAP_BPF", set(&["agent.legacyCapabilities=true"])),
        ("no CNI", set(&["cni.enabled=false"])),
        ("CNI taken out", set(&["cni.enabled=false", "cni.remove=true"])),
        ("no hub", set(&["hub.enabled=false"])),
        ("one hub", set(&["hub.replicas=1"])),
        ("no CRDs, no hook", set(&["crds.enabled=false", "uninstall.hook=false"])),
        ("nobody asks", set(&["access.enabled=false", "admissionPolicies=always"])),
        ("no metrics", Render { set_json: &["networkPolicy.metricsFrom=[]"], ..Render::default() }),
        (
            "bare",
            Render { set_json: &["agent.tolerations=[]", "agent.seLinuxOptions={}"], ..Render::default() },
        ),
        ("no network policy", set(&["networkPolicy.enabled=false", "agent.expediteGracePeriods=false"])),
    ]
}

/// Every case parses, without keys that come twice, names things once, and is the same with every Helm.
#[test]
fn every_case_renders_the_same_with_every_helm() {
    for (name, render) in cases() {
        let mut texts = BTreeSet::new();
        for helm in Helm::all().unwrap() {
            let render =
                Render { kubernetes: Some(render.kubernetes.unwrap_or("v1.32.0")), ..render.clone() };
            let text = helm.text(&render).unwrap_or_else(|error| panic!("{name}: {error}"));
            let objects = parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            check(name, &objects);
            texts.insert(format!("{objects:#?}"));
            assert!(!text.contains("<no value>") && !text.contains("%!"), "{name}: {text}");
        }
        assert_eq!(texts.len(), 1, "{name}: the Helms differ");
    }
}

/// What holds of every object.
fn check(case: &str, objects: &[Object]) {
    let mut ids = BTreeSet::new();
    for object in objects {
        assert!(ids.insert(object.id()), "{case}: {} comes twice", object.id());
        let labels = object.at("/metadata/labels");
        for (label, value) in [
            ("app.kubernetes.io/name", "portcullis"),
            ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION")),
            ("helm.sh/chart", concat!("portcullis-", env!("CARGO_PKG_VERSION"))),
        ] {
            assert_eq!(labels[label], value, "{case}: {}", object.id());
        }
        let namespace = object.text("/metadata/namespace");
        let cluster_wide =
            ["ClusterRole", "ClusterRoleBinding", "Namespace", "CustomResourceDefinition", "GatePolicy"];
        let cluster_wide = cluster_wide.contains(&object.kind()) || object.kind().starts_with("Validating");
        assert_eq!(namespace, if cluster_wide { "" } else { NAMESPACE }, "{case}: {}", object.id());
        assert!(
            object.name() == NAMESPACE
                || object.kind() == "GatePolicy"
                || object.name().contains("portcullis")
        );
        no_nulls(&object.0, &format!("{case}: {}", object.id()));
    }
}

fn no_nulls(value: &Value, place: &str) {
    match value {
        Value::Null => panic!("{place} is null"),
        Value::Object(members) => {
            members.iter().for_each(|(key, value)| no_nulls(value, &format!("{place}.{key}")))
        }
        Value::Array(items) => items.iter().for_each(|item| no_nulls(item, &format!("{place}[]"))),
        _ => {}
    }
}

fn rendered(set: &[&str]) -> Vec<Object> {
    Helm::newest().unwrap().objects(&Render { set, ..Render::default() }).unwrap()
}

fn ids(objects: &[Object]) -> BTreeSet<String> {
    objects.iter().map(Object::id).collect()
}

#[test]
fn what_is_switched_off_is_not_there() {
    let all = ids(&rendered(&[]));
    for id in ["DaemonSet/portcullis-agent", "Deployment/portcullis-hub", "Job/portcullis-uninstall"] {
        assert!(all.contains(id), "{id} of {all:?}");
    }
    let without_hub = ids(&rendered(&["hub.enabled=false"]));
    let left = without_hub.iter().filter(|id| !id.ends_with("agent") && !id.ends_with("uninstall"));
    assert_eq!(left.filter(|id| !id.starts_with("CustomResourceDefinition")).count(), 0, "{without_hub:?}");
    assert!(!ids(&rendered(&["hub.replicas=1"])).contains("PodDisruptionBudget/portcullis-hub"));
    assert!(!ids(&rendered(&["networkPolicy.enabled=false"])).contains("NetworkPolicy/portcullis-hub"));
    assert!(!ids(&rendered(&["uninstall.hook=false"])).iter().any(|id| id.contains("uninstall")));
    assert!(!ids(&rendered(&["access.enabled=false"])).iter().any(|id| id.contains("reader")));
    assert!(!ids(&rendered(&["crds.enabled=false"])).iter().any(|id| id.starts_with("CustomResource")));
}

/// The definitions are those of the files, and outlive the release.
#[test]
fn definitions_are_rendered_as_they_stand_in_their_files() {
    let files =
        std::fs::read_dir(chart().join("files/crds")).into_iter().flatten().map(|file| file.unwrap().path());
    let kept = |object: &Object| object.text("/metadata/annotations/helm.sh~1resource-policy") == "keep";
    let objects = rendered(&[]);
    let thrown = rendered(&["crds.keep=false"]);
    let mut count = 0;
    for file in files.filter(|file| file.extension().is_some_and(|ending| ending == "yaml")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let [definition] = &parse(&text).unwrap()[..] else {
            panic!("{} has more than one object", file.display())
        };
        let object = find(&objects, &definition.id()).unwrap();
        assert_eq!(plain(object.at("/spec")), plain(definition.at("/spec")), "{}", file.display());
        for (annotation, value) in definition.at("/metadata/annotations").as_object().into_iter().flatten() {
            assert_eq!(&object.at("/metadata/annotations")[annotation], value, "{}", object.id());
        }
        assert!(kept(object), "{}", object.id());
        assert!(!kept(find(&thrown, &definition.id()).unwrap()));
        count += 1;
    }
    assert_eq!(objects.iter().filter(|object| object.kind() == "CustomResourceDefinition").count(), count);
}

/// Helm writes `0.0` as `0`, which is the same to everybody.
fn plain(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Null, Value::from),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        other => other.clone(),
    }
}

/// Helm looks every kind up before it makes anything: a policy cannot come with its own definition.
#[test]
fn a_default_policy_waits_for_its_definition() {
    let set = &["defaultPolicy.enabled=true", "defaultPolicy.spec.mode=enforce"][..];
    let hook = |apis| {
        let objects = Helm::newest().unwrap().objects(&Render { set, apis, ..Render::default() }).unwrap();
        let policy = find(&objects, "GatePolicy/default").unwrap();
        assert_eq!(policy.at("/spec"), &serde_json::json!({"mode": "enforce"}));
        assert_eq!(policy.text("/metadata/annotations/meta.helm.sh~1release-name"), "portcullis");
        policy.text("/metadata/annotations/helm.sh~1hook").to_owned()
    };
    assert_eq!(hook(&[]), "post-install");
    assert_eq!(hook(&["portcullis.dev/v1alpha1/GatePolicy"]), "");
}

#[test]
fn newer_apis_are_used_where_they_are() {
    let helm = Helm::newest().unwrap();
    let with = |kubernetes, apis| {
        helm.objects(&Render { kubernetes: Some(kubernetes), apis, ..Render::default() }).unwrap()
    };
    let budget = |objects: &[Object]| {
        find(objects, "PodDisruptionBudget/portcullis-hub").unwrap().text("/apiVersion").to_owned()
    };
    let (old, new) = (with("v1.20.2", &[][..]), with("v1.32.0", &[ADMISSION][..]));
    assert_eq!((budget(&old), budget(&new)), ("policy/v1beta1".to_owned(), "policy/v1".to_owned()));
    let policies = |objects: &[Object]| ids(objects).iter().filter(|id| id.starts_with("Validating")).count();
    assert_eq!((policies(&old), policies(&new)), (0, 4));
    let annotation =
        "/spec/template/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1agent";
    let agent = |objects: &[Object]| find(objects, "DaemonSet/portcullis-agent").unwrap().clone();
    assert_eq!(agent(&old).text(annotation), "unconfined");
    assert_eq!(agent(&new).text(annotation), "");
    let field = "/spec/template/spec/containers/0/securityContext/appArmorProfile/type";
    assert_eq!((agent(&old).text(field), agent(&new).text(field)), ("", "Unconfined"));
}
