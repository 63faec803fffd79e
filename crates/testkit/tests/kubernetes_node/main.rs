//! What an agent's node part does with a real API server: definitions, pods, policies, what it publishes, Events,
//! certificates; with the chart's own rights and no others.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod definitions;
mod pods;
mod publishing;
mod running;

use std::path::{Path, PathBuf};

use portcullis_kubernetes::crd;
use portcullis_testkit::Namespace;
use portcullis_testkit::kube::ControlPlane;

/// Our own.
pub const SYSTEM: &str = "portcullis-system";

/// An API server that has our definitions, and the rights that the chart gives.
pub fn plane() -> ControlPlane {
    prepared(ControlPlane::alone().unwrap())
}

/// The same in a namespace that is there.
pub fn plane_in(namespace: &Namespace) -> ControlPlane {
    prepared(ControlPlane::api_only(namespace).unwrap())
}

fn prepared(plane: ControlPlane) -> ControlPlane {
    plane.ensure_namespace(SYSTEM).unwrap();
    plane.apply(&crd::to_yaml().unwrap()).unwrap();
    for definition in crd::all() {
        let path = format!(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}",
            definition.metadata.name.unwrap()
        );
        plane.wait_object(&path, "established", |object| has(object, "Established", "True")).unwrap();
    }
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/manifests/portcullis.yaml");
    let manifests = std::fs::read_to_string(manifests).unwrap();
    let rights = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"];
    let is_right = |document: &&str| {
        rights.iter().any(|kind| document.lines().any(|line| line == format!("kind: {kind}")))
    };
    let rights: Vec<&str> = manifests.split("\n---").filter(is_right).collect();
    assert!(rights.len() > 8, "{}", rights.len());
    plane.apply(&rights.join("\n---")).unwrap();
    plane
}

/// A command line of `kubectl` that knows nothing of what was there before the definitions.
pub fn kubectl(plane: &ControlPlane, arguments: &[&str]) -> String {
    // Definitions are served at once, but their documentation is some seconds late.
    for attempt in 0..120 {
        let cache = format!("--cache-dir={}", plane.directory().join(format!("fresh-{attempt}")).display());
        match plane.kubectl(&[&[cache.as_str()], arguments].concat()) {
            Ok(output) => return output,
            Err(error) if !error.to_string().contains("resource") => panic!("{error:#}"),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(500)),
        }
    }
    panic!("kubectl {arguments:?} never worked")
}

/// An agent's kubeconfig.
pub fn agent(plane: &ControlPlane) -> PathBuf {
    plane.account_kubeconfig(SYSTEM, "portcullis-agent").unwrap()
}

/// Whether an object has a condition in this state.
pub fn has(object: &serde_json::Value, kind: &str, status: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == status))
}
