//! A Podman service of the test's own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::engine::Engine;
use super::ground::Ground;
use super::image;
use super::programs::program;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::wait::wait_until;

/// `podman system service` with netavark, in a lab's host namespace. Its containers need no daemon.
#[derive(Debug)]
pub struct Podman {
    // Before the ground that it stands on.
    service: Option<Process>,
    apart: Process,
    engine: Engine,
    ground: Ground,
}

/// All Podmans of a machine share `/run/containers`, where addresses are booked. This one gets its own, in a mount
/// namespace that differs in nothing else; what is mounted in `/run/netns` is still seen by everybody.
const APART: &str = "mount --make-private / && \
    { mount --make-private /run 2>/dev/null || true; } && \
    mkdir -p \"$0\" /run/containers && mount --bind \"$0\" /run/containers && echo apart && exec sleep infinity";

impl Podman {
    /// Starts one with the tests' image in it.
    pub fn start(host: &Namespace) -> Result<Self> {
        host.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        let archive = image::archive()?;
        let ground = Ground::new(host)?;
        configure(&ground)?;
        let apart = mount_namespace(&ground)?;
        let engine = Engine::new(ground.join("podman.sock"), ground.cgroup().to_owned());
        let mut podman = Self { service: None, apart, engine, ground };
        podman.start_service()?;
        podman.engine.load(&archive)?;
        Ok(podman)
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

    /// What the service has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.ground.join("log")).unwrap_or_default()
    }

    /// A command line of `podman`, on the same containers, without the service.
    pub fn command(&self) -> Result<Command> {
        let pid = self.apart.pid().context("the mount namespace has ended")?;
        let mut command = self.ground.command("nsenter")?;
        command.arg(format!("--mount=/proc/{pid}/ns/mnt")).arg("--").arg(program("podman")?);
        let config = |name: &str| self.ground.join(name);
        command
            .env("CONTAINERS_CONF", config("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", config("storage.conf"))
            .env("CONTAINERS_REGISTRIES_CONF", config("registries.conf"))
            .env("XDG_RUNTIME_DIR", self.ground.path())
            .arg("--root")
            .arg(config("data"))
            .arg("--runroot")
            .arg(config("run"))
            .arg("--tmpdir")
            .arg(config("tmp"))
            .arg("--network-config-dir")
            .arg(config("networks"));
        Ok(command)
    }

    /// Stops the service; its socket disappears, containers stay.
    pub fn stop_service(&mut self) -> Result<()> {
        let mut service = self.service.take().context("the service does not run")?;
        service.signal(Signal::TERM)?;
        wait_until("podman to stop", || !service.is_running())?;
        service.wait()?;
        let _gone = fs::remove_file(self.engine.socket());
        Ok(())
    }

    /// Starts the service again.
    pub fn start_service(&mut self) -> Result<()> {
        if self.service.is_some() {
            bail!("the service runs already");
        }
        let log = File::options().create(true).append(true).open(self.ground.join("log"))?;
        let mut command = self.command()?;
        command
            .args(["system", "service", "--time=0"])
            .arg(format!("unix://{}", self.engine.socket().display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut service = Process::spawn(&mut command)?;
        let ready = self.engine.wait_ready(|| service.is_running());
        self.service = Some(service);
        ready.with_context(|| format!("podman; its log:\n{}", self.log()))
    }
}

/// runc with a state directory of its own. Podman has a flag for that, but what cleans up behind a container
/// is not told of it.
fn wrapped_runc(ground: &Ground) -> Result<PathBuf> {
    let (path, state) = (ground.join("runc.sh"), ground.join("runc"));
    let script =
        format!("#!/bin/sh\nexec '{}' --root '{}' \"$@\"\n", program("runc")?.display(), state.display());
    let mut file = File::options().create_new(true).write(true).mode(0o755).open(&path)?;
    file.write_all(script.as_bytes())?;
    Ok(path)
}

/// A process in the mount namespace that is to be, which lasts as long as it does.
fn mount_namespace(ground: &Ground) -> Result<Process> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "unchanged", "sh", "-c", APART]);
    command.arg(ground.join("shared")).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Process::spawn(&mut command)?;
    let output = process.child().and_then(|child| child.stdout.take()).context("unshare has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    if line.trim() != "apart" {
        bail!("a mount namespace for podman could not be made: are you root?");
    }
    Ok(process)
}

/// Everything in the ground's directory, nothing of the machine's own configuration.
fn configure(ground: &Ground) -> Result<()> {
    let helpers = program("netavark")?;
    let helpers = helpers.parent().context("netavark is in no directory")?;
    let (directory, conmon, runc) = (ground.path(), program("conmon")?, wrapped_runc(ground)?);
    let config = format!(
        "[containers]\n\
         default_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
         log_driver = \"k8s-file\"\n\
         [network]\n\
         network_backend = \"netavark\"\n\
         [engine]\n\
         cgroup_manager = \"cgroupfs\"\n\
         events_logger = \"file\"\n\
         lock_type = \"file\"\n\
         runtime = {runc:?}\n\
         conmon_path = [{conmon:?}]\n\
         helper_binaries_dir = [{helpers:?}]\n\
         volume_path = \"{0}/volumes\"\n",
        directory.display()
    );
    fs::write(ground.join("containers.conf"), config)?;
    fs::write(ground.join("registries.conf"), "unqualified-search-registries = []\n")?;
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\nrunroot = \"{0}/run\"\ngraphroot = \"{0}/data\"\n",
        directory.display()
    );
    fs::write(ground.join("storage.conf"), storage)?;
    // Found below HOME.
    let policy = directory.join(".config/containers");
    fs::create_dir_all(&policy)?;
    fs::write(policy.join("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)?;
    Ok(())
}
