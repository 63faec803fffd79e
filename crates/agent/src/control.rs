//! What the agent can be asked: the interface between the API (and whatever else asks) and the core.

use std::sync::Arc;

use portcullis_policy::api::{
    ActionOutcome, CniAttachment, CniGarbage, ContainerMap, Endpoint, EndpointPatch, Event, PolicyView,
    State, Status,
};
use portcullis_policy::guard::{GatePolicy, Response};
use portcullis_policy::model::{EndpointSpec, Owner};
use tokio::sync::broadcast;

/// Why something asked for was not done. The text is one clear line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// What was asked for cannot be (HTTP 422, exit code 2).
    #[error("{0}")]
    Invalid(String),
    /// No such endpoint or interface (HTTP 404, exit code 4).
    #[error("{0}")]
    NotFound(String),
    /// It contradicts something that is there (HTTP 409, exit code 5).
    #[error("{0}")]
    Conflict(String),
    /// The kernel or the host refused (HTTP 500, exit code 1).
    #[error("{0}")]
    Failed(String),
}

/// What a bind did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there.
    Created,
    /// It was there and differed.
    Updated,
    /// It was there just so.
    Unchanged,
}

/// How to bind.
#[derive(Debug, Clone, Copy, Default)]
pub struct BindOptions {
    /// Accept an interface that does not exist yet: the endpoint waits for it.
    pub allow_missing: bool,
}

/// The core as the API sees it. Calls are short (they may make system calls, but never wait).
pub trait Control: Send + Sync + 'static {
    /// The agent as a whole.
    fn status(&self) -> Status;
    /// The same without warnings and coverage: for who asks often.
    fn summary(&self) -> Status {
        self.status()
    }
    /// All endpoints, by name.
    fn endpoints(&self) -> Vec<Endpoint>;
    /// One endpoint, by id or name.
    fn endpoint(&self, id_or_name: &str) -> Result<Endpoint, Fault>;
    /// Binds an endpoint, or changes the one of that name.
    fn bind(
        &self,
        spec: EndpointSpec,
        owner: Owner,
        options: BindOptions,
    ) -> Result<(Endpoint, Outcome), Fault>;
    /// Binds many; each succeeds or fails by itself. One write to the disk for all of them.
    fn bind_many(
        &self,
        specs: Vec<EndpointSpec>,
        owner: Owner,
        options: BindOptions,
    ) -> Vec<Result<(Endpoint, Outcome), Fault>> {
        specs.into_iter().map(|spec| self.bind(spec, owner, options)).collect()
    }
    /// Takes an endpoint away; answers what it was.
    fn unbind(&self, id_or_name: &str) -> Result<Endpoint, Fault>;
    /// Changes single properties.
    fn patch(&self, id_or_name: &str, patch: EndpointPatch) -> Result<Endpoint, Fault>;
    /// Puts an endpoint into quarantine or releases it.
    fn quarantine(&self, id_or_name: &str, quarantined: bool) -> Result<Endpoint, Fault>;
    /// The shield; none: this agent has none.
    fn shield(&self) -> Option<Arc<crate::shield::Shield>> {
        None
    }
    /// The container network map.
    fn map(&self) -> ContainerMap {
        ContainerMap::default()
    }
    /// Actions since the agent started, counted by what was to be done and what came of it. Those that never
    /// happened need not be there.
    fn actions(&self) -> Vec<(Response, ActionOutcome, u64)> {
        Vec::new()
    }
    /// Gate policies, in the order in which they are asked.
    fn policies(&self) -> Vec<PolicyView> {
        Vec::new()
    }
    /// Puts a policy, or replaces the one of that name.
    fn put_policy(&self, policy: GatePolicy) -> Result<(PolicyView, Outcome), Fault> {
        Err(Fault::Failed(format!("policy \"{}\" cannot be put: this agent keeps none", policy.name)))
    }
    /// Takes a policy away; answers what it was.
    fn remove_policy(&self, name: &str) -> Result<PolicyView, Fault> {
        Err(Fault::NotFound(format!("there is no policy \"{name}\"")))
    }
    /// Binds what the CNI plugin tells of; it is in the kernel when this returns.
    fn cni_attach(&self, interface: &str, attachment: CniAttachment) -> Result<Endpoint, Fault> {
        let _ = attachment;
        Err(Fault::Failed(format!(
            "interface {interface} cannot be bound: this agent takes no CNI attachments"
        )))
    }
    /// What is bound for a container's interface.
    fn cni_get(&self, container: &str, interface: &str) -> Result<Endpoint, Fault> {
        Err(Fault::NotFound(format!("nothing is bound for interface {interface} of container {container}")))
    }
    /// Takes away what the CNI plugin told of; whether there was something.
    fn cni_detach(&self, container: &str, interface: &str) -> bool {
        let _ = (container, interface);
        false
    }
    /// Takes away what is not in use any more; answers how many attachments that were.
    fn cni_collect(&self, garbage: CniGarbage) -> u32 {
        let _ = garbage;
        0
    }
    /// The desired state of every owner.
    fn state(&self) -> State;
    /// Makes the API's part of the desired state this one, whole or not at all; answers how many endpoints
    /// were created, updated and removed.
    fn apply(&self, state: State, force: bool) -> Result<(u32, u32, u32), Fault>;
    /// Changes that wait for a confirmation; none: this agent has none.
    fn confirmation(&self) -> Option<Arc<crate::confirm::Confirmation>> {
        None
    }
    /// Events from now on. A slow reader loses the oldest and is told how many.
    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>>;
    /// The newest events, oldest first, at most `limit`.
    fn history(&self, limit: usize) -> Vec<Arc<Event>>;
    /// Whether the kernel side is in place: what `/readyz` tells.
    fn ready(&self) -> Result<(), String>;
}
