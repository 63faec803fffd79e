//! A client of the container runtime interface for tests and tools: makes pods and containers, as the
//! kubelet would. (The registries have no crictl.) The agent itself only looks, and stops sandboxes.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use prost::Message;

use super::rpc::{Connection, CriError};
use super::wire::{
    ListPodSandboxRequest, ListPodSandboxResponse, NODE, NamespaceOption, Nothing, PodSandbox, PodSandboxId,
    PodSandboxMetadata, PodSandboxStatusRequest, PodSandboxStatusResponse, StatusRequest, StatusResponse,
};

/// Making a sandbox runs CNI plugins and starts a process.
const WORKING: Duration = Duration::from_secs(60);

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Connection,
}

/// A pod to be made.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid; runtimes take it with name, namespace and attempt for the sandbox's name.
    pub uid: String,
    /// Counts sandboxes of one pod.
    pub attempt: u32,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Whether it is in the host's network.
    pub host_network: bool,
    /// Cgroup under which the runtime puts it; empty: its own choice.
    pub cgroup_parent: String,
    /// Where containers' output goes; empty: nowhere.
    pub log_directory: String,
}

impl Pod {
    /// A pod `namespace/name` with a network of its own.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            name: name.into(),
            namespace: namespace.into(),
            uid: format!("uid-{namespace}-{name}"),
            ..Self::default()
        }
    }

    fn config(&self) -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: self.name.clone(),
                uid: self.uid.clone(),
                namespace: self.namespace.clone(),
                attempt: self.attempt,
            }),
            hostname: if self.host_network { String::new() } else { self.name.clone() },
            log_directory: self.log_directory.clone(),
            labels: self.labels.clone(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup_parent.clone(),
                security_context: Some(SandboxSecurity { namespace_options: Some(self.namespaces()) }),
            }),
        }
    }

    fn namespaces(&self) -> NamespaceOption {
        NamespaceOption { network: if self.host_network { NODE } else { 0 } }
    }
}

/// A container to be made in a pod.
#[derive(Clone, Debug, Default)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// An image that the runtime has.
    pub image: String,
    /// What runs; empty: what the image says.
    pub command: Vec<String>,
    /// Capabilities beyond the runtime's usual ones (which hold NET_RAW), without `CAP_`.
    pub add_capabilities: Vec<String>,
    /// File under the pod's `log_directory`; empty: none.
    pub log_path: String,
}

/// What a command in a container came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Client {
    /// Connects.
    pub async fn connect(socket: &Path) -> Result<Self, CriError> {
        Ok(Self { connection: Connection::open(socket).await? })
    }

    /// What the runtime calls itself, and its version.
    #[must_use]
    pub fn runtime(&self) -> (&str, &str) {
        (&self.connection.runtime, &self.connection.version)
    }

    /// Makes a pod's sandbox; gives its id.
    pub async fn run_pod(&self, pod: &Pod) -> Result<String, CriError> {
        let request = RunPodSandboxRequest { config: Some(pod.config()) };
        Ok(self.ask::<_, NewId>("RunPodSandbox", request).await?.id)
    }

    /// Stops a sandbox and everything in it.
    pub async fn stop_pod(&self, id: &str) -> Result<(), CriError> {
        self.ask::<_, Nothing>("StopPodSandbox", PodSandboxId { pod_sandbox_id: id.into() }).await?;
        Ok(())
    }

    /// Removes a sandbox that was stopped.
    pub async fn remove_pod(&self, id: &str) -> Result<(), CriError> {
        self.ask::<_, Nothing>("RemovePodSandbox", PodSandboxId { pod_sandbox_id: id.into() }).await?;
        Ok(())
    }

    /// Every sandbox, also those that do not run.
    pub async fn pods(&self) -> Result<Vec<PodSandbox>, CriError> {
        let request = ListPodSandboxRequest { filter: None };
        Ok(self.ask::<_, ListPodSandboxResponse>("ListPodSandbox", request).await?.items)
    }

    /// All that the runtime knows of a sandbox.
    pub async fn pod_status(&self, id: &str) -> Result<PodSandboxStatusResponse, CriError> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: true };
        self.ask("PodSandboxStatus", request).await
    }

    /// How the runtime is, with its CNI configuration where it tells.
    pub async fn status(&self) -> Result<StatusResponse, CriError> {
        self.ask("Status", StatusRequest { verbose: true }).await
    }

    /// Makes a container in a pod, and does not start it; gives its id.
    pub async fn create_container(
        &self,
        sandbox: &str,
        pod: &Pod,
        container: &ContainerSpec,
    ) -> Result<String, CriError> {
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: container.name.clone() }),
            image: Some(ImageSpec { image: container.image.clone() }),
            command: container.command.clone(),
            log_path: container.log_path.clone(),
            linux: Some(LinuxContainerConfig {
                security_context: Some(ContainerSecurity {
                    capabilities: Some(Capability { add_capabilities: container.add_capabilities.clone() }),
                    namespace_options: Some(pod.namespaces()),
                }),
            }),
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.into(),
            config: Some(config),
            sandbox_config: Some(pod.config()),
        };
        Ok(self.ask::<_, NewId>("CreateContainer", request).await?.id)
    }

    /// Starts a container.
    pub async fn start_container(&self, id: &str) -> Result<(), CriError> {
        self.ask::<_, Nothing>("StartContainer", ContainerId { id: id.into() }).await?;
        Ok(())
    }

    /// Makes and starts a container; gives its id.
    pub async fn run_container(
        &self,
        sandbox: &str,
        pod: &Pod,
        container: &ContainerSpec,
    ) -> Result<String, CriError> {
        let id = self.create_container(sandbox, pod, container).await?;
        self.start_container(&id).await?;
        Ok(id)
    }

    /// Runs a command in a running container and waits for it.
    pub async fn exec(&self, container: &str, command: &[&str]) -> Result<Output, CriError> {
        let request = ExecSyncRequest {
            container_id: container.into(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: 30,
        };
        let done: ExecSyncResponse = self.ask("ExecSync", request).await?;
        Ok(Output { code: done.exit_code, stdout: done.stdout, stderr: done.stderr })
    }

    async fn ask<Question, Answer>(&self, method: &'static str, request: Question) -> Result<Answer, CriError>
    where
        Question: Message + 'static,
        Answer: Message + Default + 'static,
    {
        self.connection.ask(method, request, WORKING).await
    }
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "2")]
    hostname: String,
    #[prost(string, tag = "3")]
    log_directory: String,
    #[prost(map = "string, string", tag = "6")]
    labels: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security_context: Option<SandboxSecurity>,
}

/// `LinuxSandboxSecurityContext`.
#[derive(Clone, PartialEq, Message)]
struct SandboxSecurity {
    #[prost(message, optional, tag = "1")]
    namespace_options: Option<NamespaceOption>,
}

/// Answer to `RunPodSandbox` and to `CreateContainer`.
#[derive(Clone, PartialEq, Message)]
struct NewId {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(string, tag = "11")]
    log_path: String,
    #[prost(message, optional, tag = "15")]
    linux: Option<LinuxContainerConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxContainerConfig {
    #[prost(message, optional, tag = "2")]
    security_context: Option<ContainerSecurity>,
}

/// `LinuxContainerSecurityContext`.
#[derive(Clone, PartialEq, Message)]
struct ContainerSecurity {
    #[prost(message, optional, tag = "1")]
    capabilities: Option<Capability>,
    #[prost(message, optional, tag = "3")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct Capability {
    #[prost(string, repeated, tag = "1")]
    add_capabilities: Vec<String>,
}

/// Names one container: `StartContainer`.
#[derive(Clone, PartialEq, Message)]
struct ContainerId {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSyncRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, repeated, tag = "2")]
    cmd: Vec<String>,
    #[prost(int64, tag = "3")]
    timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSyncResponse {
    #[prost(bytes = "vec", tag = "1")]
    stdout: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    stderr: Vec<u8>,
    #[prost(int32, tag = "3")]
    exit_code: i32,
}
