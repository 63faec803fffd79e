//! A containerd of the test's own, spoken to as the kubelet does.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use portcullis_runtimes::cri::client::{Client, ContainerSpec, Pod};
use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::conflist::Conflist;
use super::ground::Ground;
use super::options::forging;
use super::programs::program;
use super::{Forgery, IMAGE, image};
use crate::namespace::Namespace;
use crate::process::{Process, checked_output};
use crate::wait::{wait_for, wait_until};

/// A pod that was made.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Id of its sandbox.
    pub id: String,
    spec: Pod,
}

/// `containerd` with CRI and the reference CNI plugins, in a lab's host namespace. Pods live on while it is away.
#[derive(Debug)]
pub struct Containerd {
    // Before the ground that it stands on.
    daemon: Option<Process>,
    calls: Runtime,
    ground: Ground,
}

impl Containerd {
    /// Starts one with the tests' image in it and this network for pods.
    pub fn start(host: &Namespace, network: &Conflist) -> Result<Self> {
        host.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        let archive = image::archive()?;
        let ground = Ground::new(host)?;
        let calls = Builder::new_current_thread().enable_all().build()?;
        let mut containerd = Self { daemon: None, calls, ground };
        containerd.configure()?;
        containerd.write_network(network)?;
        containerd.start_daemon()?;
        let mut import = containerd.ground.command("ctr")?;
        import.arg("--address").arg(containerd.socket()).args(["--namespace", "k8s.io", "images", "import"]);
        checked_output(import.arg("--snapshotter").arg("native").arg(&archive))?;
        Ok(containerd)
    }

    /// Path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.ground.join("containerd.sock")
    }

    /// Directory of its CNI configurations.
    #[must_use]
    pub fn cni_directory(&self) -> PathBuf {
        self.ground.join("cni")
    }

    /// Directory of the CNI plugins; more can be put there.
    #[must_use]
    pub fn plugin_directory(&self) -> PathBuf {
        self.ground.join("plugins")
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

    /// From now on pods get this network.
    pub fn set_network(&self, network: &Conflist) -> Result<()> {
        self.write_network(network)?;
        self.wait_network(network.name())
    }

    /// Waits until containerd has read the configuration of a network.
    pub fn wait_network(&self, name: &str) -> Result<()> {
        let wanted = format!("\"Name\":\"{name}\"");
        wait_until("containerd to read its CNI configuration", || {
            let status = self.call(async |client| client.status().await);
            status.is_ok_and(|status| status.info.values().any(|text| text.contains(&wanted)))
        })
    }

    /// Makes a pod in the namespace `default`.
    pub fn run_pod(&self, name: &str, labels: &[(&str, &str)]) -> Result<Sandbox> {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.run_pod_as(Pod { labels, ..Pod::new("default", name) })
    }

    /// Makes any pod.
    pub fn run_pod_as(&self, pod: Pod) -> Result<Sandbox> {
        let spec = Pod { cgroup_parent: format!("/{}", self.ground.cgroup()), ..pod };
        let id = self.call(async |client| client.run_pod(&spec).await)?;
        Ok(Sandbox { id, spec })
    }

    /// Runs a container in a pod; gives its id.
    pub fn run_container(&self, pod: &Sandbox, name: &str, command: &[&str]) -> Result<String> {
        let container = ContainerSpec {
            name: name.to_owned(),
            image: IMAGE.to_owned(),
            command: command.iter().map(ToString::to_string).collect(),
            ..ContainerSpec::default()
        };
        self.call(async |client| client.run_container(&pod.id, &pod.spec, &container).await)
    }

    /// Runs a container that forges from its first instruction.
    pub fn run_forger(
        &self,
        pod: &Sandbox,
        kinds: &[Forgery],
        count: u64,
        interval_us: u64,
    ) -> Result<String> {
        let command = forging("eth0", kinds, count, interval_us);
        self.run_container(pod, "forger", &command.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Stops a pod's sandbox and removes it.
    pub fn remove_pod(&self, pod: &str) -> Result<()> {
        self.call(async |client| {
            client.stop_pod(pod).await?;
            client.remove_pod(pod).await
        })
    }

    /// Stops a pod's sandbox.
    pub fn stop_pod(&self, pod: &str) -> Result<()> {
        self.call(async |client| client.stop_pod(pod).await)
    }

    /// Whether a pod's sandbox is there and ready.
    pub fn is_ready(&self, pod: &str) -> Result<bool> {
        let all = self.call(async |client| client.pods().await)?;
        Ok(all.iter().any(|sandbox| sandbox.id == pod && sandbox.state == 0))
    }

    /// Addresses of a pod.
    pub fn addresses(&self, pod: &str) -> Result<Vec<String>> {
        let status = self.call(async |client| client.pod_status(pod).await)?;
        let network = status.status.and_then(|status| status.network).context("a pod without a network")?;
        let further = network.additional_ips.into_iter().map(|ip| ip.ip);
        Ok(std::iter::once(network.ip).chain(further).collect())
    }

    /// The network namespace of a pod.
    pub fn namespace(&self, pod: &str) -> Result<Namespace> {
        let status = self.call(async |client| client.pod_status(pod).await)?;
        let pid = status.info.values().find_map(|text| {
            let info: Value = serde_json::from_str(text).ok()?;
            u32::try_from(info["pid"].as_u64()?).ok()
        });
        Namespace::of_process(pid.context("containerd tells of no process of the sandbox")?)
    }

    /// Stops the daemon; pods stay.
    pub fn stop_daemon(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the daemon does not run")?;
        daemon.signal(Signal::TERM)?;
        wait_until("containerd to stop", || !daemon.is_running())?;
        daemon.wait()?;
        // What a package's service does too.
        let _gone = fs::remove_file(self.socket());
        Ok(())
    }

    /// `kill -9`; the socket stays, and nobody answers there.
    pub fn kill_daemon(&mut self) -> Result<()> {
        self.daemon.take().context("the daemon does not run")?.kill9()
    }

    /// Starts the daemon again.
    pub fn start_daemon(&mut self) -> Result<()> {
        if self.daemon.is_some() {
            bail!("the daemon runs already");
        }
        let log = File::options().create(true).append(true).open(self.ground.join("log"))?;
        let mut command = self.ground.command("containerd")?;
        command.arg("--config").arg(self.ground.join("config.toml"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut daemon = Process::spawn(&mut command)?;
        let ready = wait_for("containerd to answer", || {
            let answers = self.call(async |client| client.pods().await).is_ok();
            (answers || !daemon.is_running()).then_some(answers)
        });
        self.daemon = Some(daemon);
        if !ready? {
            bail!("containerd ended before it answered; its log:\n{}", self.log());
        }
        Ok(())
    }

    fn call<T, E>(&self, ask: impl AsyncFnOnce(&Client) -> Result<T, E>) -> Result<T>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        self.calls.block_on(async { Ok(ask(&Client::connect(&self.socket()).await?).await?) })
    }

    fn write_network(&self, network: &Conflist) -> Result<()> {
        let text = network.to_json(&self.ground.join("books")).to_string();
        // It comes into being whole. containerd looks again when a file of the directory is written or renamed,
        // and not when one is moved in from elsewhere.
        let made = self.cni_directory().join("made");
        fs::write(&made, text)?;
        Ok(fs::rename(made, self.cni_directory().join("10-lab.conflist"))?)
    }

    fn configure(&self) -> Result<()> {
        let plugins = self.plugin_directory();
        fs::create_dir(&plugins)?;
        fs::create_dir(self.cni_directory())?;
        let reference = program("host-local")?;
        for plugin in fs::read_dir(reference.parent().context("host-local is in no directory")?)? {
            let plugin = plugin?;
            symlink(plugin.path(), plugins.join(plugin.file_name()))?;
        }
        Ok(fs::write(self.ground.join("config.toml"), config(self.ground.path()))?)
    }
}

fn config(directory: &Path) -> String {
    format!(
        r#"version = 2
root = "{0}/data"
state = "{0}/run"
[grpc]
address = "{0}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{0}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true
tolerate_missing_hugetlb_controller = true
disable_tcp_service = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{0}/plugins"
conf_dir = "{0}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
Root = "{0}/runc"
"#,
        directory.display()
    )
}
