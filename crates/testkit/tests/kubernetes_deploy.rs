//! What is deployed, before a real API server: it takes every object, gives each account what it needs and
//! nothing else, and the binary knows every command that the manifests start.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_testkit::kube::ControlPlane;
use portcullis_testkit::portcullis;
use serde_json::{Value, json};

const NAMESPACE: &str = "portcullis-system";

/// The chart as Helm renders it for this API server.
fn rendered(set: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let fetched = Command::new(root.join("crates/deploy-check/helm")).output().unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let helms = String::from_utf8(fetched.stdout).unwrap();
    let mut command = Command::new(helms.lines().last().unwrap());
    command.args(["template", "portcullis"]).arg(root.join("deploy/helm/portcullis"));
    command.args(["--namespace", NAMESPACE, "--kube-version", "v1.20.2"]);
    command.args(set.iter().flat_map(|value| ["--set", value]));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn file(plane: &ControlPlane, manifests: &str) -> PathBuf {
    let path = plane.directory().join("rendered.yaml");
    std::fs::write(&path, manifests).unwrap();
    path
}

fn plane() -> ControlPlane {
    let plane = ControlPlane::alone().unwrap();
    plane.ensure_namespace(NAMESPACE).unwrap();
    plane
}

/// With validation on the client's side too, which knows keys that nobody has.
#[test]
fn an_api_server_takes_every_object() {
    let plane = plane();
    let cases: [&[&str]; 5] = [
        &[],
        &["namespace.create=true", "resourceQuota.enabled=true", "agent.bpffs.mount=true", "hub.dryRun=true"],
        &[
            "agent.privileged=true",
            "cni.enabled=false",
            "cni.remove=true",
            "image.pullSecrets[0].name=registry",
        ],
        &["agent.legacyCapabilities=true", "hub.enabled=false", "agent.updateStrategy.maxUnavailable=2"],
        &[
            "agent.seccompProfile.type=Localhost",
            "agent.seccompProfile.localhostProfile=portcullis/agent.json",
            "agent.runtimeSockets={/run/cri-dockerd.sock}",
            "networkPolicy.nodes.cidrs={10.0.0.0/8,fd00::/8}",
            "kubernetesApi.host=10.0.0.1",
            "agent.extraEnv[0].name=A",
            "agent.extraEnv[0].value=b",
        ],
    ];
    for set in cases {
        let path = file(&plane, &rendered(set));
        let path = path.to_str().unwrap();
        let said = plane.kubectl(&["apply", "--validate=true", "--dry-run=server", "-f", path]);
        let said = said.unwrap_or_else(|error| panic!("{set:?}: {error:#}"));
        assert!(said.contains("daemonset.apps/portcullis-agent created"), "{set:?}: {said}");
    }
    // And for good, twice: the second time nothing is left to change.
    let path = file(&plane, &rendered(&[]));
    plane.kubectl(&["apply", "-f", path.to_str().unwrap()]).unwrap();
    let again = plane.kubectl(&["apply", "-f", path.to_str().unwrap()]).unwrap();
    assert!(!again.contains("created") && !again.contains("configured"), "{again}");
}

/// Somebody who asks the API server.
struct Asker<'p> {
    plane: &'p ControlPlane,
    kubeconfig: PathBuf,
}

impl<'p> Asker<'p> {
    fn account(plane: &'p ControlPlane, name: &str) -> Self {
        Self { plane, kubeconfig: plane.account_kubeconfig(NAMESPACE, name).unwrap() }
    }

    fn may(&self, method: &str, path: &str, body: Option<&Value>) {
        let answer = self.plane.send_as(&self.kubeconfig, method, path, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error:#}"));
    }

    fn may_not(&self, method: &str, path: &str, body: Option<&Value>) {
        let answer = self.plane.send_as(&self.kubeconfig, method, path, body);
        let error = format!("{:#}", answer.expect_err(path));
        assert!(error.contains("forbidden"), "{method} {path}: {error}");
    }
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}})
}

fn event(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "x-"}, "reason": "SpoofedSource",
        "type": "Warning", "involvedObject": {"kind": "Pod", "namespace": namespace, "name": "victim"}})
}

/// An API server with everything applied, and a pod in it.
fn installed() -> ControlPlane {
    let plane = plane();
    plane.ensure_namespace("default").unwrap();
    plane.apply(&rendered(&[])).unwrap();
    plane.send("POST", "/api/v1/namespaces/default/pods", Some(&pod("victim"))).unwrap();
    plane
}

const VICTIM: &str = "/api/v1/namespaces/default/pods/victim";

#[test]
fn an_agent_may_look_and_publish() {
    let plane = installed();
    let agent = Asker::account(&plane, "portcullis-agent");
    let own = format!("/api/v1/namespaces/{NAMESPACE}");
    agent.may("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", None);
    agent.may("GET", "/api/v1/namespaces", None);
    agent.may("GET", &format!("{own}/configmaps?fieldSelector=metadata.name%3Dportcullis-hub"), None);
    agent.may("GET", &format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/portcullis-agent"), None);
    agent.may("POST", "/api/v1/namespaces/default/events", Some(&event("default")));
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    for path in [VICTIM.to_owned(), format!("{VICTIM}/status")] {
        agent.may_not("PATCH", &path, Some(&label));
    }
    agent.may_not("DELETE", VICTIM, None);
    let eviction = json!({"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "victim", "namespace": "default"}});
    agent.may_not("POST", &format!("{VICTIM}/eviction"), Some(&eviction));
    agent.may_not("POST", "/api/v1/namespaces/default/pods", Some(&pod("mine")));
    agent.may_not("GET", &format!("{own}/secrets"), None);
    agent.may_not("GET", &format!("{own}/configmaps"), None);
    agent.may_not("PATCH", "/api/v1/nodes/n1", Some(&label));
    agent.may_not("DELETE", "/apis/portcullis.dev/v1alpha1/endpointmaps/n1", None);
    agent.may_not("PATCH", "/apis/portcullis.dev/v1alpha1/gatepolicies/x/status", Some(&label));
    agent.may_not(
        "DELETE",
        &format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/portcullis-agent"),
        None,
    );
}

#[test]
fn a_hub_may_end_pods_and_lead() {
    let plane = installed();
    let hub = Asker::account(&plane, "portcullis-hub");
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    let lease = |name: &str| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}});
    hub.may("POST", &leases, Some(&lease("portcullis-hub")));
    let renewed = json!({"spec": {"holderIdentity": "a"}});
    let held = hub.plane.get(&format!("{leases}/portcullis-hub")).unwrap();
    let held = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": held["metadata"], "spec": renewed["spec"]});
    hub.may("PUT", &format!("{leases}/portcullis-hub"), Some(&held));
    plane.send("POST", &leases, Some(&lease("other"))).unwrap();
    hub.may_not("PUT", &format!("{leases}/other"), Some(&lease("other")));
    // Its certificate, applied on the server's side where there is no ConfigMap yet.
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a.crt": "x"},
        "metadata": {"name": "portcullis-hub", "namespace": NAMESPACE}});
    let path = file(&plane, &config.to_string());
    let applied = plane
        .kubectl_command(&hub.kubeconfig)
        .unwrap()
        .args(["apply", "--server-side", "-f"])
        .arg(path)
        .output();
    let applied = applied.unwrap();
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "x"}});
    hub.may("POST", "/apis/authentication.k8s.io/v1/tokenreviews", Some(&review));
    hub.may_not("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", None);
    hub.may_not("GET", &format!("/api/v1/namespaces/{NAMESPACE}/secrets"), None);
    hub.may_not("PATCH", VICTIM, Some(&json!({"metadata": {"labels": {"a": "b"}}})));
    hub.may_not("PATCH", "/apis/portcullis.dev/v1alpha1/endpointmaps/n1/status", Some(&json!({})));
    hub.may("DELETE", VICTIM, None);
}

/// A reader's Role gives a reader's token, and that token what the hub will ask for.
#[test]
fn people_get_what_they_were_given() {
    let plane = installed();
    let bind =
        ["create", "rolebinding", "ana", "--role=portcullis-kubectl-reader", "--user=ana", "-n", NAMESPACE];
    plane.kubectl(&bind).unwrap();
    let ana = Asker { plane: &plane, kubeconfig: plane.kubeconfig("ana", "").unwrap() };
    let token = |account: &str| format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token");
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": ["portcullis-hub"], "expirationSeconds": 600}});
    ana.may("POST", &token("portcullis-reader"), Some(&request));
    for account in ["portcullis-operator", "portcullis-agent", "portcullis-hub"] {
        ana.may_not("POST", &token(account), Some(&request));
    }
    ana.may("GET", &format!("/api/v1/namespaces/{NAMESPACE}/pods"), None);
    ana.may_not("GET", "/api/v1/namespaces/default/pods", None);
    let can = |verb: &str, what: &str, who: &str| {
        let who = format!("--as=system:serviceaccount:{NAMESPACE}:portcullis-{who}");
        plane.kubectl(&["auth", "can-i", verb, what, &who]).is_ok_and(|answer| answer.trim() == "yes")
    };
    assert!(
        can("get", "/portcullis/api/v1/map", "reader")
            && can("get", "/portcullis/api/v1/endpoints/x", "reader")
    );
    assert!(can("put", "/portcullis/api/v1/endpoints/x/quarantine", "operator"));
    assert!(!can("put", "/portcullis/api/v1/endpoints/x/quarantine", "reader"));
    // Nobody else: without the prefix every account could, since system:discovery gives all of /api to everybody.
    assert!(
        !can("get", "/portcullis/api/v1/map", "agent") && !can("get", "/portcullis/openapi.json", "agent")
    );
    assert!(can("get", "/api/v1/map", "agent"), "then the prefix is not needed");
    // To the API server itself they are nobody.
    Asker::account(&plane, "portcullis-reader").may_not("GET", "/api/v1/nodes", None);
}

/// What the manifests start is what the binary knows, and it reads the configuration that they carry.
#[test]
fn the_binary_knows_what_the_manifests_ask_of_it() {
    let plane = plane();
    let set = ["agent.bpffs.mount=true", "hub.dryRun=true", "agent.runtimeSockets={/run/x/y.sock}"];
    let path = file(&plane, &rendered(&set));
    let list =
        plane.kubectl(&["create", "--dry-run=client", "-o", "json", "-f", path.to_str().unwrap()]).unwrap();
    let objects = serde_json::Deserializer::from_str(&list).into_iter::<Value>().map(Result::unwrap);
    let objects: Vec<Value> = objects
        .flat_map(|object| object["items"].as_array().cloned().unwrap_or_else(|| vec![object.clone()]))
        .collect();
    let mut commands = 0;
    for container in objects.iter().flat_map(containers) {
        let words = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let mut asked = vec![words(&container["args"])];
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            asked.extend(
                Some(words(&container[probe]["exec"]["command"]))
                    .filter(|w| !w.is_empty())
                    .map(|w| w[1..].to_vec()),
            );
        }
        for arguments in asked {
            // Whatever stands before it is read first, and refused where it is not known.
            let output = Command::new(portcullis().unwrap()).args(&arguments).arg("--help").output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            commands += 1;
        }
    }
    assert!(commands >= 7, "{commands}");
    let config = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    let toml = plane.directory().join("portcullis.toml");
    std::fs::write(&toml, config["data"]["portcullis.toml"].as_str().unwrap()).unwrap();
    // A flag that is refused once the file was read: nothing starts.
    let refused = Command::new(portcullis().unwrap())
        .args(["agent", "--listen", "192.0.2.1:1", "--config"])
        .arg(toml)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("listen") && !said.contains("peer_listen"), "{said}");
}

fn containers(object: &Value) -> Vec<Value> {
    let spec = &object["spec"]["template"]["spec"];
    let lists = ["initContainers", "containers"].into_iter().filter_map(|key| spec[key].as_array());
    lists.flatten().cloned().collect()
}
