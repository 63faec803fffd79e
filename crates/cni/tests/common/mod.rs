//! A call of the plugin as a runtime makes it, and an agent that says what a test wants.

#![allow(dead_code, reason = "every test uses a part")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_cni::Answer;
use portcullis_testkit::Lab;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub body: Value,
}

/// An agent on a socket of its own. It keeps what it is asked.
pub struct FakeAgent {
    directory: TempDir,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FakeAgent {
    /// One that answers with a status and a body, or not at all.
    pub fn new(answer: impl Fn(&Request) -> Option<(u16, Value)> + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("agent.sock")).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&requests);
        // Ends with the test's process.
        thread::spawn(move || {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                let Some(request) = read(&stream) else { continue };
                book.lock().unwrap().push(request.clone());
                match answer(&request) {
                    Some((status, body)) => {
                        let body = body.to_string();
                        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                        let _gone = (&stream).write_all((head + &body).as_bytes());
                    }
                    None => held.push(stream),
                }
            }
        });
        Self { directory, requests }
    }

    /// One that binds whatever it is told.
    pub fn obliging() -> Self {
        Self::new(|request| {
            Some(match request.method.as_str() {
                "PUT" => (200, endpoint(&request.body)),
                "GET" => (200, json!("ok")),
                _ => (200, json!({"removed": 1})),
            })
        })
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read(stream: &std::os::unix::net::UnixStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

/// The endpoint that comes of an attachment.
pub fn endpoint(attachment: &Value) -> Value {
    // Without a host side it is bound to the interface inside.
    let inside = json!({"name": "inside", "index": 2});
    let host = Some(&attachment["host"]).filter(|host| host.is_object()).unwrap_or(&inside);
    json!({
        "id": "e1", "name": "web", "workload": {}, "direction": "ingress",
        "interface": {"name": host["name"], "index": host["index"], "netns": null},
        "addresses": attachment["addresses"], "macs": attachment["macs"], "learned": [],
        "mode": "enforce", "state": "active", "allow": [], "vlans": [], "ethertypes": [],
        "owner": "cni", "since": "2026-11-21T10:40:00Z",
        "counters": {"allowed": {"packets": 0, "bytes": 0}, "dropped": {"packets": 0, "bytes": 0}, "reasons": {}}
    })
}

/// A call, described first.
#[derive(Clone)]
pub struct Call {
    pub variables: Vec<(String, OsString)>,
    pub input: Vec<u8>,
}

impl Call {
    /// A command with everything that it needs, for `eth0` of container `c1`.
    pub fn new(command: &str, netns: &Path, input: &Value) -> Self {
        let call = Self { variables: Vec::new(), input: input.to_string().into_bytes() };
        call.with("CNI_COMMAND", command)
            .with("CNI_CONTAINERID", "c1")
            .with("CNI_NETNS", netns)
            .with("CNI_IFNAME", "eth0")
            .with("CNI_PATH", "/nowhere")
    }

    /// With a variable.
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self = self.without(name);
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Without a variable.
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(present, _)| present != name);
        self
    }

    /// With this on standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Makes it, in this thread's namespace.
    pub fn run(&self) -> Answer {
        let find = |name: &str| {
            self.variables.iter().find(|(present, _)| present == name).map(|(_, value)| value.clone())
        };
        portcullis_cni::run(Instant::now(), find, self.input.as_slice())
    }

    /// Makes it in a lab's host, as a runtime there would.
    pub fn run_in(&self, lab: &Lab) -> Answer {
        lab.host().within(|| self.run()).unwrap()
    }
}

/// The code of an error object, which must be whole and of this version.
pub fn code(answer: &Answer, version: &str) -> u64 {
    assert!(!answer.done, "{answer:?}");
    let object: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(object["cniVersion"], version, "{object}");
    for text in ["msg", "details"] {
        assert!(
            object[text].as_str().is_some_and(|text| !text.is_empty() && !text.contains('\n')),
            "{object}"
        );
    }
    assert!(answer.stderr.starts_with("portcullis: ") && answer.stderr.ends_with('\n'), "{}", answer.stderr);
    object["code"].as_u64().unwrap()
}

/// A configuration of container 1 of a lab, as the chain before left it.
pub fn config(lab: &Lab, agent: &Path) -> Value {
    let container = lab.container(1);
    json!({
        "cniVersion": "1.0.0", "name": "frontend", "type": "portcullis", "socket": agent,
        "prevResult": {
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": "br0"},
                {"name": container.host_interface(), "mac": "0a:00:00:00:00:01"},
                {"name": "eth0", "mac": container.mac().to_string(),
                 "sandbox": container.namespace().path()}
            ],
            "ips": [
                {"address": format!("{}/24", container.ipv4()), "gateway": "10.77.0.1", "interface": 2},
                {"address": format!("{}/64", container.ipv6()), "interface": 2}
            ],
            "dns": {"nameservers": ["10.77.0.1"]}
        }
    })
}

/// The promise to runtimes.
pub const TWO_SECONDS: Duration = Duration::from_secs(2);
