//! What a node writes: its map, Events, certificates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use portcullis_kubernetes::crd::{EndpointMapStatus, EndpointRow, Offender, Peer};
use portcullis_kubernetes::events::{self, PodRef};
use portcullis_kubernetes::peer::{Identity, Trusted, certificates};
use portcullis_kubernetes::publish::{self, PublishConfig};
use portcullis_policy::model::Mode;
use portcullis_testkit::kube::ControlPlane;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::running::{Running, once};
use crate::{SYSTEM, agent, kubectl, plane};

const MAP: &str = "/apis/portcullis.dev/v1alpha1/endpointmaps/node-1";

type Offers = watch::Sender<Option<Arc<EndpointMapStatus>>>;

fn publishing(plane: &ControlPlane) -> (Offers, Running<Option<String>>) {
    let (offers, offered) = watch::channel(None);
    let running = Running::start(plane, &agent(plane), async move |client, words: Sender<_>| {
        let config = PublishConfig { client, node: "node-1".into(), interval: Duration::from_secs(1) };
        publish::run(config, offered, move |word| _ = words.send(word)).await;
    });
    (offers, running)
}

fn written(word: Option<String>) -> Option<()> {
    match word {
        None => Some(()),
        Some(why) => panic!("{why}"),
    }
}

fn row(pod: &str) -> EndpointRow {
    serde_json::from_value(json!({"namespace": "shop", "pod": pod, "uid": format!("uid-{pod}"), "interface": "veth0",
        "addresses": ["10.0.0.2", "fd00::2"], "macs": ["02:00:00:00:00:01"], "mode": "enforce", "state": "bound",
        "policies": ["strict"], "response": "terminate"}))
    .unwrap()
}

fn offender(pod: &str) -> Offender {
    serde_json::from_value(
        json!({"namespace": "shop", "pod": pod, "uid": format!("uid-{pod}"), "endpoint": "shop/a",
        "attempts": 10, "threshold": 10, "window": "60s", "reasons": {"spoofed-ipv4": 10}, "policy": "strict",
        "time": "2026-01-01T00:00:00Z"}),
    )
    .unwrap()
}

fn map(rows: usize, offenders: &[&str]) -> Arc<EndpointMapStatus> {
    let mut status = EndpointMapStatus::default();
    status.agent.version = "1.0".into();
    let peer = Peer { address: "10.0.0.1:8475".into(), certificate: "PEM".into() };
    status.agent.peer = (rows > 2).then_some(peer);
    status.endpoints = (0..rows).map(|number| row(&format!("web-{number}"))).collect();
    status.offenders = offenders.iter().map(|pod| offender(pod)).collect();
    status.summary.endpoints = i32::try_from(rows).unwrap();
    Arc::new(status)
}

#[test]
fn a_node_publishes_its_map() {
    let plane = plane();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}});
    let node: Value =
        serde_json::from_str(&plane.send("POST", "/api/v1/nodes", Some(&node)).unwrap()).unwrap();
    let (offers, running) = publishing(&plane);
    offers.send(Some(map(110, &[]))).unwrap();
    running.until("the first write", written);
    let object = plane.get(MAP).unwrap();
    assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], node["metadata"]["uid"]);
    assert_eq!(
        (&object["spec"]["node"], object["status"]["endpoints"].as_array().unwrap().len()),
        (&json!("node-1"), 110)
    );
    assert_eq!(
        object["status"]["endpoints"][0],
        serde_json::to_value(row("web-0")).unwrap(),
        "nothing is pruned"
    );
    // Lists are replaced as a whole: who owns which row is not noted.
    let managed = object["metadata"]["managedFields"].to_string().len();
    assert!(managed < 4000, "{managed} bytes of bookkeeping");
    let table = kubectl(&plane, &["get", "epm"]);
    assert!(table.contains("ENDPOINTS") && table.contains("110"), "{table}");
    // What is written at once, and what goes away again.
    offers.send(Some(map(110, &["a", "b"]))).unwrap();
    running.until("offenders", written);
    assert_eq!(plane.get(MAP).unwrap()["status"]["offenders"].as_array().unwrap().len(), 2);
    let found =
        once(&plane, &agent(&plane), async |client| publish::offenders(&client, "node-1").await.unwrap());
    assert_eq!(found, [offender("a"), offender("b")]);
    // Empty texts are nothing to trip over.
    let mut fewer = EndpointMapStatus::clone(&map(1, &[]));
    fewer.agent.pod = Some(String::new());
    fewer.offenders = vec![Offender { reasons: BTreeMap::new(), ..offender("c") }];
    let ready = json!({"type": "Ready", "status": "True", "reason": "Fine", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    fewer.conditions.push(serde_json::from_value(ready).unwrap());
    offers.send(Some(Arc::new(fewer))).unwrap();
    running.until("fewer", written);
    let object = plane.get(MAP).unwrap();
    assert_eq!(
        (object["status"]["endpoints"].as_array().unwrap().len(), &object["status"]["offenders"][0]["pod"]),
        (1, &json!("c"))
    );
    offers.send(Some(map(1, &[]))).unwrap();
    running.until("nobody", written);
    assert_eq!(plane.get(MAP).unwrap()["status"]["offenders"], Value::Null);
    // Somebody deletes it.
    plane.send("DELETE", MAP, None).unwrap();
    offers.send(Some(map(2, &[]))).unwrap();
    running.until("it again", written);
    assert_eq!(plane.get(MAP).unwrap()["status"]["endpoints"].as_array().unwrap().len(), 2);
    drop(running);
    // An agent that is started anew and finds what it wants writes nothing.
    let writes = || {
        let all = plane.requests().unwrap();
        let of = |request: &&Value| {
            request["verb"] == "patch" && request["requestURI"].to_string().contains("endpointmaps")
        };
        all.iter().filter(of).count()
    };
    let before = writes();
    let (offers, running) = publishing(&plane);
    offers.send(Some(map(2, &[]))).unwrap();
    offers.send(Some(map(2, &[]))).unwrap();
    let looked = || {
        let all = plane.requests().unwrap();
        all.iter()
            .filter(|one| {
                one["verb"] == "get"
                    && one["requestURI"] == MAP
                    && one["user"]["username"].to_string().contains("agent")
            })
            .count()
    };
    let seen = looked();
    // It looks once, and that is all.
    for _ in 0..600 {
        if looked() > seen {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    offers.send(Some(map(2, &["c"]))).unwrap();
    running.until("the next", written);
    assert_eq!(writes(), before + 1);
}

#[test]
fn events_read_well() {
    let plane = plane();
    plane.ensure_namespace("shop").unwrap();
    plane.token("shop", "default", &[]).unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "a", "image": "x"}]}});
    let made = plane.send("POST", "/api/v1/namespaces/shop/pods", Some(&pod)).unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
    let pod = PodRef { namespace: "shop".into(), name: "web".into(), uid };
    let running = Running::start(&plane, &agent(&plane), async move |client, words: Sender<_>| {
        let (reporter, writer) = events::reporter(client, "node-1");
        let counts: BTreeMap<String, u64> =
            [("spoofed-ipv4".to_owned(), 30), ("spoofed-mac".to_owned(), 7)].into();
        reporter.spoofed(&pod, &counts, Mode::Enforce);
        reporter.quarantined(&pod, "10 hostile attempts within 60 s: everything from and to it is dropped");
        reporter.released(&pod, "by hand");
        let gone = PodRef { namespace: "nowhere".into(), ..pod.clone() };
        reporter.released(&gone, "its namespace is gone");
        writer.run(move |word| _ = words.send(word)).await;
    });
    for _ in 0..3 {
        running.until("an event", written);
    }
    let shown = plane.kubectl(&["--namespace", "shop", "describe", "pod", "web"]).unwrap();
    for word in [
        "37 forged frames dropped: spoofed-ipv4 30, spoofed-mac 7; since",
        "SpoofedSource",
        "(x37 over",
        "Quarantined",
        "10 hostile attempts within 60 s",
        "Released",
        "portcullis-agent",
    ] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(!shown.contains("<unknown>"), "{shown}");
    // The same in the other API, which current tools use.
    let events = plane.get("/apis/events.k8s.io/v1/namespaces/shop/events").unwrap();
    let spoofed =
        events["items"].as_array().unwrap().iter().find(|event| event["reason"] == "SpoofedSource").unwrap();
    assert_eq!(
        (&spoofed["reportingController"], &spoofed["deprecatedCount"]),
        (&json!("portcullis.dev/agent"), &json!(37))
    );
    assert_eq!(spoofed["regarding"]["kind"], "Pod");
}

#[test]
fn hubs_and_agents_find_each_others_certificates() {
    let plane = plane();
    let hub = plane.account_kubeconfig(SYSTEM, "portcullis-hub").unwrap();
    let identities: Vec<Identity> =
        ["hub-0", "hub-1"].iter().map(|name| Identity::generate(name).unwrap()).collect();
    let running = Running::start(&plane, &agent(&plane), async move |client, words: Sender<Vec<String>>| {
        let trusted = Trusted::default();
        let seen = trusted.clone();
        certificates::follow_hubs(client, SYSTEM, trusted, move |_| _ = words.send(seen.names())).await;
    });
    running.until("nobody", |names| names.is_empty().then_some(()));
    let publish = |index: usize| {
        let (name, pem) = (format!("hub-{index}"), identities[index].pem().to_owned());
        once(&plane, &hub, async move |client| {
            certificates::publish(&client, SYSTEM, &name, &pem).await.unwrap()
        });
    };
    publish(0);
    running.until("the first", |names| (names == ["hub-0"]).then_some(()));
    publish(1);
    running.until("both", |names| (names == ["hub-0", "hub-1"]).then_some(()));
    let read = once(&plane, &hub, async |client| certificates::published(&client, SYSTEM).await.unwrap());
    assert_eq!(read["hub-1"], *identities[1].certificate());
    let pruned = once(&plane, &hub, async |client| {
        certificates::prune(&client, SYSTEM, |pod| pod == "hub-1").await.unwrap()
    });
    assert_eq!(pruned, ["hub-0.crt"]);
    running.until("one less", |names| (names == ["hub-1"]).then_some(()));
    // An agent reads them, and that is all.
    let refused = once(&plane, &agent(&plane), async |client| {
        certificates::publish(&client, SYSTEM, "hub-9", "x").await.unwrap_err()
    });
    assert!(refused.contains("403"), "{refused}");
}
