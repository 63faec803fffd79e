//! A runtime that answers what it is told to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;

/// What becomes of a question.
#[derive(Clone)]
pub enum Answer {
    /// A status and a body.
    Body(u16, String),
    /// Nothing, for ever.
    Silence,
    /// A body that goes on and on.
    Endless,
}

impl Answer {
    pub fn json(body: &str) -> Self {
        Self::Body(200, body.to_owned())
    }

    pub fn status(status: u16, body: &str) -> Self {
        Self::Body(status, body.to_owned())
    }
}

#[derive(Clone, Debug)]
enum Say {
    Text(String),
    Break,
}

#[derive(Default)]
struct Script {
    answers: BTreeMap<String, Answer>,
    asked: Vec<String>,
}

/// Listens until it is dropped.
pub struct Scripted {
    socket: PathBuf,
    script: Arc<Mutex<Script>>,
    events: broadcast::Sender<Say>,
    task: tokio::task::JoinHandle<()>,
    _directory: Option<tempfile::TempDir>,
}

impl Scripted {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self::at(&directory.path().join("runtime.sock"));
        server._directory = Some(directory);
        server
    }

    pub fn at(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let script: Arc<Mutex<Script>> = Arc::default();
        let (events, _) = broadcast::channel(64);
        for (path, body) in [("/containers/json", "[]"), ("/networks", "[]")] {
            script.lock().unwrap().answers.insert(path.into(), Answer::json(body));
        }
        let (of, say) = (script.clone(), events.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, of.clone(), say.clone()));
            }
        });
        Self { socket: socket.to_owned(), script, events, task, _directory: None }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn set(&self, path: &str, answer: Answer) {
        self.script.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    /// How often something whose path ends so was asked for.
    pub fn asked(&self, end: &str) -> usize {
        self.script.lock().unwrap().asked.iter().filter(|path| path.ends_with(end)).count()
    }

    pub fn event(&self, line: &str) {
        self.event_without_end(&format!("{line}\n"));
    }

    pub fn event_without_end(&self, text: &str) {
        self.events.send(Say::Text(text.to_owned())).unwrap();
    }

    pub fn break_streams(&self) {
        self.events.send(Say::Break).unwrap();
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: UnixStream, script: Arc<Mutex<Script>>, events: broadcast::Sender<Say>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().split('?').next().unwrap().to_owned();
    let answer = {
        let mut script = script.lock().unwrap();
        script.asked.push(path.clone());
        script.answers.get(&path).cloned()
    };
    // Subscribed before the head is sent: nothing is lost after that.
    let said = events.subscribe();
    let head = |status: u16, rest: &str| {
        format!("HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n{rest}\r\n")
    };
    let written = match answer {
        Some(Answer::Body(status, body)) => {
            let head = head(status, &format!("Content-Length: {}\r\n", body.len()));
            stream.write_all(format!("{head}{body}").as_bytes()).await
        }
        Some(Answer::Silence) => std::future::pending().await,
        Some(Answer::Endless) => {
            let mut sent = stream.write_all(head(200, "").as_bytes()).await;
            while sent.is_ok() {
                sent = stream.write_all(&[b' '; 65536]).await;
            }
            sent
        }
        None if path == "/events" => {
            drop(stream.write_all(head(200, "Transfer-Encoding: chunked\r\n").as_bytes()).await);
            return tell(stream, said).await;
        }
        None => stream.write_all(head(404, "Content-Length: 0\r\n").as_bytes()).await,
    };
    drop(written);
}

async fn tell(mut stream: UnixStream, mut events: broadcast::Receiver<Say>) {
    while let Ok(Say::Text(text)) = events.recv().await {
        if stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A list of these.
pub fn listed(ids: &[&str]) -> String {
    let entries: Vec<String> = ids
        .iter()
        .map(|id| {
            let name = &id[..8];
            format!(r#"{{"Id":"{id}","Names":["/{name}"],"Image":"x","Labels":null,"State":"running","NetworkSettings":null}}"#)
        })
        .collect();
    format!("[{}]", entries.join(","))
}

/// A container that runs since second 100, inspected.
pub fn container(id: &str, mode: &str) -> String {
    format!(
        r#"{{"Id":"{id}","Name":"/{}","Config":{{"Image":"x","Labels":{{}}}},
            "State":{{"Running":true,"Pid":1,"StartedAt":"1970-01-01T00:01:40Z"}},
            "HostConfig":{{"NetworkMode":"{mode}"}},"NetworkSettings":{{"Networks":null}}}}"#,
        &id[..8]
    )
}

/// An event at a second.
pub fn event(action: &str, id: &str, second: u64) -> String {
    format!(
        r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"{id}"}},"timeNano":{second}000000000}}"#
    )
}
