//! The whole reaper against a scripted API server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use portcullis_kubernetes::crd::{EndpointMapStatus, GatePolicy, Offender};
use portcullis_policy::api::{ActionOutcome, Event};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::announce::{Announcement, Announcer};
use crate::bus::Bus;
use crate::clock::now;
use crate::counters::Counters;
use crate::election::{Leadership, Term};
use crate::map::NodeMap;
use crate::troubles::Troubles;
use crate::world::{Part, World};

type Script = dyn Fn(&Method, &str, &Value) -> (u16, Value) + Send + Sync;

/// What was asked: method, path, body.
type Log = Arc<Mutex<Vec<(Method, String, Value)>>>;

fn server(script: Arc<Script>) -> (Client, Log) {
    let log = Log::default();
    let asked = Arc::clone(&log);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let path = head.uri.path().to_owned();
            let (status, answer) = script(&head.method, &path, &body);
            asked.lock().unwrap().push((head.method, path, body));
            let answer = Response::builder().status(status).body(Body::from(answer.to_string().into_bytes()));
            Ok::<_, std::convert::Infallible>(answer.unwrap())
        }
    });
    (Client::new(service, "default"), log)
}

fn offender(uid: &str) -> Offender {
    serde_json::from_value(
        json!({"namespace": "shop", "pod": "web", "uid": uid, "endpoint": "shop/web", "attempts": 10,
        "threshold": 10, "window": "60s", "policy": "strict", "time": "2026-11-21T10:00:00Z"}),
    )
    .unwrap()
}

fn pod(uid: &str) -> Value {
    json!({"metadata": {"name": "web", "namespace": "shop", "uid": uid}, "spec": {"nodeName": "n1", "containers": []}})
}

fn failure(code: u16, message: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "message": message, "code": code}))
}

struct Lab {
    world: World,
    terms: watch::Sender<Term>,
    bus: Bus,
    counters: Counters,
    troubles: Troubles,
    announcements: mpsc::Receiver<Announcement>,
    ended: mpsc::UnboundedReceiver<String>,
    log: Log,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lab {
    fn new(
        spec: &str,
        script: impl Fn(&Method, &str, &Value) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let (client, log) = server(Arc::new(script));
        let (world, bus, counters, troubles) =
            (World::default(), Bus::default(), Counters::default(), Troubles::default());
        let (terms, leadership) = Leadership::new();
        let (announcer, announcements) = Announcer::new();
        let (sender, ended) = mpsc::unbounded_channel();
        let policy = GatePolicy::new("strict", serde_yaml_ng::from_str(spec).unwrap());
        world.change_policies(|policies| _ = policies.insert("strict".into(), Arc::new(policy)));
        for part in [Part::Maps, Part::Policies, Part::Namespaces, Part::Nodes] {
            world.set_read(part);
        }
        world.renew_rules();
        let reaper = Reaper {
            world: world.clone(),
            leadership,
            own: Own { namespace: "portcullis-system".into(), pod: "hub-0".into() },
            dry_run: false,
            per_minute: 10,
            announcer,
            bus: bus.clone(),
            counters: counters.clone(),
            troubles: troubles.clone(),
            board: Board::default(),
            ended: sender,
        };
        let task = tokio::spawn(run(client, reaper));
        Self { world, terms, bus, counters, troubles, announcements, ended, log, task }
    }

    fn lead(&self, for_seconds: u64) {
        let until = Some(now() + Duration::from_secs(for_seconds)).filter(|_| for_seconds > 0);
        self.terms.send_replace(Term { until, ..Term::default() });
    }

    fn offend(&self, uids: &[&str]) {
        let offenders = uids.iter().map(|uid| offender(uid)).collect();
        self.world
            .put(NodeMap::new("n1", Some(EndpointMapStatus { offenders, ..EndpointMapStatus::default() })));
    }

    fn asked(&self, method: &Method) -> Vec<(String, Value)> {
        let log = self.log.lock().unwrap();
        log.iter()
            .filter(|(asked, ..)| asked == method)
            .map(|(_, path, body)| (path.clone(), body.clone()))
            .collect()
    }

    /// The next announcement, with its reason.
    async fn told(&mut self) -> (&'static str, String) {
        let told = tokio::time::timeout(Duration::from_secs(30), self.announcements.recv()).await;
        let told = told.expect("nothing is said").unwrap();
        (told.reason, told.message)
    }
}

fn get(path: &str, uid: &str) -> Option<(u16, Value)> {
    match path {
        "/api/v1/namespaces/shop/pods/web" => Some((200, pod(uid))),
        "/api/v1/namespaces/shop" => Some((200, json!({"metadata": {"name": "shop"}}))),
        _ => None,
    }
}

#[tokio::test]
async fn a_pod_is_deleted_with_its_uid_as_precondition_and_once() {
    let mut lab =
        Lab::new("{response: terminate, termination: {gracePeriodSeconds: 7}}", |method, path, _| {
            if *method == Method::DELETE { (200, pod("u1")) } else { get(path, "u1").unwrap() }
        });
    lab.offend(&["u1"]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(lab.asked(&Method::GET).is_empty(), "it does not lead");
    lab.lead(60);
    let (reason, message) = lab.told().await;
    assert_eq!(reason, "Terminated");
    assert!(message.starts_with("deleted after 10 hostile attempts"), "{message}");
    assert_eq!(lab.ended.recv().await.as_deref(), Some("strict"));
    // Its node says so again and again, until it is gone.
    lab.offend(&["u1"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let deletes = lab.asked(&Method::DELETE);
    assert_eq!(deletes.len(), 1);
    assert_eq!(deletes[0].0, "/api/v1/namespaces/shop/pods/web");
    assert_eq!(deletes[0].1["preconditions"], json!({"uid": "u1"}));
    assert_eq!(deletes[0].1["gracePeriodSeconds"], 7);
    assert_eq!(lab.counters.terminations(), BTreeMap::from([(("delete", "done"), 1)]));
    let history = lab.bus.history();
    let Event::Action(action) = &history[0].of else { panic!() };
    assert_eq!((action.outcome, history[0].node.as_str()), (ActionOutcome::Done, "n1"));
}

#[tokio::test]
async fn a_successor_is_never_looked_at_and_a_precondition_that_fails_is_no_deed() {
    let lab = Lab::new("{response: terminate}", |_, path, _| get(path, "u2").unwrap());
    lab.lead(60);
    lab.offend(&["u1"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(lab.asked(&Method::DELETE).is_empty());
    // It is exchanged between the look and the deed.
    let lab = Lab::new("{response: terminate}", |method, path, _| match *method {
        Method::DELETE => {
            failure(409, "Precondition failed: UID in precondition: u1, UID in object meta: u2")
        }
        _ => get(path, "u1").unwrap(),
    });
    lab.lead(60);
    lab.offend(&["u1"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(lab.counters.terminations(), BTreeMap::from([(("delete", "gone"), 1)]));
    assert!(lab.bus.history().is_empty());
}

#[tokio::test]
async fn a_leader_that_is_none_any_more_in_the_middle_does_nothing() {
    let terms: Arc<Mutex<Option<watch::Sender<Term>>>> = Arc::default();
    let lose = Arc::clone(&terms);
    let lab = Lab::new("{response: terminate}", move |method, path, _| {
        if *method == Method::DELETE {
            return (200, pod("u1"));
        }
        // The lease is lost while the answer is under way.
        if let Some(terms) = &*lose.lock().unwrap() {
            terms.send_replace(Term::default());
        }
        get(path, "u1").unwrap()
    });
    *terms.lock().unwrap() = Some(lab.terms.clone());
    lab.lead(60);
    lab.offend(&["u1"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!lab.asked(&Method::GET).is_empty() && lab.asked(&Method::DELETE).is_empty());
    // When it leads again, the pod is still there.
    *terms.lock().unwrap() = None;
    lab.lead(60);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(lab.asked(&Method::DELETE).len(), 1);
}

#[tokio::test]
async fn a_missing_right_is_said_once_and_tried_again() {
    let mut lab = Lab::new("{response: terminate}", |method, path, _| match *method {
        Method::DELETE => failure(403, "pods \"web\" is forbidden"),
        _ => get(path, "u1").unwrap(),
    });
    lab.lead(60);
    lab.offend(&["u1"]);
    let (reason, message) = lab.told().await;
    assert_eq!(reason, "TerminationWithheld");
    let sentence =
        "RBAC gives the hub no right to delete pods (403): apply the chart's ClusterRole portcullis-hub";
    assert!(message.contains(sentence), "{message}");
    assert_eq!(lab.troubles.all()["reaper"].why, sentence);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(lab.asked(&Method::DELETE).len() >= 2);
    assert!(lab.announcements.try_recv().is_err(), "not again so soon");
}

#[tokio::test]
async fn an_eviction_falls_back_to_the_older_api_and_waits_for_the_budget() {
    let blocked = Arc::new(Mutex::new(true));
    let budget = Arc::clone(&blocked);
    let mut lab =
        Lab::new("{response: terminate, termination: {method: evict}}", move |method, path, body| {
            if *method != Method::POST {
                return get(path, "u1").unwrap();
            }
            assert_eq!(path, "/api/v1/namespaces/shop/pods/web/eviction");
            assert_eq!(body["deleteOptions"]["preconditions"]["uid"], "u1");
            match body["apiVersion"].as_str().unwrap() {
                "policy/v1" => failure(400, "no kind \"Eviction\" is registered for version \"policy/v1\""),
                _ if *budget.lock().unwrap() => {
                    failure(429, "Cannot evict pod as it would violate the pod's disruption budget.")
                }
                _ => (201, json!({"kind": "Status", "status": "Success"})),
            }
        });
    lab.lead(60);
    lab.offend(&["u1"]);
    let (reason, message) = lab.told().await;
    assert_eq!(reason, "TerminationWithheld");
    assert!(message.contains("its disruption budget forbids to evict it now (Cannot evict pod"), "{message}");
    *blocked.lock().unwrap() = false;
    // A change of the policies makes it look at once.
    lab.world.renew_rules();
    assert_eq!(lab.told().await.0, "Terminated");
    let versions: Vec<Value> =
        lab.asked(&Method::POST).into_iter().map(|(_, body)| body["apiVersion"].clone()).collect();
    assert_eq!(versions, ["policy/v1", "policy/v1beta1", "policy/v1beta1"], "what it knows it remembers");
}

#[tokio::test]
async fn names_that_a_node_makes_up_never_get_into_a_path() {
    let lab = Lab::new("{response: terminate}", |_, path, _| panic!("{path} was asked for"));
    lab.lead(60);
    for (namespace, name) in
        [("..", "web"), ("shop", "../../nodes/n1"), ("shop", "web?x=1"), ("", ""), ("shop", "a/b")]
    {
        let bad = Offender { namespace: namespace.into(), pod: name.into(), ..offender("u1") };
        let status = EndpointMapStatus { offenders: vec![bad], ..EndpointMapStatus::default() };
        lab.world.put(NodeMap::new("n1", Some(status)));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert!(lab.log.lock().unwrap().is_empty() && !lab.task.is_finished());
}
