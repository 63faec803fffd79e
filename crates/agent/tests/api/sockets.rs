//! The real listeners.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use portcullis_agent::api::{
    MAX_CONNECTIONS, ServeError, TcpEndpoint, Token, UnixEndpoint, serve_tcp, serve_unix,
};
use portcullis_policy::api::Endpoint;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api;
use crate::fake::{Fake, spec};

const TOKEN: &str = "correct-horse-battery-staple";

/// Serves a fake on `path`; the sender (or its end) stops it.
fn start(path: &Path) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let endpoint = UnixEndpoint::bind(path).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = api(&Fake::with(&["web"]));
    let task = tokio::spawn(serve_unix(endpoint, router, async {
        let _ = stopped.await;
    }));
    (stop, task)
}

/// One request; the whole answer.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_socket_serves_and_is_gone_after_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/deep/p.sock");
    let (stop, task) = start(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o660);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    let answer = ask(UnixStream::connect(&path).await.unwrap(), "/api/v1/endpoints/web", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"name\":\"web\""));
    stop.send(()).unwrap();
    task.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_live_socket_is_left_alone_and_a_stale_one_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.sock");
    let (stop, task) = start(&path);
    let error = UnixEndpoint::bind(&path).unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, ServeError::InUse { .. }), "{said}");
    assert!(said.contains("another agent is listening on"), "{said}");
    assert!(said.contains(&format!("(pid {})", std::process::id())), "{said}");
    assert!(ask(UnixStream::connect(&path).await.unwrap(), "/healthz", "").await.ends_with("ok"));
    stop.send(()).unwrap();
    task.await.unwrap();

    // As after `kill -9`: the file is there, nobody listens.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (stop, task) = start(&path);
    assert!(ask(UnixStream::connect(&path).await.unwrap(), "/healthz", "").await.ends_with("ok"));
    drop(stop);
    task.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn what_is_not_ours_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.sock");
    fs::write(&path, "precious").unwrap();
    let error = UnixEndpoint::bind(&path).unwrap_err();
    assert!(matches!(error, ServeError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();

    // Someone else's file in the place of our socket survives our end.
    let ours = UnixEndpoint::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "later").unwrap();
    drop(ours);
    assert_eq!(fs::read_to_string(&path).unwrap(), "later");

    let long = dir.path().join("x".repeat(200));
    let said = UnixEndpoint::bind(&long.join("p.sock")).unwrap_err().to_string();
    assert!(said.contains("107 bytes"), "{said}");
}

#[tokio::test]
async fn an_open_stream_does_not_hold_up_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.sock");
    let (stop, task) = start(&path);
    let mut follower = UnixStream::connect(&path).await.unwrap();
    follower.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 16];
    follower.read_exact(&mut head).await.unwrap();
    let idle = UnixStream::connect(&path).await.unwrap();
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
    let mut rest = Vec::new();
    let _ = follower.read_to_end(&mut rest).await;
    drop(idle);
}

#[tokio::test]
async fn a_quiet_stream_outlives_every_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.sock");
    let (_stop, _task) = start(&path);
    let mut follower = UnixStream::connect(&path).await.unwrap();
    follower.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    tokio::time::pause();
    let opened = tokio::time::Instant::now();
    let mut seen = String::new();
    while seen.matches(": keep-alive").count() < 8 {
        let mut piece = [0; 512];
        let length = follower.read(&mut piece).await.unwrap();
        assert!(length > 0, "closed after {:?}", opened.elapsed());
        seen.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
    assert!(opened.elapsed() >= Duration::from_secs(2 * 60));
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.sock");
    let (_stop, _task) = start(&path);
    let specs: Vec<_> = (0..10_000).map(|n| spec(&format!("namespace-{n}/workload-{n}"))).collect();
    let body = serde_json::to_string(&specs).unwrap();
    let head = format!(
        "POST /api/v1/endpoints HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{}", &answer[..100]);
    assert_eq!(answer.matches("\"created\"").count(), 10_000);
    let list = ask(UnixStream::connect(&path).await.unwrap(), "/api/v1/endpoints", "").await;
    let (_, list) = list.split_once("\r\n\r\n").unwrap();
    assert_eq!(serde_json::from_str::<Vec<Endpoint>>(list).unwrap().len(), 10_001);
}

#[tokio::test]
async fn silent_clients_are_dropped_and_others_get_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.sock");
    let (_stop, _task) = start(&path);
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut client = UnixStream::connect(&path).await.unwrap();
        client.write_all(b"GET /heal").await.unwrap();
        silent.push(client);
    }
    // Let them all be accepted, then the clock leaps whenever all tasks wait.
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::time::pause();
    let late = UnixStream::connect(&path).await.unwrap();
    assert!(ask(late, "/healthz", "").await.ends_with("ok"));
}

#[tokio::test]
async fn tcp_wants_loopback_and_the_token() {
    for outside in ["0.0.0.0:0", "192.0.2.1:80", "[::]:0", "[::ffff:192.0.2.1]:80"] {
        let error = TcpEndpoint::bind(outside.parse().unwrap()).unwrap_err();
        assert!(matches!(error, ServeError::NotLoopback { .. }), "{error}");
        assert!(error.to_string().contains("loopback"), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let token = Token::from_file(&file).unwrap();
    assert!(!format!("{token:?}").contains(TOKEN));
    let endpoint = TcpEndpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = endpoint.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve_tcp(endpoint, api(&Fake::new()), token, async {
        let _ = stopped.await;
    }));
    let get = async |path: &str, auth: &str| {
        ask(TcpStream::connect(addr).await.unwrap(), path, &format!("{auth}\r\n")).await
    };
    let right = format!("Authorization: bearer {TOKEN}");
    assert!(get("/api/v1/status", &right).await.starts_with("HTTP/1.1 200"));
    assert!(get("/healthz", "X: y").await.starts_with("HTTP/1.1 200"));
    let twice = format!("Authorization: Bearer {TOKEN}{TOKEN}");
    let part = format!("Authorization: Bearer {}", &TOKEN[..20]);
    let other = format!("Authorization: Bearer {}", TOKEN.replace('e', "f"));
    for wrong in ["X: y", "Authorization: Bearer ", "Authorization: Basic eA==", &twice, &part, &other] {
        for path in ["/api/v1/status", "/metrics", "/nowhere"] {
            let answer = get(path, wrong).await;
            assert!(answer.starts_with("HTTP/1.1 401"), "{wrong}: {answer}");
            assert!(answer.contains("urn:portcullis:unauthorized"), "{wrong}: {answer}");
            assert!(answer.to_lowercase().contains("www-authenticate: bearer"), "{wrong}: {answer}");
        }
    }
    stop.send(()).unwrap();
    task.await.unwrap();
}

#[test]
fn bad_token_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let refusal = || Token::from_file(&file).unwrap_err().to_string();
    assert!(refusal().contains("does not exist"));
    let cases = [("", 0o600, "16 to"), ("short", 0o600, "16 to"), ("two words here are", 0o600, "one word")];
    for (text, mode, reason) in cases.into_iter().chain([(TOKEN, 0o644, "chmod")]) {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        assert!(refusal().contains(reason), "{text:?}: {}", refusal());
    }
}
