//! The real agent in a lab.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use portcullis_policy::api::{ContainerMap, Endpoint, Event, Status};
use rustix::process::Signal;
use serde_json::Value;

use crate::binary::portcullis;
use crate::http::{self, Response};
use crate::lab::{Container, Lab};
use crate::process::{Process, checked_output};
use crate::wait::{PATIENCE, wait_for};

/// Packets by reason.
pub type Reasons = BTreeMap<String, u64>;

/// How the agent is started.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    /// Further arguments.
    pub arguments: Vec<String>,
    /// A configuration file's content.
    pub config: Option<String>,
}

/// `portcullis agent` in a lab's host namespace, with a socket, a state and pins of its own.
#[derive(Debug)]
pub struct Agent {
    command_prefix: (PathBuf, PathBuf),
    directory: PathBuf,
    bpffs: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Agent {
    /// Starts one and waits until it is ready.
    pub fn start(lab: &Lab) -> Result<Self> {
        Self::start_with(lab, &AgentOptions::default())
    }

    /// The same with options.
    pub fn start_with(lab: &Lab, options: &AgentOptions) -> Result<Self> {
        let mut agent = Self::prepared(lab, options)?;
        agent.spawn()?;
        agent.wait_ready()?;
        Ok(agent)
    }

    /// Everything but the process; for starts that are to fail.
    pub fn prepared(lab: &Lab, options: &AgentOptions) -> Result<Self> {
        let directory = lab.directory().to_owned();
        let config = directory.join("portcullis.toml");
        fs::write(&config, options.config.as_deref().unwrap_or(""))?;
        Ok(Self {
            command_prefix: (lab.host().path().to_owned(), portcullis()?),
            directory,
            bpffs: lab.bpffs(),
            arguments: options.arguments.clone(),
            process: None,
        })
    }

    /// Path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("portcullis.sock")
    }

    /// Directory of its state.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Directory of its pins.
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// Path of its log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("agent.log")
    }

    /// What it has logged since the lab was made.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::pid)
    }

    /// Whether its binary was built for release.
    #[must_use]
    pub fn is_release(&self) -> bool {
        self.command_prefix.1.components().any(|part| part.as_os_str() == "release")
    }

    /// The command that starts it.
    #[must_use]
    pub fn command(&self) -> Command {
        let (netns, binary) = &self.command_prefix;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", netns.display())).arg("--").arg(binary).arg("agent");
        command.arg("--config").arg(self.directory.join("portcullis.toml"));
        command.arg("--socket").arg(self.socket()).arg("--state-dir").arg(self.state_dir());
        command.arg("--bpffs").arg(&self.bpffs).args(&self.arguments);
        command
    }

    /// Starts it again after its end, and waits until it is ready.
    pub fn restart(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Starts it without waiting.
    pub fn spawn(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the agent runs already");
        }
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(Process::spawn(&mut command)?);
        Ok(())
    }

    /// Waits until `/readyz` says so.
    pub fn wait_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            match self.try_api("GET", "/readyz", None) {
                Ok(response) if response.status == 200 => return Ok(()),
                _ if !self.process.as_mut().is_some_and(Process::is_running) => {
                    bail!("the agent ended before it was ready; its log:\n{}", self.log())
                }
                answer if start.elapsed() > PATIENCE => {
                    bail!("the agent was never ready ({answer:?}); its log:\n{}", self.log())
                }
                _ => thread::sleep(std::time::Duration::from_millis(5)),
            }
        }
    }

    /// `kill -9`; pins and state stay.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.take().context("the agent does not run")?.kill9()
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the agent does not run")?;
        process.signal(Signal::TERM)?;
        wait_for("the agent to stop", || (!process.is_running()).then_some(()))
            .with_context(|| format!("its log:\n{}", self.log()))?;
        process.wait()
    }

    /// Asks the API; fails only if there is no answer.
    pub fn try_api(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Response> {
        http::request(&self.socket(), method, path, body)
    }

    /// Asks the API: status and body.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let response = self.try_api(method, path, body)?;
        Ok((response.status, response.json()))
    }

    /// Its status.
    pub fn status(&self) -> Result<Status> {
        let response = self.try_api("GET", "/api/v1/status", None)?;
        serde_json::from_str(&response.text).with_context(|| format!("a status: {}", response.text))
    }

    /// Who is here, and what is bound for them.
    pub fn map(&self) -> Result<ContainerMap> {
        let response = self.try_api("GET", "/api/v1/map", None)?;
        serde_json::from_str(&response.text).with_context(|| format!("a map: {}", response.text))
    }

    /// All endpoints.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>> {
        let response = self.try_api("GET", "/api/v1/endpoints", None)?;
        serde_json::from_str(&response.text).with_context(|| format!("endpoints: {}", response.text))
    }

    /// One endpoint.
    pub fn endpoint(&self, name: &str) -> Result<Endpoint> {
        // Names may have a slash in them: NAME/NETWORK.
        let path = format!("/api/v1/endpoints/{}", name.replace('/', "%2F"));
        let response = self.try_api("GET", &path, None)?;
        serde_json::from_str(&response.text).with_context(|| format!("endpoint {name}: {}", response.text))
    }

    /// Packets of an endpoint by reason.
    pub fn reasons(&self, name: &str) -> Result<Reasons> {
        Ok(self.endpoint(name)?.counters.reasons)
    }

    /// The newest events that the agent still has, and all that come.
    pub fn events(&self) -> Result<EventStream> {
        let mut answer = http::open(&self.socket(), "GET", "/api/v1/events?history=1000", None, None)?;
        if answer.status() != 200 {
            bail!("events: HTTP {}: {}", answer.status(), answer.text()?);
        }
        let (sender, receiver) = channel();
        thread::spawn(move || {
            while let Ok(Some(line)) = answer.line() {
                let event = line.strip_prefix("data:").map(str::trim).map(serde_json::from_str::<Event>);
                if let Some(Ok(event)) = event
                    && sender.send(event).is_err()
                {
                    return;
                }
            }
        });
        Ok(EventStream { receiver })
    }

    /// A command of the CLI against this agent, not started yet.
    #[must_use]
    pub fn cli_command(&self, arguments: &[&str]) -> Command {
        let (netns, binary) = &self.command_prefix;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", netns.display())).arg("--").arg(binary);
        command.env_remove("PORTCULLIS_SOCKET").arg("--socket").arg(self.socket()).args(arguments);
        command
    }

    /// Runs the CLI against this agent.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output> {
        self.cli_command(arguments).stdin(Stdio::null()).output().context("starting portcullis")
    }

    /// Runs the CLI and gives its standard output; fails if it failed.
    pub fn cli_ok(&self, arguments: &[&str]) -> Result<String> {
        checked_output(&mut self.cli_command(arguments))
    }

    /// Binds a container through the CLI under this name, with further arguments.
    pub fn bind(&self, name: &str, container: &Container, further: &[&str]) -> Result<()> {
        let (interface, addresses) = (container.host_interface(), container.addresses());
        let mut arguments =
            vec!["endpoint", "bind", name, "--interface", &interface, "--address", &addresses];
        arguments.extend(further);
        self.cli_ok(&arguments).map(drop)
    }
}

/// Events as they come.
#[derive(Debug)]
pub struct EventStream {
    receiver: Receiver<Event>,
}

impl EventStream {
    /// Waits for the next event that is wanted; what comes before it is thrown away.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        wait_for(what, || self.receiver.try_iter().find(|event| wanted(event)))
    }

    /// Those that have come and were not asked for yet.
    pub fn so_far(&self) -> Vec<Event> {
        self.receiver.try_iter().collect()
    }
}
