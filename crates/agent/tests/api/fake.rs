//! A core in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use portcullis_agent::control::{BindOptions, Control, Fault, Outcome};
use portcullis_policy::api::{
    ActionOutcome, Claimed, CniAttachment, CniGarbage, ContainerMap, Count, Counters, DropRecord, Endpoint,
    EndpointPatch, EndpointState, EndpointTotals, Event, Interface, Notice, PolicyView, Sender, SourceState,
    SourceStatus, State, Status,
};
use portcullis_policy::guard::{Answer, GatePolicy, Policies, Response};
use portcullis_policy::model::{EndpointSpec, InterfaceRef, Mode, Owner, UnboundPolicy, Workload};
use tokio::sync::broadcast;

/// How many events a subscriber may be behind.
pub const CHANNEL: usize = 8;

/// The core.
pub struct Fake {
    pub map: Mutex<ContainerMap>,
    pub actions: Mutex<Vec<(Response, ActionOutcome, u64)>>,
    pub policies: Mutex<BTreeMap<String, PolicyView>>,
    sources: Vec<SourceStatus>,
    pub endpoints: Mutex<BTreeMap<String, Endpoint>>,
    pub not_ready: Mutex<Option<String>>,
    pub past: Mutex<Vec<Arc<Event>>>,
    events: broadcast::Sender<Arc<Event>>,
}

impl Fake {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            map: Mutex::default(),
            actions: Mutex::default(),
            policies: Mutex::default(),
            sources: sources(),
            endpoints: Mutex::default(),
            not_ready: Mutex::default(),
            past: Mutex::default(),
            events: broadcast::channel(CHANNEL).0,
        })
    }

    /// With endpoints of these names.
    pub fn with(names: &[&str]) -> Arc<Self> {
        let fake = Self::new();
        for name in names {
            fake.bind(spec(name), Owner::Api, BindOptions::default()).unwrap();
        }
        fake
    }

    /// Something happens.
    pub fn tell(&self, event: Event) {
        let event = Arc::new(event);
        self.past.lock().unwrap().push(Arc::clone(&event));
        // Nobody need listen.
        let _ = self.events.send(event);
    }

    pub fn change(&self, key: &str, change: impl FnOnce(&mut Endpoint)) -> Result<Endpoint, Fault> {
        let mut endpoints = self.endpoints.lock().unwrap();
        let found = endpoints.values_mut().find(|e| e.id == key || e.name == key);
        let endpoint = found.ok_or_else(|| Fault::NotFound(format!("no endpoint {key:?}")))?;
        change(endpoint);
        Ok(endpoint.clone())
    }
}

/// One source that is read, one that is not there.
fn sources() -> Vec<SourceStatus> {
    let source = |name: &str, kind, state, containers| SourceStatus {
        name: name.into(),
        kind,
        socket: None,
        state,
        since: "2026-11-21T10:40:00Z".into(),
        message: None,
        containers,
        resyncs: 1,
    };
    vec![
        source("docker", Owner::Docker, SourceState::Connected, 3),
        source("podman:/run/user/7/podman.sock", Owner::Podman, SourceState::Absent, 0),
    ]
}

/// What an operator would ask for.
pub fn spec(name: &str) -> EndpointSpec {
    EndpointSpec {
        name: name.to_owned(),
        interface: InterfaceRef { name: "veth1".into(), netns: None },
        direction: Default::default(),
        addresses: vec!["10.0.0.2".parse().unwrap()],
        macs: vec![],
        mode: Mode::Enforce,
        allow: vec![],
        vlans: vec![],
        ethertypes: vec![],
        quarantined: false,
        workload: Workload::default(),
        network: None,
        inside: None,
    }
}

/// A drop of `endpoint`.
pub fn drop_of(endpoint: &str, reason: &str) -> Event {
    Event::Drop(Box::new(DropRecord {
        time: "2026-11-21T10:40:00.000000001Z".into(),
        endpoint: Some(endpoint.into()),
        interface: Some("veth1".into()),
        ifindex: 12,
        netns: 4_026_531_840,
        reason: reason.into(),
        verdict: "dropped".into(),
        rule: None,
        claimed: Claimed { mac: None, address: Some("10.0.0.3".into()) },
        bound: vec!["10.0.0.2".into()],
        sender: Sender::default(),
        length: 60,
        summary: "IPv4 10.0.0.3 > 10.0.0.1 UDP".into(),
        frame: "0242".into(),
    }))
}

/// A notice.
pub fn notice_of(endpoint: &str, topic: &str) -> Event {
    Event::Notice(Notice {
        time: "2026-11-21T10:40:00Z".into(),
        topic: topic.into(),
        endpoint: Some(endpoint.into()),
        message: format!("{endpoint}: {topic}"),
    })
}

fn endpoint(id: usize, spec: EndpointSpec, owner: Owner) -> Endpoint {
    let state = if spec.interface.name == "gone" { EndpointState::Waiting } else { EndpointState::Active };
    Endpoint {
        id: format!("ep{id}"),
        name: spec.name,
        workload: spec.workload,
        interface: Interface { name: spec.interface.name, index: Some(12), netns: None },
        direction: spec.direction,
        addresses: spec.addresses.iter().map(ToString::to_string).collect(),
        macs: vec!["02:42:0a:00:00:02".into()],
        learned: vec![],
        mode: spec.mode,
        state,
        message: None,
        allow: spec.allow,
        vlans: vec![],
        ethertypes: vec![],
        owner,
        sources: vec![owner],
        conflicts: vec![],
        network: spec.network,
        inside: spec.inside,
        policies: vec![],
        answer: Answer::default(),
        attempts: 0,
        since: "2026-11-21T10:40:00Z".into(),
        counters: Counters {
            allowed: Count { packets: 1, bytes: 98 },
            dropped: Count { packets: 2, bytes: 120 },
            reasons: [("spoofed-ipv4".to_owned(), 2)].into(),
            ..Counters::default()
        },
    }
}

impl Control for Fake {
    fn status(&self) -> Status {
        let total = u32::try_from(self.endpoints.lock().unwrap().len()).unwrap();
        Status {
            version: "0.1.0".into(),
            pid: 7,
            started: "2026-11-21T10:40:00Z".into(),
            kernel: "6.18.0".into(),
            attachment: "tcx".into(),
            bpffs: "/sys/fs/bpf/portcullis".into(),
            state_file: "/var/lib/portcullis/state.redb".into(),
            unbound: UnboundPolicy::Allow,
            endpoints: EndpointTotals { total, active: total, capacity: 16_384, ..Default::default() },
            counters: Counters::default(),
            events_lost: 3,
            repairs: 4,
            warnings: vec![],
            coverage: vec![],
            sources: self.sources.clone(),
        }
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.endpoints.lock().unwrap().values().cloned().collect()
    }

    fn endpoint(&self, id_or_name: &str) -> Result<Endpoint, Fault> {
        self.change(id_or_name, |_| ())
    }

    fn bind(
        &self,
        spec: EndpointSpec,
        owner: Owner,
        options: BindOptions,
    ) -> Result<(Endpoint, Outcome), Fault> {
        if spec.interface.name == "gone" && !options.allow_missing {
            return Err(Fault::NotFound("no interface \"gone\"".into()));
        }
        if spec.name == "rival" {
            return Err(Fault::Conflict("10.0.0.2 is bound to \"web\" already".into()));
        }
        if spec.name == "broken" {
            return Err(Fault::Failed("the kernel said no\nand why".into()));
        }
        if spec.addresses.is_empty() {
            return Err(Fault::Invalid("an endpoint needs an address".into()));
        }
        let mut endpoints = self.endpoints.lock().unwrap();
        let id = endpoints.len();
        let (id, outcome) = match endpoints.get(&spec.name) {
            None => (id, Outcome::Created),
            Some(old) if old.mode == spec.mode => return Ok((old.clone(), Outcome::Unchanged)),
            Some(_) => (id, Outcome::Updated),
        };
        let made = endpoint(id, spec, owner);
        endpoints.insert(made.name.clone(), made.clone());
        Ok((made, outcome))
    }

    fn unbind(&self, id_or_name: &str) -> Result<Endpoint, Fault> {
        let found = self.endpoint(id_or_name)?;
        self.endpoints.lock().unwrap().remove(&found.name);
        Ok(found)
    }

    fn patch(&self, id_or_name: &str, patch: EndpointPatch) -> Result<Endpoint, Fault> {
        self.change(id_or_name, |endpoint| endpoint.mode = patch.mode.unwrap_or(endpoint.mode))
    }

    fn quarantine(&self, id_or_name: &str, quarantined: bool) -> Result<Endpoint, Fault> {
        let state = if quarantined { EndpointState::Quarantined } else { EndpointState::Active };
        self.change(id_or_name, |endpoint| endpoint.state = state)
    }

    fn state(&self) -> State {
        State {
            endpoints: self.endpoints.lock().unwrap().keys().map(|name| spec(name)).collect(),
            ..State::default()
        }
    }

    fn apply(&self, state: State, _force: bool) -> Result<(u32, u32, u32), Fault> {
        if state.endpoints.iter().any(|spec| spec.name == "rival") {
            return Err(Fault::Conflict("10.0.0.2 is wanted twice".into()));
        }
        let removed = std::mem::take(&mut *self.endpoints.lock().unwrap()).len();
        let created = state.endpoints.len();
        for spec in state.endpoints {
            self.bind(spec, Owner::Api, BindOptions::default())?;
        }
        Ok((u32::try_from(created).unwrap(), 0, u32::try_from(removed).unwrap()))
    }

    /// What the plugin tells of is an endpoint named `CONTAINER/INTERFACE`; to bind `slow0` takes a while.
    fn cni_attach(&self, interface: &str, attachment: CniAttachment) -> Result<Endpoint, Fault> {
        if interface == "slow0" {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let container = attachment.workload.container.clone().unwrap();
        let spec =
            EndpointSpec { addresses: attachment.addresses, ..spec(&format!("{container}/{interface}")) };
        Ok(self.bind(spec, Owner::Cni, BindOptions::default())?.0)
    }

    fn cni_get(&self, container: &str, interface: &str) -> Result<Endpoint, Fault> {
        let found = self.endpoint(&format!("{container}/{interface}"));
        found.map_err(|_| Fault::NotFound(format!("nothing is bound for {interface} of {container}")))
    }

    fn cni_detach(&self, container: &str, interface: &str) -> bool {
        self.endpoints.lock().unwrap().remove(&format!("{container}/{interface}")).is_some()
    }

    fn cni_collect(&self, garbage: CniGarbage) -> u32 {
        let valid: Vec<String> =
            garbage.valid.iter().map(|valid| format!("{}/{}", valid.container, valid.interface)).collect();
        let mut endpoints = self.endpoints.lock().unwrap();
        let before = endpoints.len();
        endpoints.retain(|name, endpoint| endpoint.owner != Owner::Cni || valid.contains(name));
        u32::try_from(before - endpoints.len()).unwrap()
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    fn history(&self, limit: usize) -> Vec<Arc<Event>> {
        let past = self.past.lock().unwrap();
        past[past.len().saturating_sub(limit)..].to_vec()
    }

    fn policies(&self) -> Vec<PolicyView> {
        self.policies.lock().unwrap().values().cloned().collect()
    }

    fn put_policy(&self, policy: GatePolicy) -> Result<(PolicyView, Outcome), Fault> {
        Policies::new(vec![policy.clone()]).map_err(|errors| Fault::Invalid(errors.to_string()))?;
        let mut policies = self.policies.lock().unwrap();
        let before = policies.get(&policy.name);
        if before.is_some_and(|view| view.owner == Owner::File) {
            return Err(Fault::Conflict("it is declared in the configuration file".into()));
        }
        let outcome = match before {
            None => Outcome::Created,
            Some(view) if view.policy == policy => Outcome::Unchanged,
            Some(_) => Outcome::Updated,
        };
        let view = PolicyView { policy, owner: Owner::Api, endpoints: vec![], warning: Some("none".into()) };
        policies.insert(view.policy.name.clone(), view.clone());
        Ok((view, outcome))
    }

    fn remove_policy(&self, name: &str) -> Result<PolicyView, Fault> {
        let found = self.policies.lock().unwrap().remove(name);
        found.ok_or_else(|| Fault::NotFound(format!("there is no policy {name:?}")))
    }

    fn map(&self) -> ContainerMap {
        self.map.lock().unwrap().clone()
    }

    fn actions(&self) -> Vec<(Response, ActionOutcome, u64)> {
        self.actions.lock().unwrap().clone()
    }

    fn ready(&self) -> Result<(), String> {
        self.not_ready.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}
