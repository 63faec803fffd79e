use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;
use crate::script::{Script, script, status};

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Thing {
    metadata: Name,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Name {
    name: String,
}

fn thing(name: &str, version: u64) -> Value {
    json!({"kind": "Thing", "metadata": {"name": name, "resourceVersion": version.to_string()}})
}

struct Play {
    script: Script,
    news: mpsc::Receiver<News<Thing>>,
    anew: std::sync::Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Play {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn play(timing: Timing) -> Play {
    let (client, script) = script();
    let target = Target {
        path: "/api/v1/things".into(),
        fields: Some("spec.nodeName=node-1".into()),
        metadata_only: false,
        resource: "things",
        role: "ClusterRole portcullis-agent",
    };
    let (sender, news) = mpsc::channel(8);
    let anew = std::sync::Arc::new(Notify::new());
    let notify = std::sync::Arc::clone(&anew);
    let task = tokio::spawn(async move { follow(client, target, timing, &notify, sender).await });
    Play { script, news, anew, task }
}

impl Play {
    async fn heard(&mut self) -> News<Thing> {
        self.news.recv().await.unwrap()
    }

    async fn names(&mut self) -> Vec<String> {
        match self.heard().await {
            News::All(things) => things.into_iter().map(|thing| thing.metadata.name).collect(),
            other => panic!("{other:?}"),
        }
    }

    async fn failing(&mut self) -> String {
        match self.heard().await {
            News::Failing(trouble) => trouble.why,
            other => panic!("{other:?}"),
        }
    }
}

fn put(name: &str) -> News<Thing> {
    News::Put(Thing { metadata: Name { name: name.into() } })
}

#[tokio::test(start_paused = true)]
async fn it_lists_in_pages_and_then_watches_from_there() {
    let mut play = play(Timing::default());
    let first = play.script.next().await;
    assert_eq!(first.uri, "/api/v1/things?limit=500&fieldSelector=spec.nodeName%3Dnode-1&resourceVersion=0");
    first.json(
        &json!({"metadata": {"resourceVersion": "10", "continue": "abc=/+"}, "items": [thing("a", 3)]}),
    );
    let second = play.script.next().await;
    assert_eq!((second.query("continue"), second.query("resourceVersion")), (Some("abc%3D%2F%2B"), None));
    second.list("10", &[thing("b", 4)]);
    assert_eq!(play.names().await, ["a", "b"]);
    let watch = play.script.next().await;
    assert!(watch.is_watch() && watch.query("allowWatchBookmarks") == Some("true"));
    assert_eq!(watch.query("resourceVersion"), Some("10"));
    let seconds: u64 = watch.query("timeoutSeconds").unwrap().parse().unwrap();
    assert!((232..=290).contains(&seconds));
    let stream = watch.stream();
    stream.event("ADDED", &thing("c", 11));
    assert_eq!(play.heard().await, put("c"));
    // In pieces, as networks do.
    let line = json!({"type": "MODIFIED", "object": thing("a", 12)}).to_string();
    let (front, back) = line.split_at(20);
    stream.bytes(front);
    tokio::task::yield_now().await;
    stream.bytes(&format!("{back}\n\n{}\n", json!({"type": "DELETED", "object": thing("b", 13)})));
    assert_eq!(play.heard().await, put("a"));
    assert!(matches!(play.heard().await, News::Gone(thing) if thing.metadata.name == "b"));
    // A bookmark moves the place; half an event at the end counts for nothing.
    stream.bookmark("77");
    stream.bytes(&line[..30]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(stream);
    assert_eq!(play.script.next().await.query("resourceVersion"), Some("77"));
}

#[tokio::test(start_paused = true)]
async fn an_expired_version_means_a_list() {
    let mut play = play(Timing::default());
    play.script.next().await.list("10", &[thing("a", 3)]);
    play.names().await;
    let stream = play.script.next().await.stream();
    tokio::time::sleep(Duration::from_secs(100)).await;
    // In the midst of a watch.
    stream.event("ERROR", &status(410, "Expired", "too old resource version: 10 (99)"));
    let list = play.script.next().await;
    assert_eq!((list.is_watch(), list.query("resourceVersion")), (false, Some("0")));
    list.list("20", &[thing("b", 15)]);
    assert_eq!(play.names().await, ["b"]);
    // As the answer to a watch, at once: the server's memory is behind, so etcd is asked.
    play.script.next().await.refuse(410, "Expired", "too old resource version: 20 (99)");
    let list = play.script.next().await;
    assert_eq!((list.is_watch(), list.query("resourceVersion")), (false, None));
    list.list("100", &[]);
    assert_eq!(play.names().await, Vec::<String>::new());
    // A continue token may expire too.
    let stream = play.script.next().await.stream();
    play.anew.notify_one();
    let page = play.script.next().await;
    page.json(&json!({"metadata": {"resourceVersion": "101", "continue": "x"}, "items": [thing("a", 3)]}));
    play.script.next().await.refuse(410, "Expired", "the provided continue parameter is too old");
    play.script.next().await.list("102", &[thing("z", 3)]);
    assert_eq!(play.names().await, ["z"]);
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn missing_rights_are_said_in_one_sentence() {
    let mut play = play(Timing::default());
    let said = "things is forbidden: User \"u\" cannot list resource \"things\"\nat the cluster scope";
    play.script.next().await.refuse(403, "Forbidden", said);
    let why = play.failing().await;
    for word in ["list", "things", "403", "RBAC", "ClusterRole portcullis-agent", "User \"u\""] {
        assert!(why.contains(word), "{word}: {why}");
    }
    assert!(!why.contains('\n'), "{why}");
    play.script.next().await.list("10", &[]);
    assert!(play.names().await.is_empty(), "as soon as they are there");
    play.script.next().await.refuse(403, "Forbidden", said);
    assert!(play.failing().await.contains("watch"));
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_left_alone() {
    let mut play = play(Timing::default());
    let began = Instant::now();
    play.script.next().await.busy(20);
    assert!(play.failing().await.contains("429"));
    let again = play.script.next().await;
    assert!(began.elapsed() >= Duration::from_secs(20), "{:?}", began.elapsed());
    again.list("10", &[]);
    play.names().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_for_ever_more_patiently_and_nothing_is_forgotten() {
    let mut play = play(Timing::default());
    play.script.next().await.list("10", &[thing("a", 3)]);
    play.names().await;
    let stream = play.script.next().await.stream();
    stream.bookmark("15");
    tokio::time::sleep(Duration::from_secs(60)).await;
    stream.break_off();
    let began = Instant::now();
    let mut pauses = Vec::new();
    let mut last = began;
    for _ in 0..12 {
        let question = play.script.next().await;
        pauses.push(last.elapsed());
        last = Instant::now();
        question.fail();
        assert!(play.failing().await.contains("connection refused"));
    }
    assert!(pauses[0] < Duration::from_millis(10), "the first at once: {pauses:?}");
    // Each is anything up to its most, and that is doubled.
    assert!(pauses[1] <= Duration::from_millis(500), "{pauses:?}");
    let sum = |pauses: &[Duration]| pauses.iter().sum::<Duration>();
    assert!(sum(&pauses[7..]) > 2 * sum(&pauses[1..4]), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(30)), "{pauses:?}");
    // It is back, and its versions went on: no list.
    let version = play.script.next().await;
    assert!(!version.is_watch() && version.uri.contains("metadata.name"), "{}", version.uri);
    version.list("40", &[]);
    let watch = play.script.next().await;
    assert_eq!((watch.is_watch(), watch.query("resourceVersion")), (true, Some("15")));
    let stream = watch.stream();
    assert_eq!(play.heard().await, News::Back);
    stream.event("ADDED", &thing("b", 41));
    assert_eq!(play.heard().await, put("b"));
}

#[tokio::test(start_paused = true)]
async fn a_restored_backup_is_noticed() {
    let mut play = play(Timing::default());
    play.script.next().await.list("1000", &[thing("a", 3), thing("b", 900)]);
    play.names().await;
    drop(play.script.next().await.stream());
    // Hasty ends are waited out; then the server is away.
    play.script.next().await.fail();
    play.failing().await;
    let version = play.script.next().await;
    assert_eq!(version.query("resourceVersion"), Some("0"));
    version.list("700", &[]);
    let list = play.script.next().await;
    assert!(!list.is_watch() && !list.uri.contains("metadata.name"), "{}", list.uri);
    list.list("700", &[thing("a", 3)]);
    assert_eq!(play.names().await, ["a"]);
    assert_eq!(play.script.next().await.query("resourceVersion"), Some("700"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_noticed() {
    let mut play = play(Timing::default());
    // A list that is never answered.
    let hanging = play.script.next().await;
    assert!(play.failing().await.contains("within 30 s"));
    drop(hanging);
    play.script.next().await.list("10", &[]);
    play.names().await;
    // A watch that never begins.
    let hanging = play.script.next().await;
    assert!(play.failing().await.contains("watch"));
    drop(hanging);
    play.script.next().await.list("10", &[]);
    // A watch that says nothing any more.
    let began = Instant::now();
    let stream = play.script.next().await.stream();
    assert_eq!(play.heard().await, News::Back);
    let again = play.script.next().await;
    let silence = began.elapsed();
    assert!(
        again.is_watch() && silence >= Duration::from_secs(150) && silence < Duration::from_secs(200),
        "{silence:?}"
    );
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_not_believed() {
    let mut play = play(Timing::default());
    for text in ["", "<html>proxy</html>", "{\"items\": 7}", "{\"metadata\":{},\"items\":[]}", "[]"] {
        play.script.next().await.text(hyper::StatusCode::OK, text);
        let why = play.failing().await;
        assert!(why.contains("things") && !why.contains('\n'), "{why}");
    }
    // One odd object takes no other along.
    play.script.next().await.list("10", &[json!({"metadata": {"name": 7}}), thing("a", 3), json!(null)]);
    assert_eq!(play.names().await, ["a"]);
    let stream = play.script.next().await.stream();
    stream.event("ADDED", &json!({"metadata": {"name": [], "resourceVersion": "11"}}));
    stream.event("WHATEVER", &thing("x", 12));
    stream.event("ADDED", &thing("b", 13));
    assert_eq!(play.heard().await, put("b"));
    // What is no event at all: then nobody knows what was missed.
    stream.bytes("{\"type\": \"ADDED\", \"obj\n");
    assert!(play.failing().await.contains("cannot be read"));
    let list = play.script.next().await;
    assert!(!list.is_watch());
    list.list("20", &[thing("c", 3)]);
    assert_eq!(play.names().await, ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_at_once_each_time_is_not_asked_in_a_loop() {
    let mut play = play(Timing::default());
    play.script.next().await.list("10", &[]);
    play.names().await;
    let began = Instant::now();
    for _ in 0..10 {
        drop(play.script.next().await.stream());
    }
    // Nine pauses, each half a second at least, and up to thirty.
    assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn it_is_read_anew_now_and_then_and_when_asked() {
    let mut play = play(Timing { resync: Duration::from_secs(100), ..Timing::default() });
    play.script.next().await.list("10", &[]);
    play.names().await;
    let began = Instant::now();
    let stream = play.script.next().await.stream();
    let list = play.script.next().await;
    assert!(!list.is_watch() && (50..=150).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    list.list("11", &[]);
    play.names().await;
    drop(stream);
    let stream = play.script.next().await.stream();
    play.anew.notify_one();
    assert!(!play.script.next().await.is_watch());
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_goes_takes_its_objects_along_only_when_it_is_back() {
    let mut play = play(Timing::default());
    play.script.next().await.list("10", &[thing("a", 3)]);
    play.names().await;
    let stream = play.script.next().await.stream();
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(stream);
    play.script.next().await.text(hyper::StatusCode::NOT_FOUND, "404 page not found\n");
    assert!(play.failing().await.contains("404"));
    let list = play.script.next().await;
    assert!(!list.is_watch());
    list.list("50", &[]);
    assert!(play.names().await.is_empty());
}
