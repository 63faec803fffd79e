//! Namespaces for tests: made with `ip`, gone when dropped. These tests need root; without it they fail.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_inventory::Netns;

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A named namespace of this test.
pub struct Lab {
    pub name: String,
}

impl Lab {
    pub fn new(role: &str) -> Self {
        let name = format!("pc-{}-i{}-{role}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        run("ip", &["netns", "add", &name]);
        Self { name }
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}", self.name))
    }

    pub fn open(&self) -> Netns {
        Netns::open(self.path()).unwrap()
    }

    /// Runs a command line (split at blanks) inside; it must succeed.
    pub fn run(&self, line: &str) {
        let (net, mut args) = (format!("--net={}", self.path().display()), Vec::new());
        args.push(net.as_str());
        args.extend(line.split_whitespace());
        run("nsenter", &args);
    }

    /// Like `run`, but says whether it succeeded.
    pub fn try_run(&self, line: &str) -> bool {
        let net = format!("--net={}", self.path().display());
        let output = Command::new("nsenter").arg(net).args(line.split_whitespace()).output().unwrap();
        output.status.success()
    }

    /// `ip -batch` with the lines given.
    pub fn ip_batch(&self, lines: &str) {
        use std::io::Write as _;
        let net = format!("--net={}", self.path().display());
        let mut child = Command::new("nsenter")
            .args([net.as_str(), "ip", "-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "ip -batch failed");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// A process, killed and reaped when dropped.
pub struct Process(pub Child);

impl Process {
    /// `sleep` in a network namespace without a name.
    pub fn in_nameless_netns() -> Self {
        let child = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let path = format!("/proc/{}/ns/net", child.id());
        // unshare(1) replaces itself: wait for the namespace, not for a time.
        while std::fs::read_link(&path).unwrap() == own {
            std::thread::yield_now();
        }
        Self(child)
    }

    pub fn netns_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
