//! The API server alone.

use std::time::Instant;

use portcullis_testkit::Lab;
use portcullis_testkit::kube::ControlPlane;
use serde_json::{Value, json};

const WIDGETS: &str = "/apis/lab.portcullis.dev/v1/widgets";

fn definition() -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "size": {"type": "integer", "maximum": 10},
            "names": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"},
        }},
        "status": {"type": "object", "properties": {"seen": {"type": "integer"}}},
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.lab.portcullis.dev"},
        "spec": {
            "group": "lab.portcullis.dev", "scope": "Cluster",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

fn widget(name: &str, size: u32) -> Value {
    json!({"apiVersion": "lab.portcullis.dev/v1", "kind": "Widget", "metadata": {"name": name},
        "spec": {"size": size}})
}

fn define(plane: &ControlPlane) {
    plane.apply(&definition().to_string()).unwrap();
    plane.wait_object(WIDGETS, "served", |_| true).unwrap();
}

#[test]
fn an_api_server_in_a_labs_host() {
    let lab = Lab::builder().without_outside().build().unwrap();
    let before = Instant::now();
    let plane = ControlPlane::api_only(lab.host()).unwrap();
    println!("ready after {:?}", before.elapsed());
    define(&plane);
    plane.send("POST", WIDGETS, Some(&widget("one", 3))).unwrap();
    // Its schema is kept to.
    assert!(plane.send("POST", WIDGETS, Some(&widget("big", 11))).is_err());
    plane.send("PATCH", &format!("{WIDGETS}/one/status"), Some(&json!({"status": {"seen": 1}}))).unwrap();
    let one = plane.get(&format!("{WIDGETS}/one")).unwrap();
    assert_eq!((&one["spec"]["size"], &one["status"]["seen"]), (&json!(3), &json!(1)));
    // Pods are objects.
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "web", "image": "none"}]}});
    plane.send("POST", "/api/v1/namespaces/default/pods", Some(&pod)).unwrap();
    let pods = plane.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1").unwrap();
    assert_eq!(pods["items"][0]["metadata"]["name"], "web");
    // Where the control plane is gone, its processes are.
    let directory = plane.directory().to_owned();
    drop(plane);
    assert!(!directory.exists());
}

#[test]
fn server_side_apply_and_watch() {
    use kube::api::{Api, DynamicObject, Patch, PatchParams, WatchEvent, WatchParams};
    use kube::core::{ApiResource, GroupVersionKind};
    let plane = ControlPlane::alone().unwrap();
    define(&plane);
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("lab.portcullis.dev", "v1", "Widget"));
    let (owner, seen) = plane
        .call(async |client| {
            let widgets: Api<DynamicObject> = Api::all_with(client, &resource);
            let version = widgets.list(&kube::api::ListParams::default()).await?.metadata.resource_version;
            let mine = PatchParams::apply("one-of-two");
            let made = widgets.patch("made", &mine, &Patch::Apply(widget("made", 4))).await?;
            // Another owner of the same field is told.
            let other = PatchParams::apply("another");
            let conflict = widgets.patch("made", &other, &Patch::Apply(widget("made", 5))).await.unwrap_err();
            assert!(matches!(&conflict, kube::Error::Api(status) if status.code == 409), "{conflict}");
            let fields = made.metadata.managed_fields.unwrap_or_default();
            let stream = widgets.watch(&WatchParams::default(), &version.unwrap()).await?;
            Ok((fields[0].manager.clone(), first(stream).await))
        })
        .unwrap();
    assert_eq!(owner.as_deref(), Some("one-of-two"));
    let WatchEvent::Added(object) = seen else { panic!("not that it was added: {seen:?}") };
    assert_eq!(object.metadata.name.as_deref(), Some("made"));
}

async fn first<T, E: std::fmt::Debug>(stream: impl futures_util::Stream<Item = Result<T, E>>) -> T {
    use futures_util::StreamExt;
    let mut stream = std::pin::pin!(stream);
    stream.next().await.unwrap().unwrap()
}

#[test]
fn tokens_say_whom_they_are_for() {
    let plane = ControlPlane::alone().unwrap();
    let review = |token: &str, audience: &str| -> Value {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]}});
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        serde_json::from_str(&plane.send("POST", path, Some(&review)).unwrap()).unwrap()
    };
    let token = plane.token("default", "reader", &["portcullis-hub"]).unwrap();
    let answer = review(&token, "portcullis-hub");
    assert_eq!(answer["status"]["authenticated"], true);
    assert_eq!(answer["status"]["user"]["username"], "system:serviceaccount:default:reader");
    assert_eq!(answer["status"]["audiences"], json!(["portcullis-hub"]));
    assert_ne!(review(&token, "somebody-else")["status"]["authenticated"], true);
    // To the API server it is nobody's.
    let kubeconfig = plane.kubeconfig_with_token("for-the-hub", &token).unwrap();
    let refused = plane.send_as(&kubeconfig, "GET", "/api/v1/namespaces", None).unwrap_err();
    assert!(format!("{refused:#}").contains("Unauthorized"), "{refused:#}");
}

#[test]
fn users_may_what_roles_say() {
    let plane = ControlPlane::alone().unwrap();
    let pods = "/api/v1/namespaces/default/pods";
    let alice = plane.kubeconfig("alice", "").unwrap();
    let account = plane.account_kubeconfig("default", "robot").unwrap();
    for kubeconfig in [&alice, &account] {
        let refused = plane.send_as(kubeconfig, "GET", pods, None).unwrap_err();
        assert!(format!("{refused:#}").contains("forbidden"), "{refused:#}");
    }
    // (Of the roles that are there, `view` and `edit` are empty without the controllers.)
    plane.kubectl(&["create", "role", "reader", "--verb=list", "--resource=pods"]).unwrap();
    for (name, whom) in [("a", "--user=alice"), ("r", "--serviceaccount=default:robot")] {
        plane.kubectl(&["create", "rolebinding", name, "--role=reader", whom]).unwrap();
    }
    for kubeconfig in [&alice, &account] {
        portcullis_testkit::wait_until("the role to count", || {
            plane.send_as(kubeconfig, "GET", pods, None).is_ok()
        })
        .unwrap();
    }
    // What was asked is on record.
    let asked = |user: &str| {
        plane.requests().unwrap().iter().any(|request| {
            request["user"]["username"] == user && request["verb"] == "list" && request["requestURI"] == pods
        })
    };
    assert!(asked("alice") && asked("system:serviceaccount:default:robot"));
    assert!(!asked("nobody"));
}

#[test]
fn it_goes_and_comes_back_and_goes_back_in_time() {
    let mut plane = ControlPlane::alone().unwrap();
    define(&plane);
    plane.send("POST", WIDGETS, Some(&widget("old", 1))).unwrap();
    let version = |plane: &ControlPlane| -> u64 {
        plane.get(WIDGETS).unwrap()["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
    };
    let names = |plane: &ControlPlane| -> Vec<String> {
        let list = plane.get(WIDGETS).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let snapshot = plane.save("before").unwrap();
    for number in 0..20 {
        plane.send("POST", WIDGETS, Some(&widget(&format!("new-{number}"), 2))).unwrap();
    }
    let token = plane.token("default", "reader", &[]).unwrap();
    for killed in [false, true] {
        if killed { plane.kill() } else { plane.stop() }.unwrap();
        assert!(!plane.is_running());
        assert!(plane.get(WIDGETS).is_err());
        plane.start().unwrap();
        assert_eq!(names(&plane).len(), 21);
        // Certificates and tokens hold.
        assert!(plane.kubectl(&["get", "widgets"]).unwrap().contains("old"));
        let kubeconfig = plane.kubeconfig_with_token("again", &token).unwrap();
        let refused = plane.send_as(&kubeconfig, "GET", WIDGETS, None).unwrap_err();
        assert!(format!("{refused:#}").contains("forbidden"), "{refused:#}");
    }
    let later = version(&plane);
    plane.restore(&snapshot).unwrap();
    assert_eq!(names(&plane), ["old"]);
    assert!(version(&plane) < later);
}
