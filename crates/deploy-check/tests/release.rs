//! What is released together: chart, image, plain manifests, binary.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use portcullis_deploy_check::{ADMISSION, Helm, Object, Render, chart, find, parse, root};
use serde_json::Value;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const PROGRAM: &str = "/usr/local/bin/portcullis";

#[test]
fn the_version_is_that_of_the_workspace() {
    let text = std::fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let meta: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
    assert_eq!(meta["version"], VERSION);
    assert_eq!(meta["appVersion"], VERSION);
    let dockerfile = std::fs::read_to_string(root().join("deploy/image/Dockerfile")).unwrap();
    assert!(dockerfile.lines().any(|line| line == "FROM scratch"));
    // Where every container of the chart looks for it.
    assert!(dockerfile.contains(&format!("COPY portcullis {PROGRAM}\n")));
    for object in Helm::newest().unwrap().objects(&Render::default()).unwrap() {
        for container in object.pod().into_iter().flat_map(|pod| pod.containers()) {
            assert_eq!(container["command"], serde_json::json!([PROGRAM]));
        }
    }
}

/// By label, by environment, and by the image's tag.
#[test]
fn every_pod_is_told_the_version() {
    let objects =
        |set: &[&str]| Helm::newest().unwrap().objects(&Render { set, ..Render::default() }).unwrap();
    let images = |objects: &[Object]| -> Vec<String> {
        let containers = objects.iter().filter_map(Object::pod).flat_map(|pod| pod.containers());
        let mut images: Vec<String> =
            containers.map(|one| one["image"].as_str().unwrap().to_owned()).collect();
        images.dedup();
        images
    };
    let default = objects(&[]);
    for pod in default.iter().filter_map(Object::pod) {
        assert_eq!(pod.metadata["labels"]["app.kubernetes.io/version"], VERSION);
        for container in pod.containers().filter(|one| one["name"] != "cni-install") {
            let environment = container["env"].as_array().unwrap();
            let told = environment.iter().find(|one| one["name"] == "PORTCULLIS_CHART_VERSION").unwrap();
            assert_eq!(told["value"], VERSION);
            for name in ["NODE_NAME", "POD_IP", "POD_NAME", "POD_NAMESPACE"] {
                assert!(environment.iter().any(|one| one["name"] == name), "{name}");
            }
        }
    }
    assert_eq!(images(&default), [format!("localhost/portcullis:{VERSION}")]);
    assert_eq!(images(&objects(&["image.repository=r:5000/p", "image.tag=1.2"])), ["r:5000/p:1.2"]);
    let digest = format!("sha256:{}", "0".repeat(64));
    let by_digest =
        objects(&[&format!("image.digest={digest}"), "image.tag=1.2", "image.pullSecrets[0].name=s"]);
    assert_eq!(images(&by_digest), [format!("localhost/portcullis@{digest}")]);
    for pod in by_digest.iter().filter_map(Object::pod) {
        assert_eq!(pod.spec["imagePullSecrets"][0]["name"], "s");
    }
}

/// Renders what a plain manifest has.
fn manifest(title: &str, render: &Render<'_>) -> String {
    let rendered = Helm::newest().unwrap().text(&Render { no_hooks: true, ..render.clone() }).unwrap();
    // Only for Helm: whoever applies these has none.
    let lines = rendered.lines().filter(|line| !line.starts_with("# Source: "));
    let body: String = lines.map(|line| format!("{}\n", line.trim_end())).collect();
    format!(
        "# {title}\n# Rendered from deploy/helm/portcullis: BLESS=1 cargo test -p portcullis-deploy-check renews it.\n{body}"
    )
}

#[test]
fn plain_manifests_are_what_the_chart_renders() {
    let set = &["namespace.create=true"][..];
    let everything = Render { set, kubernetes: Some("v1.32.0"), ..Render::default() };
    let admission =
        Render { apis: &[ADMISSION], only: Some("templates/access/admission.yaml"), ..everything.clone() };
    let files = [
        ("portcullis.yaml", "Portcullis, for Kubernetes 1.21 and newer.", everything),
        ("admission.yaml", "What RBAC cannot say, for Kubernetes 1.30 and newer.", admission),
    ];
    let mut differing = Vec::new();
    for (name, title, render) in files {
        let path = root().join("deploy/manifests").join(name);
        let text = manifest(title, &render);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            differing.push(path.display().to_string());
        }
        let objects = parse(&text).unwrap();
        assert!(
            objects.iter().all(|object| object.at("/metadata/annotations/helm.sh~1hook") == &Value::Null)
        );
    }
    assert!(differing.is_empty(), "out of date; look at the change, then BLESS=1 renews it: {differing:?}");
}

/// Objects come before what needs them, since `kubectl apply` goes from top to bottom.
#[test]
fn a_plain_manifest_can_be_applied_from_top_to_bottom() {
    let text = std::fs::read_to_string(root().join("deploy/manifests/portcullis.yaml")).unwrap();
    let objects = parse(&text).unwrap();
    let place = |id: &str| objects.iter().position(|object| object.id() == id).expect(id);
    assert_eq!(place("Namespace/portcullis-system"), 0);
    let enforced = "/metadata/labels/pod-security.kubernetes.io~1enforce";
    assert_eq!(find(&objects, "Namespace/portcullis-system").unwrap().text(enforced), "privileged");
    let agent = place("DaemonSet/portcullis-agent");
    for id in [
        "ServiceAccount/portcullis-agent",
        "ConfigMap/portcullis-agent",
        "ClusterRoleBinding/portcullis-agent",
    ] {
        assert!(place(id) < agent, "{id}");
    }
}
