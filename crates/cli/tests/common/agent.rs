//! An agent without a kernel: the real API over endpoints in memory, on a socket of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use portcullis_agent::api::{UnixEndpoint, router, serve_unix};
use portcullis_agent::control::{BindOptions, Control, Fault, Outcome};
use portcullis_policy::api::{
    Action, ContainerMap, DropRecord, Endpoint, EndpointPatch, Event, Notice, PolicyView, State, Status,
};
use portcullis_policy::guard::{GatePolicy, Policies};
use portcullis_policy::model::{EndpointSpec, Owner};
use serde_json::json;
use tokio::sync::{broadcast, oneshot};

use crate::common::{portcullis, said};

/// A running agent; stops when it goes out of scope.
pub struct FakeAgent {
    dir: tempfile::TempDir,
    core: Arc<Core>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeAgent {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let core = Arc::new(Core::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (socket, control) = (dir.path().join("s.sock"), Arc::clone(&core));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let endpoint = UnixEndpoint::bind(&socket).unwrap();
                ready.send(()).unwrap();
                let until = async move {
                    let _stopped = stopped.await;
                };
                serve_unix(endpoint, router(control), until).await;
            });
        });
        is_ready.recv().unwrap();
        Self { dir, core, stop: Some(stop), thread: Some(thread) }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("s.sock")
    }

    /// A command line that asks this agent, words parted by blanks.
    pub fn command(&self, line: &str) -> Command {
        let mut command = portcullis();
        command.env("PORTCULLIS_SOCKET", self.socket()).args(line.split(' '));
        command
    }

    pub fn run(&self, line: &str) -> (i32, String, String) {
        said(self.command(line).output().unwrap())
    }

    /// Lets the agent tell of an action.
    #[allow(dead_code, reason = "not every test file tells of actions")]
    pub fn act(&self, action: Action) {
        let event = Arc::new(Event::Action(Box::new(action)));
        self.core.history.lock().unwrap().push(Arc::clone(&event));
        let _nobody = self.core.events.send(event);
    }

    /// Lets the agent know these containers: `name state network runtime app` each.
    #[allow(dead_code, reason = "not every test file asks for the map")]
    pub fn knows(&self, containers: &[[&str; 5]]) {
        let rows = containers.iter().map(|[name, state, network, runtime, app]| {
            json!({"container": name, "workload": {"runtime": runtime, "container": name, "labels": {"app": app}},
                   "network": network, "inside": "eth0", "interface": {"name": format!("veth-{name}"), "index": 12,
                   "netns": null}, "addresses": ["172.18.0.2"], "macs": [], "endpoint": name, "state": state,
                   "message": null, "sources": ["docker"], "since": null})
        });
        let map = json!({"rows": rows.collect::<Vec<_>>(), "sources": []});
        *self.core.map.lock().unwrap() = serde_json::from_value(map).unwrap();
    }

    /// Lets the agent tell of a drop.
    pub fn tell(&self, drop: DropRecord) {
        let event = Arc::new(Event::Drop(Box::new(drop)));
        self.core.history.lock().unwrap().push(Arc::clone(&event));
        let _nobody = self.core.events.send(event);
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        let _gone = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the agent's thread panicked");
        }
    }
}

/// A drop of `endpoint`.
pub fn a_drop(endpoint: &str, reason: &str) -> DropRecord {
    serde_json::from_value(json!({
        "time": "2026-11-21T10:00:00.123456789Z", "endpoint": endpoint, "interface": "veth1", "ifindex": 12,
        "netns": 1, "reason": reason, "verdict": "dropped", "claimed": {"mac": null, "address": "192.0.2.10"},
        "bound": ["10.0.0.2"], "sender": {"cgroup_id": 1, "cgroup": null, "pid": null, "command": null},
        "length": 42, "summary": "IPv4 192.0.2.10 > 10.0.0.1",
        "frame": "ffffffffffff02420a00000208004500001c0001000040110000c000020a0a0000010001000200080000"
    }))
    .unwrap()
}

struct Core {
    map: Mutex<ContainerMap>,
    specs: Mutex<Vec<EndpointSpec>>,
    policies: Mutex<Vec<PolicyView>>,
    history: Mutex<Vec<Arc<Event>>>,
    events: broadcast::Sender<Arc<Event>>,
}

impl Default for Core {
    fn default() -> Self {
        Self {
            map: Mutex::default(),
            specs: Mutex::default(),
            policies: Mutex::default(),
            history: Mutex::default(),
            events: broadcast::channel(64).0,
        }
    }
}

impl Core {
    fn with<T>(&self, name: &str, act: impl FnOnce(&mut EndpointSpec) -> T) -> Result<T, Fault> {
        let mut specs = self.specs.lock().unwrap();
        let found = specs.iter_mut().find(|spec| spec.name == name || id(&spec.name) == name);
        found.map(act).ok_or_else(|| Fault::NotFound(format!("there is no endpoint {name:?}")))
    }
}

fn id(name: &str) -> String {
    format!("id-{name}")
}

fn shown(spec: &EndpointSpec) -> Endpoint {
    serde_json::from_value(json!({
        "id": id(&spec.name), "name": spec.name, "workload": spec.workload,
        "interface": {"name": spec.interface.name, "index": 12, "netns": spec.interface.netns},
        "direction": spec.direction, "addresses": spec.addresses, "macs": spec.macs, "learned": [],
        "mode": spec.mode, "state": if spec.quarantined { "quarantined" } else { "active" },
        "allow": spec.allow, "vlans": spec.vlans, "ethertypes": spec.ethertypes, "owner": "api",
        "since": "2026-11-21T10:00:00Z", "network": spec.network, "inside": spec.inside, "sources": ["api"],
        "counters": {"allowed": {"packets": 5, "bytes": 490}, "dropped": {"packets": 2, "bytes": 120},
                     "reasons": {"spoofed-ipv4": 2}}
    }))
    .unwrap()
}

impl Control for Core {
    fn status(&self) -> Status {
        serde_json::from_value(json!({
            "version": "0.1.0", "pid": 1, "started": "2026-11-21T08:00:00Z", "kernel": "6.18.0", "attachment": "tcx",
            "bpffs": "/b", "state_file": "/s", "unbound": "drop",
            "endpoints": {"total": 0, "active": 0, "waiting": 0, "quarantined": 0, "failed": 0, "capacity": 10},
            "counters": {"allowed": {"packets": 0, "bytes": 0}, "dropped": {"packets": 0, "bytes": 0}, "reasons": {}},
            "events_lost": 0, "repairs": 0, "warnings": [], "coverage": []
        }))
        .unwrap()
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.specs.lock().unwrap().iter().map(shown).collect()
    }

    fn endpoint(&self, id_or_name: &str) -> Result<Endpoint, Fault> {
        self.with(id_or_name, |spec| shown(spec))
    }

    fn bind(&self, spec: EndpointSpec, _: Owner, options: BindOptions) -> Result<(Endpoint, Outcome), Fault> {
        if spec.interface.name == "absent" && !options.allow_missing {
            return Err(Fault::NotFound("interface absent does not exist".into()));
        }
        if spec.name.starts_with('-') || spec.name.contains(' ') {
            return Err(Fault::Invalid(format!("{:?} is not a name", spec.name)));
        }
        let mut specs = self.specs.lock().unwrap();
        let clash = |other: &&EndpointSpec| other.name != spec.name && other.interface == spec.interface;
        if let Some(other) = specs.iter().find(clash) {
            return Err(Fault::Conflict(format!("{} is bound as {:?}", spec.interface.name, other.name)));
        }
        let before = specs.len();
        specs.retain(|other| other.name != spec.name);
        let outcome = if specs.len() == before { Outcome::Created } else { Outcome::Updated };
        let endpoint = shown(&spec);
        specs.push(spec);
        Ok((endpoint, outcome))
    }

    fn unbind(&self, id_or_name: &str) -> Result<Endpoint, Fault> {
        let endpoint = self.endpoint(id_or_name)?;
        self.specs.lock().unwrap().retain(|spec| spec.name != endpoint.name);
        Ok(endpoint)
    }

    fn patch(&self, id_or_name: &str, patch: EndpointPatch) -> Result<Endpoint, Fault> {
        self.with(id_or_name, |spec| {
            spec.mode = patch.mode.unwrap_or(spec.mode);
            shown(spec)
        })
    }

    fn quarantine(&self, id_or_name: &str, quarantined: bool) -> Result<Endpoint, Fault> {
        self.with(id_or_name, |spec| {
            spec.quarantined = quarantined;
            shown(spec)
        })
    }

    fn state(&self) -> State {
        let policies = self.policies.lock().unwrap().iter().map(|view| view.policy.clone()).collect();
        State { endpoints: self.specs.lock().unwrap().clone(), policies, ..State::default() }
    }

    fn policies(&self) -> Vec<PolicyView> {
        self.policies.lock().unwrap().clone()
    }

    fn put_policy(&self, policy: GatePolicy) -> Result<(PolicyView, Outcome), Fault> {
        if policy.name == "of-file" {
            return Err(Fault::Conflict("it is declared in the configuration file".into()));
        }
        Policies::new(vec![policy.clone()]).map_err(|errors| Fault::Invalid(errors.to_string()))?;
        let specs = self.specs.lock().unwrap();
        let matched = specs.iter().filter(|spec| policy.selector.matches(spec));
        let endpoints: Vec<String> = matched.map(|spec| spec.name.clone()).collect();
        let warning = endpoints.is_empty().then(|| "it matches no endpoint now".to_owned());
        let view = PolicyView { policy, owner: Owner::Api, endpoints, warning };
        let mut policies = self.policies.lock().unwrap();
        let before = policies.len();
        policies.retain(|other| other.policy.name != view.policy.name);
        let outcome = if policies.len() == before { Outcome::Created } else { Outcome::Updated };
        policies.push(view.clone());
        Ok((view, outcome))
    }

    fn remove_policy(&self, name: &str) -> Result<PolicyView, Fault> {
        let mut policies = self.policies.lock().unwrap();
        let found = policies.iter().position(|view| view.policy.name == name);
        found
            .map(|at| policies.remove(at))
            .ok_or_else(|| Fault::NotFound(format!("there is no policy {name:?}")))
    }

    fn apply(&self, state: State, _force: bool) -> Result<(u32, u32, u32), Fault> {
        let mut specs = self.specs.lock().unwrap();
        let kept = specs.iter().filter(|old| state.endpoints.iter().any(|new| new.name == old.name)).count();
        let counts = (state.endpoints.len() - kept, kept, specs.len() - kept);
        *specs = state.endpoints;
        Ok((counts.0 as u32, counts.1 as u32, counts.2 as u32))
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        let receiver = self.events.subscribe();
        // Followers must pass over what is no drop.
        let notice =
            Notice { time: String::new(), topic: "bound".into(), endpoint: None, message: String::new() };
        let _nobody = self.events.send(Arc::new(Event::Notice(notice)));
        receiver
    }

    fn history(&self, limit: usize) -> Vec<Arc<Event>> {
        let history = self.history.lock().unwrap();
        history[history.len().saturating_sub(limit)..].to_vec()
    }

    fn map(&self) -> ContainerMap {
        self.map.lock().unwrap().clone()
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}
