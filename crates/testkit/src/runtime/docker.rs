//! A Docker daemon of the test's own.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::json;

use super::engine::Engine;
use super::ground::Ground;
use super::image;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::wait::wait_until;

/// Not that of the machine's own Docker; and a key that it does not put into `/etc/docker`.
fn config(ground: &Ground) -> String {
    json!({"deprecated-key-path": ground.join("key.json")}).to_string()
}

/// `dockerd`, with a containerd of its own, in a lab's host namespace. Containers live on while it is away.
#[derive(Debug)]
pub struct Docker {
    // Before the ground that it stands on.
    daemon: Option<Process>,
    engine: Engine,
    ground: Ground,
}

impl Docker {
    /// Starts one with the tests' image in it.
    pub fn start(host: &Namespace) -> Result<Self> {
        // Without it the daemon sets the policy of FORWARD to DROP.
        host.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        let archive = image::archive()?;
        let ground = Ground::new(host)?;
        fs::write(ground.join("daemon.json"), config(&ground))?;
        let engine = Engine::new(ground.join("docker.sock"), ground.cgroup().to_owned());
        let mut docker = Self { daemon: None, engine, ground };
        docker.start_daemon()?;
        docker.engine.load(&archive)?;
        Ok(docker)
    }

    /// Its API.
    #[must_use]
    pub const fn api(&self) -> &Engine {
        &self.engine
    }

    /// Directory of all that it has.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.ground.path()
    }

    /// What the daemon has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.ground.join("log")).unwrap_or_default()
    }

    /// Stops the daemon; its socket disappears, its containers stay.
    pub fn stop_daemon(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the daemon does not run")?;
        daemon.signal(Signal::TERM)?;
        wait_until("dockerd to stop", || !daemon.is_running())?;
        daemon.wait().map(drop)
    }

    /// `kill -9`; the socket stays, and nobody answers there.
    pub fn kill_daemon(&mut self) -> Result<()> {
        self.daemon.take().context("the daemon does not run")?.kill9()?;
        // Its containerd dies with it, but may stay a zombie, which the next daemon takes for a living one.
        let pid = self.ground.join("run/containerd/containerd.pid");
        fs::remove_file(&pid).with_context(|| format!("removing {}", pid.display()))
    }

    /// Starts the daemon again.
    pub fn start_daemon(&mut self) -> Result<()> {
        if self.daemon.is_some() {
            bail!("the daemon runs already");
        }
        // A killed one's: its number may be another process's by now.
        let _none = fs::remove_file(self.ground.join("docker.pid"));
        let log = File::options().create(true).append(true).open(self.ground.join("log"))?;
        let mut command = self.ground.command("dockerd")?;
        command
            .arg("--config-file")
            .arg(self.ground.join("daemon.json"))
            .arg("--host")
            .arg(format!("unix://{}", self.engine.socket().display()))
            .args(["--group", "root", "--live-restore", "--userland-proxy=false"])
            .args(["--bip", "172.30.0.1/24", "--default-address-pool", "base=172.31.0.0/16,size=24"])
            .arg("--data-root")
            .arg(self.ground.join("data"))
            .arg("--exec-root")
            .arg(self.ground.join("run"))
            .arg("--pidfile")
            .arg(self.ground.join("docker.pid"))
            .arg("--cgroup-parent")
            .arg(format!("/{}", self.ground.cgroup()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut daemon = Process::spawn(&mut command)?;
        let ready = self.engine.wait_ready(|| daemon.is_running());
        self.daemon = Some(daemon);
        ready.with_context(|| format!("dockerd; its log:\n{}", self.log()))
    }
}
