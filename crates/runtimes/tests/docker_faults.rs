//! What a runtime may do wrong that a real one cannot be made to do: a scripted one on a socket of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "docker_faults/scripted.rs"]
mod scripted;

use std::time::Duration;

use portcullis_policy::container::Networking;
use portcullis_policy::guard::Termination;
use portcullis_runtimes::source::{self, Kind, Report, Request, SourceConfig};
use scripted::{Answer, Scripted, container, listed};
use tokio::sync::{mpsc, oneshot};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
/// An end of waiting, no measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Source {
    reports: mpsc::Receiver<Report>,
    requests: mpsc::Sender<Request>,
}

impl Source {
    fn start(config: SourceConfig) -> Self {
        let (sender, reports) = mpsc::channel(64);
        let (requests, receiver) = mpsc::channel(64);
        tokio::spawn(source::run(config, sender, receiver));
        Self { reports, requests }
    }

    fn of(server: &Scripted) -> Self {
        Self::start(SourceConfig::new(Kind::Docker, server.socket()))
    }

    async fn next(&mut self) -> Report {
        tokio::time::timeout(PATIENCE, self.reports.recv()).await.unwrap().unwrap()
    }

    async fn until<T>(&mut self, mut found: impl FnMut(Report) -> Option<T>) -> T {
        loop {
            if let Some(found) = found(self.next().await) {
                return found;
            }
        }
    }

    /// Names and troubles of the next snapshot.
    async fn snapshot(&mut self) -> Vec<(String, Option<String>)> {
        self.until(|report| match report {
            Report::Snapshot { containers, .. } => {
                Some(containers.into_iter().map(|c| (c.name, c.trouble)).collect())
            }
            _ => None,
        })
        .await
    }

    async fn failure(&mut self) -> String {
        self.until(|report| match report {
            Report::Failing(why) => Some(why),
            _ => None,
        })
        .await
    }
}

/// A runtime with these containers on the host's network.
fn running(ids: &[&str]) -> Scripted {
    let server = Scripted::new();
    server.set("/containers/json", Answer::json(&listed(ids)));
    for id in ids {
        server.set(&format!("/containers/{id}/json"), Answer::json(&container(id, "host")));
    }
    server
}

#[tokio::test]
async fn an_absent_socket_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("late.sock");
    let mut source = Source::start(SourceConfig::new(Kind::Docker, &socket));
    assert_eq!(source.next().await, Report::Connecting);
    assert_eq!(source.next().await, Report::Absent);
    let _server = Scripted::at(&socket);
    assert_eq!(source.next().await, Report::Connecting);
    assert_eq!(source.snapshot().await, []);
}

#[tokio::test]
async fn a_socket_without_a_listener_fails_in_one_sentence_and_once() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut source = Source::start(SourceConfig::new(Kind::Docker, &socket));
    assert_eq!(source.next().await, Report::Connecting);
    let why = source.failure().await;
    assert!(why.contains("dead.sock") && !why.contains('\n'), "{why}");
    // The same failure is not reported again; whoever comes is found.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(source.reports.try_recv().is_err());
    std::fs::remove_file(&socket).unwrap();
    let _server = Scripted::at(&socket);
    assert_eq!(source.snapshot().await, []);
}

#[tokio::test]
async fn one_that_dies_between_list_and_inspection_is_not_there() {
    let server = running(&[A, B]);
    server.set(&format!("/containers/{B}/json"), Answer::status(404, r#"{"message":"No such container"}"#));
    let mut source = Source::of(&server);
    assert_eq!(source.snapshot().await, [("aaaaaaaa".to_owned(), None)]);
}

#[tokio::test]
async fn nonsense_about_one_is_its_own_trouble() {
    for nonsense in ["[]", "{", "\u{1}", r#"{"Id":7}"#, r#"{"State":null}"#, ""] {
        let server = running(&[A, B]);
        server.set(&format!("/containers/{B}/json"), Answer::json(nonsense));
        let mut source = Source::of(&server);
        let found = source.snapshot().await;
        assert_eq!(found[0], ("aaaaaaaa".to_owned(), None));
        let trouble = found[1].1.clone().unwrap();
        assert!(trouble.contains("cannot be read") && !trouble.contains('\n'), "{nonsense}: {trouble}");
        // It is asked again, and then it is well.
        server.set(&format!("/containers/{B}/json"), Answer::json(&container(B, "host")));
        let well = source.until(|report| match report {
            Report::Changed(container) if container.trouble.is_none() => Some(container),
            _ => None,
        });
        let well = well.await;
        assert_eq!((well.id.as_str(), &well.networking), (B, &Networking::Host));
    }
}

#[tokio::test]
async fn what_is_of_another_shape_and_does_not_matter_is_missing() {
    let server = running(&[A]);
    let odd = container(A, "host")
        .replace(r#""Labels":{}"#, r#""Labels":[1,2]"#)
        .replace(r#""Image":"x""#, r#""Image":{}"#);
    assert!(odd.contains("[1,2]") && odd.contains("{}"), "{odd}");
    server.set(&format!("/containers/{A}/json"), Answer::json(&odd));
    let mut source = Source::of(&server);
    assert_eq!(source.snapshot().await, [("aaaaaaaa".to_owned(), None)]);
}

#[tokio::test]
async fn nonsense_instead_of_a_list_is_a_failure_and_ends() {
    let server = running(&[A]);
    server.set("/containers/json", Answer::json("{\"message\":\"hello\"}"));
    let mut source = Source::of(&server);
    let why = source.failure().await;
    assert!(why.contains("the list of containers cannot be read"), "{why}");
    server.set("/containers/json", Answer::json(&listed(&[A])));
    assert_eq!(source.snapshot().await.len(), 1);
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let server = running(&[A]);
    server.set("/containers/json", Answer::Endless);
    let mut source = Source::of(&server);
    let why = source.failure().await;
    assert!(why.contains("more than 16777216 bytes"), "{why}");
    let server = running(&[A]);
    let mut source = Source::of(&server);
    source.snapshot().await;
    server.event(&"x".repeat(3 << 20));
    let why = source.failure().await;
    assert!(why.contains("more than 1048576 bytes"), "{why}");
}

#[tokio::test]
async fn a_runtime_that_never_answers_is_given_up() {
    let server = running(&[A]);
    server.set("/containers/json", Answer::Silence);
    let mut source = Source::of(&server);
    let why = source.failure().await;
    assert!(why.contains("did not answer within 5000 ms"), "{why}");
}

#[tokio::test]
async fn one_that_cannot_be_inspected_holds_up_nobody() {
    let server = running(&[A]);
    let mut source = Source::of(&server);
    source.snapshot().await;
    // B's inspection hangs; A goes on being followed.
    server.set(&format!("/containers/{B}/json"), Answer::Silence);
    server.event(&scripted::event("start", B, 101));
    server.event(&scripted::event("die", A, 102));
    let gone = Report::Gone { id: A.to_owned(), removed: false };
    assert_eq!(source.next().await, gone);
}

#[tokio::test]
async fn a_broken_stream_is_opened_again_and_what_was_missed_is_found() {
    let server = running(&[A]);
    let mut source = Source::of(&server);
    assert_eq!(source.snapshot().await.len(), 1);
    server.set("/containers/json", Answer::json(&listed(&[A, B])));
    server.set(&format!("/containers/{B}/json"), Answer::json(&container(B, "none")));
    server.break_streams();
    let why = source.failure().await;
    assert!(why.contains("events"), "{why}");
    assert_eq!(source.snapshot().await.len(), 2);
    // In the middle of an event.
    server.event_without_end(r#"{"Type":"container","Act"#);
    server.break_streams();
    source.failure().await;
    assert_eq!(source.snapshot().await.len(), 2);
    server.event("this is no event");
    let why = source.failure().await;
    assert!(why.contains("its events cannot be read"), "{why}");
    assert_eq!(source.snapshot().await.len(), 2);
}

#[tokio::test]
async fn events_that_were_lost_are_noticed() {
    let server = running(&[A]);
    let config = SourceConfig {
        resync: Duration::from_millis(200),
        ..SourceConfig::new(Kind::Docker, server.socket())
    };
    let mut source = Source::start(config);
    assert_eq!(source.snapshot().await.len(), 1);
    server.set("/containers/json", Answer::json(&listed(&[A, B])));
    server.set(&format!("/containers/{B}/json"), Answer::json(&container(B, "none")));
    // The periodic look finds it; as no event tells of it, the stream is not to be trusted.
    let found = source.until(|report| match report {
        Report::Changed(container) => Some(container.id),
        _ => None,
    });
    assert_eq!(found.await, B);
    let why = source.failure().await;
    assert!(why.contains("events were lost"), "{why}");
    assert_eq!(source.snapshot().await.len(), 2);
}

#[tokio::test]
async fn an_end_from_before_the_list_ends_nobody() {
    let server = running(&[A]);
    let mut source = Source::of(&server);
    source.snapshot().await;
    // A runs since second 100 (see `container`): it was started anew after this end.
    server.event(&scripted::event("die", A, 99));
    server.event(&scripted::event("destroy", B, 101));
    assert_eq!(source.next().await, Report::Gone { id: B.to_owned(), removed: true });
    server.event(&scripted::event("die", A, 101));
    assert_eq!(source.next().await, Report::Gone { id: A.to_owned(), removed: false });
}

#[tokio::test]
async fn terminate_works_while_nothing_else_does() {
    let server = running(&[A, B]);
    server.set("/events", Answer::Silence);
    server.set("/containers/json", Answer::Silence);
    server.set(&format!("/containers/{A}/kill"), Answer::status(204, ""));
    server.set(&format!("/containers/{B}/kill"), Answer::status(500, r#"{"message":"no\nsuch luck"}"#));
    let source = Source::of(&server);
    let end = async |id: &str, how| {
        let (answer, answered) = oneshot::channel();
        source.requests.send(Request::Terminate { id: id.to_owned(), how, answer }).await.unwrap();
        tokio::time::timeout(PATIENCE, answered).await.unwrap().unwrap()
    };
    assert_eq!(end(A, Termination::Kill).await, Ok(()));
    let why = end(B, Termination::Kill).await.unwrap_err();
    assert!(why.contains("status 500: no?such luck"), "{why}");
    assert!(end("x/../../y?z", Termination::Stop).await.is_err());
    assert_eq!(server.asked("/kill"), 2);
}
