//! A node: containerd, the CNI plugins and a kubelet on a machine of its own.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use portcullis_runtimes::cri::client::{Client, Output};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::control::stop;
use super::kubelet;
use super::machine::Machine;
use super::programs::tool;
use crate::namespace::Namespace;
use crate::process::{Process, checked_output};
use crate::runtime::{Conflist, program};
use crate::wait::{wait_for, wait_until};

/// containerd's socket, on the node.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// How it is joined to the others.
#[derive(Debug, Clone)]
pub struct Wiring {
    /// The namespace of the bridge between the nodes.
    pub fabric: String,
    /// The bridge.
    pub bridge: String,
    /// The node's port there.
    pub port: String,
    /// Addresses and routes of the node.
    pub lines: String,
}

/// One node of a cluster.
#[derive(Debug)]
pub struct Node {
    // Before the machine that they run on.
    kubelet: Option<Process>,
    containerd: Option<Process>,
    calls: Runtime,
    name: String,
    address: String,
    wiring: Wiring,
    images: Vec<PathBuf>,
    machine: Machine,
}

impl Node {
    /// A node that is switched on, with containerd and without a kubelet.
    pub(super) fn new(
        tag: &str,
        name: &str,
        address: &str,
        wiring: Wiring,
        network: &Conflist,
        images: Vec<PathBuf>,
    ) -> Result<Self> {
        let calls = Builder::new_current_thread().enable_all().build()?;
        let machine = Machine::new(tag)?;
        let (name, address) = (name.to_owned(), address.to_owned());
        let mut node =
            Self { kubelet: None, containerd: None, calls, name, address, wiring, images, machine };
        fs::write(node.machine.join("containerd.toml"), kubelet::containerd_config())?;
        node.switch_on()?;
        node.install_plugins()?;
        node.set_network(network)?;
        node.start_containerd()?;
        node.import_images()?;
        Ok(node)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its network namespace.
    pub fn namespace(&self) -> Result<&Namespace> {
        self.machine.namespace()
    }

    /// What its network namespace and its cgroup are called.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.machine.tag()
    }

    /// A command that will run on it, with its network and its files.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        self.machine.command(program)
    }

    /// Runs a command line (words separated by spaces) on it; gives its standard output.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().context("an empty command")?)?;
        checked_output(command.args(words))
    }

    /// How one of its files is reached from outside, while it is on: `/run/portcullis/portcullis.sock`, say.
    pub fn outside(&self, path: &str) -> Result<PathBuf> {
        self.machine.outside(path)
    }

    /// What a daemon (`containerd`, `kubelet`) has logged.
    #[must_use]
    pub fn log(&self, daemon: &str) -> String {
        fs::read_to_string(self.machine.join(&format!("{daemon}.log"))).unwrap_or_default()
    }

    /// From now on pods get this network.
    pub fn set_network(&self, network: &Conflist) -> Result<()> {
        let directory = self.outside("/etc/cni/net.d")?;
        let text = network.to_json(std::path::Path::new("/var/lib/cni/networks")).to_string();
        fs::write(directory.join("made"), text)?;
        Ok(fs::rename(directory.join("made"), directory.join("10-lab.conflist"))?)
    }

    /// Starts the kubelet.
    pub(super) fn start_kubelet_with(&mut self, kubeconfig: &std::path::Path) -> Result<()> {
        let lab = self.machine.path();
        fs::copy(kubeconfig, lab.join("kubeconfig"))?;
        fs::write(lab.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
        fs::create_dir_all(self.outside(kubelet::STATIC_PODS)?)?;
        fs::write(lab.join("kubelet.json"), kubelet::config(self.machine.tag(), lab).to_string())?;
        self.start_kubelet()
    }

    /// Starts the kubelet again.
    pub fn start_kubelet(&mut self) -> Result<()> {
        if self.kubelet.is_some() {
            bail!("the kubelet runs already");
        }
        let mut command = self.command(tool("kubelet")?)?;
        command.args(kubelet::arguments(self.machine.path(), &self.name, &self.address));
        // It would look for Amazon's metadata, for ten seconds.
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        self.kubelet = Some(self.spawn("kubelet", &mut command)?);
        Ok(())
    }

    /// Gives the kubelet a pod that it runs by itself; the cluster will call it `NAME-NODE`.
    pub fn run_static(&self, pod: &Value) -> Result<()> {
        let name = pod["metadata"]["name"].as_str().context("the pod has no name")?;
        let directory = self.outside(kubelet::STATIC_PODS)?;
        let (made, file) = (directory.join(format!(".{name}")), directory.join(format!("{name}.json")));
        fs::write(&made, pod.to_string())?;
        Ok(fs::rename(made, file)?)
    }

    /// Stops the kubelet; pods stay.
    pub fn stop_kubelet(&mut self) -> Result<()> {
        stop(&mut self.kubelet, "the kubelet")
    }

    /// `kill -9` for the kubelet.
    pub fn kill_kubelet(&mut self) -> Result<()> {
        self.kubelet.take().context("the kubelet does not run")?.kill9()
    }

    /// Stops containerd; pods stay.
    pub fn stop_containerd(&mut self) -> Result<()> {
        stop(&mut self.containerd, "containerd")?;
        let _gone = fs::remove_file(self.outside(SOCKET)?);
        Ok(())
    }

    /// `kill -9` for containerd; the socket stays, and nobody answers there.
    pub fn kill_containerd(&mut self) -> Result<()> {
        self.containerd.take().context("containerd does not run")?.kill9()
    }

    /// Starts containerd, and waits until it answers.
    pub fn start_containerd(&mut self) -> Result<()> {
        if self.containerd.is_some() {
            bail!("containerd runs already");
        }
        let mut command = self.command(program("containerd")?)?;
        command.arg("--config").arg(self.machine.join("containerd.toml"));
        let mut daemon = self.spawn("containerd", &mut command)?;
        let ready = wait_for("containerd to answer", || {
            let answers = self.call(async |client| client.pods().await).is_ok();
            (answers || !daemon.is_running()).then_some(answers)
        });
        self.containerd = Some(daemon);
        if !ready? {
            bail!("containerd ended before it answered; its log:\n{}", self.log("containerd"));
        }
        Ok(())
    }

    /// A power cut, and everything starts again. What was on the disk is there; networks, mounts, pins and processes
    /// are not.
    pub fn reboot(&mut self) -> Result<()> {
        let had_kubelet = self.kubelet.is_some();
        self.switch_off();
        self.switch_on()?;
        self.start_containerd()?;
        if had_kubelet {
            self.start_kubelet()?;
        }
        Ok(())
    }

    /// A power cut.
    pub fn switch_off(&mut self) {
        self.machine.halt();
        self.kubelet = None;
        self.containerd = None;
    }

    fn switch_on(&mut self) -> Result<()> {
        self.machine.boot()?;
        let fabric = Namespace::open(&self.wiring.fabric)?;
        self.machine.plug(&fabric, &self.wiring.bridge, &self.wiring.port, &self.wiring.lines)
    }

    /// The sandbox of a pod that runs here.
    pub fn sandbox(&self, namespace: &str, name: &str) -> Result<String> {
        let pods = self.call(async |client| client.pods().await)?;
        let found = pods.into_iter().find(|pod| {
            let metadata = pod.metadata.as_ref();
            pod.state == 0 && metadata.is_some_and(|pod| pod.namespace == namespace && pod.name == name)
        });
        Ok(found.with_context(|| format!("no pod {namespace}/{name} on {}", self.name))?.id)
    }

    /// The network namespace of a pod that runs here.
    pub fn pod_namespace(&self, namespace: &str, name: &str) -> Result<Namespace> {
        let sandbox = self.sandbox(namespace, name)?;
        let status = self.call(async |client| client.pod_status(&sandbox).await)?;
        let pid = status.info.values().find_map(|text| {
            let info: Value = serde_json::from_str(text).ok()?;
            u32::try_from(info["pid"].as_u64()?).ok()
        });
        Namespace::of_process(pid.context("containerd tells of no process of the sandbox")?)
    }

    /// Runs a command in a container of a pod, by its id (of `status.containerStatuses`, with or without scheme).
    pub fn exec(&self, container: &str, command: &[&str]) -> Result<Output> {
        let id = container.trim_start_matches("containerd://");
        self.call(async |client| client.exec(id, command).await)
    }

    /// Asks containerd.
    pub fn call<T, E>(&self, ask: impl AsyncFnOnce(&Client) -> Result<T, E>) -> Result<T>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let socket = self.outside(SOCKET)?;
        self.calls.block_on(async { Ok(ask(&Client::connect(&socket).await?).await?) })
    }

    /// Waits until containerd has read the configuration of a network.
    pub fn wait_network(&self, name: &str) -> Result<()> {
        let wanted = format!("\"Name\":\"{name}\"");
        wait_until("containerd to read its CNI configuration", || {
            let status = self.call(async |client| client.status().await);
            status.is_ok_and(|status| status.info.values().any(|text| text.contains(&wanted)))
        })
    }

    fn install_plugins(&self) -> Result<()> {
        let plugins = self.outside("/opt/cni/bin")?;
        let reference = program("host-local")?;
        for plugin in fs::read_dir(reference.parent().context("host-local is in no directory")?)? {
            let plugin = plugin?;
            symlink(plugin.path(), plugins.join(plugin.file_name()))?;
        }
        Ok(())
    }

    fn import_images(&self) -> Result<()> {
        for image in &self.images {
            let mut command = self.command(program("ctr")?)?;
            command.args(["--address", SOCKET, "--namespace", "k8s.io", "images", "import"]);
            checked_output(command.args(["--snapshotter", "native"]).arg(image))?;
        }
        Ok(())
    }

    fn spawn(&self, daemon: &str, command: &mut Command) -> Result<Process> {
        let log = self.machine.join(&format!("{daemon}.log"));
        let log = File::options().create(true).append(true).open(log)?;
        Process::spawn(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))
    }
}
