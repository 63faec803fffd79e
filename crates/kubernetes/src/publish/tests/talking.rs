//! With an API server that does what the test tells it to.

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::script::{Question, Script, script};

struct Play {
    script: Script,
    offer: watch::Sender<Option<Arc<EndpointMapStatus>>>,
    told: mpsc::UnboundedReceiver<Option<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Play {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn play() -> Play {
    let (client, script) = script();
    let (offer, offered) = watch::channel(None);
    let (sender, told) = mpsc::unbounded_channel();
    let config = PublishConfig { client, node: "node-1".into(), interval: INTERVAL };
    let task = tokio::spawn(run(config, offered, move |word| _ = sender.send(word)));
    Play { script, offer, told, task }
}

impl Play {
    fn offer(&self, status: Arc<EndpointMapStatus>) {
        self.offer.send(Some(status)).unwrap();
    }

    /// The next question, which has to be this one.
    async fn next(&mut self, method: Method, path: &str) -> Question {
        let question = self.script.next().await;
        let asked = question.uri.split('?').next().unwrap().to_owned();
        assert_eq!((&question.method, asked.as_str()), (&method, path));
        question
    }
}

const OBJECT: &str = "/apis/portcullis.dev/v1alpha1/endpointmaps/node-1";
const STATUS: &str = "/apis/portcullis.dev/v1alpha1/endpointmaps/node-1/status";
const NODE: &str = "/api/v1/nodes/node-1";

fn meta(version: &str) -> Value {
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "n"}]);
    json!({"name": "node-1", "uid": "u", "resourceVersion": version, "ownerReferences": owner})
}

// Std's clock does not stand still with tokio's, so nothing here waits for an interval: what is urgent is written at once.
#[tokio::test]
async fn the_object_is_made_and_made_again() {
    let mut play = play();
    play.offer(map(1, 1));
    play.next(Method::GET, OBJECT).await.refuse(404, "NotFound", "no");
    play.next(Method::GET, NODE).await.json(&json!({"metadata": {"uid": "uid-of-node"}}));
    let make = play.next(Method::PATCH, OBJECT).await;
    assert_eq!(make.query("fieldManager"), Some("portcullis-agent"));
    assert_eq!(make.body["metadata"]["ownerReferences"][0]["uid"], "uid-of-node");
    assert_eq!(make.body["spec"]["node"], "node-1");
    make.json(&json!({"metadata": meta("1")}));
    let write = play.next(Method::PATCH, STATUS).await;
    assert_eq!(write.query("force"), Some("true"));
    assert_eq!(write.body["status"]["offenders"][0]["uid"], "uid-0");
    assert!(write.body["status"]["published"].as_str().unwrap().ends_with('Z'));
    // Gone between the two.
    write.refuse(404, "NotFound", "no");
    play.next(Method::GET, NODE).await.refuse(404, "NotFound", "not registered yet");
    let make = play.next(Method::PATCH, OBJECT).await;
    assert_eq!(make.body["metadata"]["ownerReferences"], json!([]));
    make.json(&json!({"metadata": {"resourceVersion": "2"}}));
    play.next(Method::PATCH, STATUS).await.json(&json!({"metadata": {"resourceVersion": "3"}}));
    assert_eq!(play.told.recv().await.unwrap(), None);
    // Nobody owns it yet: the next write tries again.
    play.offer(map(1, 2));
    play.next(Method::GET, NODE).await.json(&json!({"metadata": {"uid": "uid-of-node"}}));
    play.next(Method::PATCH, OBJECT).await.json(&json!({"metadata": meta("4")}));
    play.next(Method::PATCH, STATUS).await.json(&json!({"metadata": meta("5")}));
    assert_eq!(play.told.recv().await.unwrap(), None);
    play.offer(map(1, 3));
    play.next(Method::PATCH, STATUS).await.json(&json!({"metadata": meta("6")}));
}

#[tokio::test]
async fn what_is_there_already_is_not_written() {
    let mut play = play();
    let there = map(1, 1);
    play.offer(Arc::clone(&there));
    let mut status = serde_json::to_value(&*there).unwrap();
    status["published"] = "2026-01-01T00:00:00Z".into();
    play.next(Method::GET, OBJECT).await.json(&json!({"metadata": meta("9"), "status": status}));
    assert!(play.script.quiet(Duration::from_millis(300)).await);
    play.offer(map(1, 2));
    let write = play.next(Method::PATCH, STATUS).await;
    // What is there already may be in the way: so once more, from nothing on.
    write.refuse(422, "Invalid", "status.conditions: Invalid value: \"null\": must be of type array");
    let clear = play.next(Method::PATCH, STATUS).await;
    assert_eq!(clear.body, json!({"status": null}));
    clear.json(&json!({"metadata": meta("9")}));
    let write = play.next(Method::PATCH, STATUS).await;
    // A definition of another release: then what is there stays.
    write.refuse(422, "Invalid", "EndpointMap is invalid: status.offenders: Unsupported value");
    let why = play.told.recv().await.unwrap().unwrap();
    assert!(why.contains("another release") && why.contains("endpointmaps"), "{why}");
    play.next(Method::PATCH, STATUS).await.json(&json!({"metadata": meta("10")}));
    assert_eq!(play.told.recv().await.unwrap(), None);
}

#[tokio::test]
async fn an_agent_that_was_restarted_knows_its_offenders() {
    let (client, mut script) = script();
    let asking = tokio::spawn(async move {
        let first = offenders(&client, "node-1").await;
        let second = offenders(&client, "node-1").await;
        (first, second, offenders(&client, "node-1").await)
    });
    let offender = serde_json::to_value(offender("a")).unwrap();
    let status = json!({"offenders": [offender, {"of": "another release"}]});
    script.next().await.json(&json!({"metadata": meta("1"), "status": status}));
    script.next().await.refuse(404, "NotFound", "no");
    script.next().await.refuse(403, "Forbidden", "no");
    let (first, second, third) = asking.await.unwrap();
    assert_eq!(first.unwrap(), [super::offender("a")]);
    assert_eq!(second.unwrap(), []);
    assert!(third.unwrap_err().contains("RBAC"));
}
