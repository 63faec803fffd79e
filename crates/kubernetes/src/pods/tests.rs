use std::collections::BTreeSet;

use portcullis_policy::container::{AttachmentPlace, Container, HostInterface, Networking};
use serde_json::{Value, json};

use super::find::Spot;
use super::*;

const ID: &str = "9d1c2a5f0a8b4c7d8e9f00112233445566778899aabbccddeeff001122334455";

fn object(name: &str, change: impl FnOnce(&mut Value)) -> Pod {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": {"app": "web"},
            "annotations": {"whatever": "x"}, "managedFields": [{"manager": "kubelet"}]},
        "spec": {"nodeName": "node-1", "restartPolicy": "Always", "containers": [{"name": "a"}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.2",
            "podIPs": [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}],
            "startTime": "2026-01-01T00:00:00Z",
            "containerStatuses": [{"containerID": format!("containerd://{ID}"), "state": {"running": {}}}],
        }
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn spot(sandbox: Option<&str>, index: u32) -> Spot {
    let host = HostInterface { netns: 1, netns_path: None, index, name: format!("veth{index}") };
    Spot { sandbox: sandbox.map(str::to_owned), inside: "eth0".into(), place: AttachmentPlace::Pair { host } }
}

fn found(name: &str, spot: Option<Spot>) -> Vec<Found> {
    vec![Found { uid: format!("uid-{name}"), spot }]
}

fn changed(reports: Vec<Report>) -> Container {
    let [Report::Changed(container)] = <[Report; 1]>::try_from(reports).unwrap() else { panic!() };
    *container
}

#[test]
fn a_pod_is_a_container() {
    let now = Instant::now();
    let mut pods = Pods::default();
    let container = changed(pods.put(object("a", |_| {}), now));
    assert_eq!((container.name.as_str(), container.id.as_str()), ("shop/a", "uid-a"));
    assert_eq!((container.networking.clone(), container.attachments.len()), (Networking::Own, 0));
    assert_eq!(container.workload.runtime.as_deref(), Some("containerd"));
    assert_eq!(container.workload.labels["app"], "web");
    assert!(container.trouble.is_none(), "what is not known yet is no trouble");
    assert_eq!(pods.put(object("a", |_| {}), now), [], "nothing new");
    let later = now + Duration::from_secs(1);
    let wanted = pods.wanted(later);
    assert_eq!(
        (wanted[0].cgroup.as_str(), wanted[0].containers.clone()),
        ("uid-a", BTreeSet::from([ID.into()]))
    );
    assert!(pods.wanted(later).is_empty(), "one search at a time");
    let reports = pods.found(found("a", Some(spot(Some("sandbox"), 7))), later);
    let [Report::Gone { id, .. }, Report::Changed(container)] = reports.as_slice() else {
        panic!("{reports:?}")
    };
    assert_eq!((id.as_str(), container.id.as_str()), ("uid-a", "sandbox"));
    let addresses: Vec<String> = container.attachments[0].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.2", "fd00::2"]);
    assert_eq!(container.workload.container.as_deref(), Some("sandbox"));
    // Its interface went; it is still the same pod.
    pods.look_at("sandbox", later);
    assert_eq!(pods.wanted(later + Duration::from_secs(1)).len(), 1);
    let container = changed(pods.found(found("a", None), later));
    assert_eq!((container.id.as_str(), container.attachments.len()), ("sandbox", 0));
    assert_eq!(pods.gone("uid-a"), [Report::Gone { id: "sandbox".into(), removed: true }]);
    assert_eq!(pods.gone("uid-a"), []);
}

#[test]
fn searches_end() {
    let mut now = Instant::now();
    let mut pods = Pods::default();
    pods.put(object("a", |_| {}), now);
    let mut searches = 0;
    while let Some(due) = pods.due() {
        now = now.max(due);
        assert_eq!(pods.wanted(now).len(), 1);
        pods.found(found("a", None), now);
        searches += 1;
    }
    assert_eq!(searches, 7);
    // Another container was started, or the address changed: that is a reason.
    let restarted =
        |pod: &mut Value| pod["status"]["containerStatuses"][0]["containerID"] = "containerd://b".into();
    pods.put(object("a", restarted), now);
    assert!(pods.due().is_some());
}

#[test]
fn who_has_no_interface_of_its_own_is_not_sought() {
    let now = Instant::now();
    let mut pods = Pods::default();
    let host = changed(pods.put(object("host", |pod| pod["spec"]["hostNetwork"] = true.into()), now));
    assert_eq!(host.networking, Networking::Host);
    let pending = |pod: &mut Value| {
        pod["status"] = json!({"phase": "Pending"});
    };
    let container = changed(pods.put(object("new", pending), now));
    assert_eq!((container.networking, pods.due()), (Networking::Own, None));
    pods.put(object("new", |_| {}), now);
    assert!(pods.due().is_some());
}

#[test]
fn completed_pods_claim_nothing() {
    let exited = |code: i64| json!([{"state": {"terminated": {"exitCode": code}}}]);
    let mut over = Vec::new();
    for (name, policy, status) in [
        ("succeeded", "Never", json!({"phase": "Succeeded"})),
        ("failed", "Always", json!({"phase": "Failed"})),
        ("never", "Never", json!({"phase": "Running", "containerStatuses": exited(1)})),
        ("done", "OnFailure", json!({"phase": "Running", "containerStatuses": exited(0)})),
        ("again", "OnFailure", json!({"phase": "Running", "containerStatuses": exited(1)})),
        ("always", "Always", json!({"phase": "Running", "containerStatuses": exited(0)})),
        ("none", "Never", json!({"phase": "Running", "containerStatuses": []})),
        ("pending", "Never", json!({"phase": "Pending"})),
        ("nothing", "Never", json!({})),
        (
            "sidecar",
            "Never",
            json!({"phase": "Running", "containerStatuses": exited(0), "initContainerStatuses": [{"state": {"running": {}}}]}),
        ),
    ] {
        let pod = object(name, |pod| {
            pod["spec"]["restartPolicy"] = policy.into();
            pod["status"] = status;
        });
        if pod.is_over() {
            over.push(name);
        }
    }
    assert_eq!(over, ["succeeded", "failed", "never", "done"]);
    let now = Instant::now();
    let mut pods = Pods::default();
    pods.put(object("a", |_| {}), now);
    let over = || object("a", |pod| pod["status"]["phase"] = "Succeeded".into());
    assert_eq!(pods.put(over(), now), [Report::Gone { id: "uid-a".into(), removed: true }]);
    assert_eq!(pods.put(over(), now), []);
    // Its address is another's by now.
    assert_eq!(changed(pods.put(object("b", |_| {}), now)).name, "shop/b");
    let Report::Snapshot { containers, .. } = pods.all(vec![over(), object("c", |_| {})], now) else {
        panic!()
    };
    assert_eq!(containers.iter().map(|container| container.name.as_str()).collect::<Vec<_>>(), ["shop/c"]);
}

#[test]
fn a_list_keeps_what_was_found() {
    let now = Instant::now();
    let mut pods = Pods::default();
    pods.all(vec![object("a", |_| {}), object("b", |_| {})], now);
    let wanted = pods.wanted(now + Duration::from_secs(1));
    assert_eq!(wanted.len(), 2, "one search for all");
    pods.found(found("a", Some(spot(Some("s"), 7))), now);
    let Report::Snapshot { containers, .. } = pods.all(vec![object("a", |_| {})], now) else { panic!() };
    assert_eq!((containers.len(), containers[0].id.as_str(), containers[0].attachments.len()), (1, "s", 1));
    assert_eq!(pods.gone("uid-b"), []);
}

#[test]
fn static_pods_have_another_uid_in_their_cgroup() {
    let hash = "7e4f4f3f0a0b1c2d3e4f5a6b7c8d9e0f";
    let mirror = object("kube-proxy", |pod| {
        pod["metadata"]["annotations"] =
            json!({"kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash});
    });
    let facts = mirror.facts().unwrap();
    assert_eq!((facts.cgroup.as_str(), facts.workload.uid.as_deref()), (hash, Some("uid-kube-proxy")));
    // Anybody may write an annotation; the API server lets only kubelets write that of a mirror.
    let liar =
        object("liar", |pod| pod["metadata"]["annotations"] = json!({"kubernetes.io/config.hash": hash}));
    assert_eq!(liar.facts().unwrap().cgroup, "uid-liar");
}

#[test]
fn odd_pods_are_read_as_far_as_they_go() {
    for text in ["{}", r#"{"metadata":{"name":"x"}}"#] {
        assert!(serde_json::from_str::<Pod>(text).unwrap().facts().is_none(), "{text}");
    }
    let odd = object("odd", |pod| {
        pod["status"]["podIPs"] =
            json!([{"ip": "10.0.0.999"}, {"ip": ""}, {}, {"ip": "127.0.0.1"}, {"ip": "10.0.0.4"}]);
        pod["status"]["podIP"] = Value::Null;
        pod["status"]["containerStatuses"] = Value::Null;
        pod["metadata"]["labels"] = Value::Null;
        pod["metadata"]["annotations"] = Value::Null;
    });
    let facts = odd.facts().unwrap();
    assert!(facts.addresses.iter().any(|address| address.to_string() == "10.0.0.4"), "{:?}", facts.addresses);
    assert!(facts.workload.runtime.is_none());
}

/// This very process is in no pod, and the search says so without a fuss.
#[test]
fn who_is_not_there_is_not_found() {
    let Ok(hosts) = HostSpaces::new(None) else { return };
    let wanted = Wanted {
        uid: "a".into(),
        cgroup: "11111111-2222-3333-4444-555555555555".into(),
        containers: BTreeSet::new(),
        addresses: Vec::new(),
    };
    assert_eq!(find(&[wanted], &hosts), [Found { uid: "a".into(), spot: None }]);
}

mod talking {
    use tokio::sync::oneshot;

    use super::*;
    use crate::script::{Script, script};

    struct Play {
        script: Script,
        reports: mpsc::Receiver<Report>,
        requests: mpsc::Sender<Request>,
        task: JoinHandle<()>,
    }

    impl Drop for Play {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    fn play() -> Play {
        let (client, script) = script();
        let (sender, reports) = mpsc::channel(16);
        let (requests, asked) = mpsc::channel(16);
        let task = tokio::spawn(run(PodsConfig::new(client, "node-1"), sender, asked));
        Play { script, reports, requests, task }
    }

    fn json_pod(name: &str, version: u64) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": version.to_string()},
            "spec": {"hostNetwork": true},
            "status": {"phase": "Running"}
        })
    }

    fn names(report: Report) -> Vec<String> {
        match report {
            Report::Snapshot { containers, .. } => containers.into_iter().map(|one| one.name).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_holds_while_the_server_is_away() {
        let mut play = play();
        assert_eq!(play.reports.recv().await.unwrap(), Report::Connecting);
        let list = play.script.next().await;
        assert_eq!(list.query("fieldSelector"), Some("spec.nodeName%3Dnode-1"));
        list.list("10", &[json_pod("a", 3), json_pod("b", 4)]);
        assert_eq!(names(play.reports.recv().await.unwrap()), ["shop/a", "shop/b"]);
        let stream = play.script.next().await.stream();
        stream.event("DELETED", &json_pod("b", 11));
        assert_eq!(play.reports.recv().await.unwrap(), Report::Gone { id: "uid-b".into(), removed: true });
        tokio::time::sleep(Duration::from_secs(5)).await;
        stream.break_off();
        play.script.next().await.fail();
        let Report::Failing(why) = play.reports.recv().await.unwrap() else { panic!() };
        assert!(why.contains("pods"), "{why}");
        play.script.next().await.list("12", &[]);
        let stream = play.script.next().await.stream();
        assert_eq!(names(play.reports.recv().await.unwrap()), ["shop/a"], "connected again");
        // The same pod once more is no news; a change is.
        stream.event("MODIFIED", &json_pod("a", 13));
        let mut labelled = json_pod("a", 14);
        labelled["metadata"]["labels"] = json!({"tier": "front"});
        stream.event("MODIFIED", &labelled);
        let Report::Changed(container) = play.reports.recv().await.unwrap() else { panic!() };
        assert_eq!(container.workload.labels["tier"], "front");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_served() {
        let mut play = play();
        play.reports.recv().await.unwrap();
        play.script.next().await.list("10", &[]);
        play.reports.recv().await.unwrap();
        let stream = play.script.next().await.stream();
        let (answer, answered) = oneshot::channel();
        let how = portcullis_policy::guard::Termination::Kill;
        play.requests.send(Request::Terminate { id: "x".into(), how, answer }).await.unwrap();
        assert_eq!(answered.await.unwrap(), Err("pods are ended by the hub".into()));
        play.requests.send(Request::LookAt("nobody".into())).await.unwrap();
        play.requests.send(Request::Resync).await.unwrap();
        assert!(!play.script.next().await.is_watch());
        drop(stream);
        // It ends with whoever hears it.
        play.reports.close();
        let task = std::mem::replace(&mut play.task, tokio::spawn(async {}));
        task.await.unwrap();
    }
}
