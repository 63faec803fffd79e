//! A Docker API that tells what it is told to: as many containers as wanted, as fast as wanted.
//!
//! The agent looks for a runtime's bridges in the network namespace of the process that listens: whoever makes
//! this must be there with its main thread.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::Pod;

/// The one network, and its bridge.
pub const NETWORK: &str = "many";
const NETWORK_ID: &str = "4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e";

/// Listens until it is dropped.
pub struct Scripted {
    socket: PathBuf,
    script: Arc<Mutex<Script>>,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct Script {
    bridge: String,
    containers: BTreeMap<String, Told>,
    listeners: Vec<Sender<String>>,
}

struct Told {
    pod: Pod,
    /// None: it is only being started.
    since: Option<Timestamp>,
}

impl Scripted {
    /// Listens on this socket.
    pub fn start(socket: PathBuf, bridge: &str) -> Result<Self> {
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("listening on {}", socket.display()))?;
        let script = Arc::new(Mutex::new(Script { bridge: bridge.to_owned(), ..Script::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (of, stopped) = (Arc::clone(&script), Arc::clone(&stop));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let script = Arc::clone(&of);
                // Whoever asked may have gone meanwhile.
                thread::spawn(move || serve(stream, &script).ok());
            }
        });
        Ok(Self { socket, script, stop })
    }

    /// Path of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A container joins the network; its process does not run yet.
    pub fn connect(&self, pod: &Pod) {
        let mut script = lock(&self.script);
        script.containers.insert(pod.id(), Told { pod: pod.clone(), since: None });
        script.say(&network_event("connect", pod));
    }

    /// A container runs.
    pub fn run(&self, pod: &Pod) {
        let mut script = lock(&self.script);
        script.containers.insert(pod.id(), Told { pod: pod.clone(), since: Some(Timestamp::now()) });
        script.say(&container_event("start", pod));
    }

    /// A container's process has ended.
    pub fn end(&self, pod: &Pod) {
        let mut script = lock(&self.script);
        script.containers.remove(&pod.id());
        script.say(&container_event("die", pod));
    }

    /// It has left its network and is removed.
    pub fn remove(&self, pod: &Pod) {
        let mut script = lock(&self.script);
        script.say(&network_event("disconnect", pod));
        script.say(&container_event("destroy", pod));
    }

    /// Ends every stream of events, as a daemon that is restarted does.
    pub fn break_streams(&self) {
        lock(&self.script).listeners.clear();
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.break_streams();
        // Wakes the listener up, if it is still there.
        drop(UnixStream::connect(&self.socket));
    }
}

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Script {
    fn say(&mut self, event: &Value) {
        let line = format!("{event}\n");
        self.listeners.retain(|listener| listener.send(line.clone()).is_ok());
    }

    /// The answer to a question; none: there is no such thing.
    fn answer(&self, path: &str, query: &str) -> Option<Value> {
        match path {
            "/containers/json" => {
                let all = query.contains("all=1");
                let wanted = |told: &&Told| {
                    (all || told.since.is_some())
                        && (!query.contains("filters") || query.contains(&told.pod.id()))
                };
                Some(self.containers.values().filter(wanted).map(Told::listed).collect())
            }
            "/networks" => Some(json!([self.network()])),
            _ => {
                if let Some(id) = path.strip_prefix("/networks/") {
                    return (id == NETWORK_ID).then(|| self.network());
                }
                let id = path.strip_prefix("/containers/")?.strip_suffix("/json")?;
                Some(self.containers.get(id)?.inspected())
            }
        }
    }

    fn network(&self) -> Value {
        let members: serde_json::Map<String, Value> = self
            .containers
            .iter()
            .map(|(id, told)| {
                let pod = &told.pod;
                let member = json!({
                    "Name": pod.name(),
                    "MacAddress": pod.mac(),
                    "IPv4Address": format!("{}/16", pod.ipv4()),
                    "IPv6Address": format!("{}/64", pod.ipv6()),
                });
                (id.clone(), member)
            })
            .collect();
        json!({
            "Id": NETWORK_ID,
            "Name": NETWORK,
            "Driver": "bridge",
            "Options": {"com.docker.network.bridge.name": self.bridge},
            "Containers": members,
        })
    }
}

impl Told {
    fn settings(&self) -> Value {
        json!({
            "NetworkID": NETWORK_ID,
            "IPAddress": self.pod.ipv4(),
            "GlobalIPv6Address": self.pod.ipv6(),
            "MacAddress": self.pod.mac(),
        })
    }

    fn labels() -> Value {
        json!({"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "tier": "front"})
    }

    fn listed(&self) -> Value {
        json!({
            "Id": self.pod.id(),
            "Names": [format!("/{}", self.pod.name())],
            "Image": "registry.example/shop/web:1.27",
            "Labels": Self::labels(),
            "State": if self.since.is_some() { "running" } else { "created" },
            "NetworkSettings": {"Networks": {NETWORK: self.settings()}},
        })
    }

    fn inspected(&self) -> Value {
        json!({
            "Id": self.pod.id(),
            "Name": format!("/{}", self.pod.name()),
            "Config": {"Image": "registry.example/shop/web:1.27", "Labels": Self::labels()},
            "State": {
                "Running": self.since.is_some(),
                "Paused": false,
                "Pid": 0,
                "StartedAt": self.since.unwrap_or_default().to_string(),
            },
            "HostConfig": {"NetworkMode": NETWORK},
            "NetworkSettings": {"SandboxKey": self.pod.netns(), "Networks": {NETWORK: self.settings()}},
        })
    }
}

fn container_event(action: &str, pod: &Pod) -> Value {
    let now = Timestamp::now();
    json!({
        "Type": "container",
        "Action": action,
        "Actor": {"ID": pod.id(), "Attributes": {"name": pod.name()}},
        "time": now.as_second(),
        "timeNano": i64::try_from(now.as_nanosecond()).unwrap_or_default(),
    })
}

fn network_event(action: &str, pod: &Pod) -> Value {
    json!({
        "Type": "network",
        "Action": action,
        "Actor": {"ID": NETWORK_ID, "Attributes": {"container": pod.id(), "name": NETWORK, "type": "bridge"}},
    })
}

fn serve(mut stream: UnixStream, script: &Mutex<Script>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let target = first.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path == "/events" {
        // Subscribed before the head is sent: nothing is lost after that.
        let (sender, events) = channel();
        lock(script).listeners.push(sender);
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        return tell(&mut stream, &events);
    }
    let answer = lock(script).answer(path, query);
    let (status, body) = match answer {
        Some(body) => ("200 OK", body.to_string()),
        None => ("404 Not Found", json!({"message": "no such thing"}).to_string()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes())
}

fn tell(stream: &mut UnixStream, events: &Receiver<String>) -> std::io::Result<()> {
    for text in events {
        stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())?;
    }
    stream.write_all(b"0\r\n\r\n")
}
