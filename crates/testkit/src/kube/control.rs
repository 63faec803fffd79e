//! The control plane: etcd, the API server, and what runs a cluster.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::programs::tool;
use super::setup::{self, Plan};
use super::trust::Authority;
use crate::namespace::{Namespace, ip_batch};
use crate::process::{Process, checked_output};
use crate::runtime::Ground;
use crate::sweep;
use crate::wait::{wait_for, wait_until};

/// Names that this process has given.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A name for everything of a cluster: it tells the process, so that what is left of a killed one can be found.
pub fn next_tag() -> String {
    format!("pc-{}-k{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// etcd and an API server, and the controllers where they are wanted.
#[derive(Debug)]
pub struct ControlPlane {
    // Before the ground that they stand on.
    scheduler: Option<Process>,
    controllers: Option<Process>,
    api: Option<Process>,
    etcd: Option<Process>,
    pub(super) authority: Authority,
    pub(super) plan: Plan,
    ground: Ground,
    namespace: Namespace,
    own: Option<Own>,
}

/// A namespace that goes with its owner.
#[derive(Debug)]
pub struct Own(String);

impl Own {
    /// A new one, with nothing but `lo` up.
    pub fn new(name: &str) -> Result<(Self, Namespace)> {
        sweep::once();
        ip_batch(&mut Command::new("ip"), &format!("netns add {name}\n"))
            .context("making a network namespace (are you root?)")?;
        let own = Self(name.to_owned());
        let namespace = Namespace::open(name)?;
        namespace.ip("link set lo up\n")?;
        Ok((own, namespace))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let names = [self.0.clone()];
        sweep::processes_in(&names);
        sweep::namespaces(&names);
    }
}

impl ControlPlane {
    /// An API server alone, on loopback in this namespace (a lab's host, say): pods are objects, and nothing runs.
    pub fn api_only(namespace: &Namespace) -> Result<Self> {
        Self::start_with(namespace, Plan::default())
    }

    /// The same in a namespace of its own.
    pub fn alone() -> Result<Self> {
        let (own, namespace) = Own::new(&format!("{}-plane", next_tag()))?;
        let mut plane = Self::api_only(&namespace)?;
        plane.own = Some(own);
        Ok(plane)
    }

    /// One as planned.
    pub fn start_with(namespace: &Namespace, plan: Plan) -> Result<Self> {
        let ground = Ground::new(namespace)?;
        let authority = Authority::new()?;
        setup::write_files(ground.path(), &authority)?;
        let namespace = Namespace::open(namespace.name())?;
        let mut plane = Self {
            scheduler: None,
            controllers: None,
            api: None,
            etcd: None,
            authority,
            plan,
            ground,
            namespace,
            own: None,
        };
        plane.start()?;
        Ok(plane)
    }

    /// Where it runs.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Directory of all that it has.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.ground.path()
    }

    /// The API server's URL, as the cluster's machines reach it.
    #[must_use]
    pub fn url(&self) -> String {
        self.plan.url()
    }

    /// What a program (`etcd`, `kube-apiserver`, …) has logged.
    #[must_use]
    pub fn log(&self, program: &str) -> String {
        fs::read_to_string(self.ground.join(&format!("{program}.log"))).unwrap_or_default()
    }

    /// Whether the API server runs.
    pub fn is_running(&mut self) -> bool {
        self.api.as_mut().is_some_and(Process::is_running)
    }

    /// Starts what does not run, and waits until the API server is ready.
    pub fn start(&mut self) -> Result<()> {
        if self.etcd.is_none() {
            self.etcd = Some(self.spawn("etcd", &setup::etcd(self.directory()))?);
        }
        if self.api.is_none() {
            let mut api = self.spawn("kube-apiserver", &setup::api_server(self.directory(), &self.plan))?;
            let ready = self.wait_ready(&mut api);
            self.api = Some(api);
            ready?;
        }
        if self.plan.controllers {
            self.start_controllers()?;
        }
        Ok(())
    }

    /// Stops the API server and waits for its end; etcd, the controllers and all nodes stay.
    pub fn stop(&mut self) -> Result<()> {
        stop(&mut self.api, "the API server")
    }

    /// `kill -9` for the API server.
    pub fn kill(&mut self) -> Result<()> {
        self.api.take().context("the API server does not run")?.kill9()
    }

    /// Stops controller manager and scheduler; [`Self::start`] starts them again.
    pub fn stop_controllers(&mut self) -> Result<()> {
        stop(&mut self.controllers, "the controller manager")?;
        stop(&mut self.scheduler, "the scheduler")
    }

    /// Stops everything.
    pub fn stop_all(&mut self) -> Result<()> {
        if self.controllers.is_some() {
            self.stop_controllers()?;
        }
        if self.api.is_some() {
            self.stop()?;
        }
        stop(&mut self.etcd, "etcd")
    }

    /// Saves all that etcd holds into a file.
    pub fn save(&self, name: &str) -> Result<PathBuf> {
        let path = self.ground.join(&format!("{name}.snapshot"));
        let _older = fs::remove_file(&path);
        checked_output(self.etcdctl()?.args(["snapshot", "save"]).arg(&path))?;
        Ok(path)
    }

    /// Goes back to what was saved: everything stops, etcd starts with that, and resource versions go back too. Who
    /// goes on watching from a later version (a kubelet, say) is told nothing until that one is reached again: as in
    /// real clusters, it has to be started anew, or to list anew.
    pub fn restore(&mut self, snapshot: &Path) -> Result<()> {
        self.stop_all()?;
        let data = self.ground.join("etcd");
        fs::remove_dir_all(&data)?;
        let mut restore = self.etcdctl()?;
        restore.args(["snapshot", "restore"]).arg(snapshot);
        restore.arg(format!("--data-dir={}", data.display()));
        checked_output(restore.args([
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
        ]))?;
        self.start()
    }

    fn etcdctl(&self) -> Result<Command> {
        let mut command = self.namespace.command(tool("etcdctl")?);
        command.env("ETCDCTL_API", "3").arg("--endpoints=http://127.0.0.1:2379");
        Ok(command)
    }

    /// Those that do not run; some give up when the API server is away for long.
    fn start_controllers(&mut self) -> Result<()> {
        if !self.controllers.as_mut().is_some_and(Process::is_running) {
            let kubeconfig = self.kubeconfig("system:kube-controller-manager", "")?;
            let arguments = setup::controllers(self.directory(), &kubeconfig, &self.plan);
            self.controllers = Some(self.spawn("kube-controller-manager", &arguments)?);
        }
        if !self.scheduler.as_mut().is_some_and(Process::is_running) {
            let kubeconfig = self.kubeconfig("system:kube-scheduler", "")?;
            self.scheduler = Some(self.spawn("kube-scheduler", &setup::scheduler(&kubeconfig))?);
        }
        Ok(())
    }

    fn wait_ready(&self, api: &mut Process) -> Result<()> {
        let ready = wait_for("the API server to be ready", || {
            std::thread::sleep(Duration::from_millis(50));
            let ready = self.write_authority().is_ok() && self.get_text("/readyz").is_ok();
            (ready || !api.is_running()).then_some(ready)
        });
        if !ready.with_context(|| self.log("kube-apiserver"))? {
            bail!("the API server ended before it was ready; its log:\n{}", self.log("kube-apiserver"));
        }
        Ok(())
    }

    fn spawn(&self, program: &str, arguments: &[String]) -> Result<Process> {
        let log =
            File::options().create(true).append(true).open(self.ground.join(&format!("{program}.log")))?;
        let mut command = self.namespace.command(tool(program)?);
        command.args(arguments).env("HOME", self.directory());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Process::spawn(&mut command)
    }
}

/// Ends a process kindly. The API server waits a minute for those who watch; a second signal ends that.
pub fn stop(process: &mut Option<Process>, what: &str) -> Result<()> {
    let mut process = process.take().with_context(|| format!("{what} does not run"))?;
    process.signal(Signal::TERM)?;
    let mut patience = Some(Instant::now() + Duration::from_secs(3));
    wait_until(&format!("{what} to stop"), || {
        if patience.is_some_and(|end| end < Instant::now()) {
            patience = None;
            let _gone = process.signal(Signal::TERM);
        }
        !process.is_running()
    })?;
    process.wait().map(drop)
}
