//! The messages of the container runtime interface, as far as we read them.
//!
//! Written by hand: the crates that carry them need protoc at build time, and lag behind tonic. Protobuf
//! passes over fields that a message does not name, so only those that we need stand here; their numbers
//! are those of `api.proto` in kubernetes/cri-api. `runtime.v1` and `runtime.v1alpha2` agree in all of them.

use std::collections::HashMap;

use prost::Message;

/// `PodSandboxState.SANDBOX_READY`.
pub const READY: i32 = 0;
/// `NamespaceMode.NODE`: the host's namespace.
pub const NODE: i32 = 2;

/// `ContainerEventType.CONTAINER_STOPPED_EVENT`; what is above it is an end too.
pub const STOPPED: i32 = 2;

/// Which API the client speaks.
#[derive(Clone, PartialEq, Message)]
pub struct VersionRequest {
    /// Version of the kubelet's runtime API.
    #[prost(string, tag = "1")]
    pub version: String,
}

/// Who answers.
#[derive(Clone, PartialEq, Message)]
pub struct VersionResponse {
    /// `containerd`, `cri-o`, ….
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    /// Its version.
    #[prost(string, tag = "3")]
    pub runtime_version: String,
}

/// What a pod is called.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxMetadata {
    /// The pod's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The pod's uid.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// The pod's namespace.
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// Counts sandboxes of one pod.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

/// Asks for sandboxes.
#[derive(Clone, PartialEq, Message)]
pub struct ListPodSandboxRequest {
    /// Which; none: all.
    #[prost(message, optional, tag = "1")]
    pub filter: Option<PodSandboxFilter>,
}

/// Which sandboxes.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxFilter {
    /// In this state.
    #[prost(message, optional, tag = "2")]
    pub state: Option<PodSandboxStateValue>,
}

/// A state that may be absent.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxStateValue {
    /// [`READY`] or not.
    #[prost(int32, tag = "1")]
    pub state: i32,
}

/// Sandboxes.
#[derive(Clone, PartialEq, Message)]
pub struct ListPodSandboxResponse {
    /// Each of them.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<PodSandbox>,
}

/// A sandbox in a list.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandbox {
    /// Id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Whose.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// [`READY`] or not.
    #[prost(int32, tag = "3")]
    pub state: i32,
}

/// Asks for one sandbox.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxStatusRequest {
    /// Id.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    /// Also what the runtime knows beyond the interface.
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// A sandbox.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxStatusResponse {
    /// What the interface defines.
    #[prost(message, optional, tag = "1")]
    pub status: Option<PodSandboxStatus>,
    /// What it does not: texts in a form of the runtime's own; of those we know, `info` is JSON.
    #[prost(map = "string, string", tag = "2")]
    pub info: HashMap<String, String>,
}

/// A sandbox, as the interface defines it.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxStatus {
    /// Id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Whose.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// [`READY`] or not.
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// Its addresses; empty in the host's network.
    #[prost(message, optional, tag = "5")]
    pub network: Option<PodSandboxNetworkStatus>,
    /// What only Linux has.
    #[prost(message, optional, tag = "6")]
    pub linux: Option<LinuxPodSandboxStatus>,
    /// The pod's labels.
    #[prost(map = "string, string", tag = "7")]
    pub labels: HashMap<String, String>,
}

/// Addresses of a sandbox's first interface.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxNetworkStatus {
    /// The first.
    #[prost(string, tag = "1")]
    pub ip: String,
    /// The others (dual stack).
    #[prost(message, repeated, tag = "2")]
    pub additional_ips: Vec<PodIp>,
}

/// An address.
#[derive(Clone, PartialEq, Message)]
pub struct PodIp {
    /// As text.
    #[prost(string, tag = "1")]
    pub ip: String,
}

/// What only Linux has.
#[derive(Clone, PartialEq, Message)]
pub struct LinuxPodSandboxStatus {
    /// Its namespaces.
    #[prost(message, optional, tag = "1")]
    pub namespaces: Option<Namespaces>,
}

/// Namespaces of a sandbox (`Namespace` in the interface).
#[derive(Clone, PartialEq, Message)]
pub struct Namespaces {
    /// Which are whose.
    #[prost(message, optional, tag = "2")]
    pub options: Option<NamespaceOption>,
}

/// Whose namespaces are used.
#[derive(Clone, PartialEq, Message)]
pub struct NamespaceOption {
    /// 0: the pod's own; [`NODE`]: the host's.
    #[prost(int32, tag = "1")]
    pub network: i32,
}

/// Asks how the runtime is.
#[derive(Clone, PartialEq, Message)]
pub struct StatusRequest {
    /// Also what the runtime knows beyond the interface.
    #[prost(bool, tag = "1")]
    pub verbose: bool,
}

/// How the runtime is.
#[derive(Clone, PartialEq, Message)]
pub struct StatusResponse {
    /// Texts in a form of the runtime's own; containerd's `cniconfig` is JSON.
    #[prost(map = "string, string", tag = "2")]
    pub info: HashMap<String, String>,
}

/// Stops a sandbox, or removes it: the requests are alike.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxId {
    /// Id.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
}

/// No content, or none that we read.
#[derive(Clone, PartialEq, Message)]
pub struct Nothing {}

/// `ContainerEventResponse`: something happened to a container or a sandbox.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerEvent {
    /// Id of the container or of the sandbox.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// 0 created, 1 started, [`STOPPED`], 3 deleted.
    #[prost(int32, tag = "2")]
    pub container_event_type: i32,
    /// The sandbox that it belongs to.
    #[prost(message, optional, tag = "4")]
    pub pod_sandbox_status: Option<PodSandboxStatus>,
}

/// Subscribes to containerd's own events (`containerd.services.events.v1`).
#[derive(Clone, PartialEq, Message)]
pub struct SubscribeRequest {
    /// One of them must match.
    #[prost(string, repeated, tag = "1")]
    pub filters: Vec<String>,
}

/// An event of containerd.
#[derive(Clone, PartialEq, Message)]
pub struct Envelope {
    /// containerd's namespace; that of pods is `k8s.io`.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// `/tasks/start`, ….
    #[prost(string, tag = "3")]
    pub topic: String,
    /// What happened.
    #[prost(message, optional, tag = "4")]
    pub event: Option<Any>,
}

/// A message of any type.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// Its type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// Itself, encoded.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// The first field of containerd's events about tasks, containers and sandboxes: whom it is about.
#[derive(Clone, PartialEq, Message)]
pub struct Subject {
    /// Id of a container; of a pod, its sandbox's.
    #[prost(string, tag = "1")]
    pub id: String,
}
