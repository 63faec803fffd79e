//! The answer, looked at closely: what exactly still gets through, what counts within a window, whom it hits,
//! how long it holds, and how an operator changes it while containers run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod containers;

use std::time::{Duration, Instant};

use containers::{attempts, lab, leaks, scenarios, source, until, wait_bound, wait_gone, wait_state};
use portcullis_abi::{Ipv4, Mac};
use portcullis_policy::api::{Action, ActionOutcome, Event, MapState};
use portcullis_policy::guard::{Answer, Response};
use portcullis_testkit::{
    Agent, AgentOptions, Docker, Engine, EventStream, Forgery, Lab, Listener, PacketSocket, RunOptions,
    forge_udp4, ping, tagged_payload,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

const HONEST: &[u8] = b"pc-honest";

/// Docker, an agent with this configuration, and one container that listens.
struct Stage {
    agent: Agent,
    docker: Docker,
    _lab: Lab,
}

impl Stage {
    fn new(config: &str) -> Self {
        Self::with(config, &[])
    }

    fn with(config: &str, arguments: &[&str]) -> Self {
        let lab = lab();
        let docker = Docker::start(lab.host()).unwrap();
        let config = format!("{config}\n{}", source("docker", docker.api().socket()));
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let agent = Agent::start_with(&lab, &AgentOptions { config: Some(config), arguments }).unwrap();
        let stage = Self { agent, docker, _lab: lab };
        scenarios::dual(stage.api(), "blue", 1);
        stage.run("far");
        stage
    }

    fn api(&self) -> &Engine {
        self.docker.api()
    }

    /// A container that does nothing by itself.
    fn run(&self, name: &str) {
        self.api().run(name, &RunOptions::new().network("blue", &[])).unwrap();
        wait_bound(&self.agent, name, "blue");
    }

    fn socket(&self, name: &str) -> (PacketSocket, Mac) {
        let socket = self.api().namespace(name).unwrap().socket("eth0").unwrap();
        (socket, self.api().mac(name, "blue").unwrap().parse().unwrap())
    }

    fn forge(&self, name: &str, frames: usize) {
        let (socket, mac) = self.socket(name);
        (0..frames).for_each(|_| socket.send(&Forgery::Ipv4.frame(mac)).unwrap());
    }

    /// What its own address says, to everybody.
    fn honest_frame(&self, name: &str) -> Vec<u8> {
        let mac = self.api().mac(name, "blue").unwrap().parse().unwrap();
        let address: std::net::Ipv4Addr = self.api().addresses(name, "blue").unwrap()[0].parse().unwrap();
        forge_udp4((mac, address.into()), (Mac::BROADCAST, Ipv4([255; 4])), HONEST)
    }

    fn reaches(&self, name: &str) -> bool {
        let inside = self.api().namespace(name).unwrap();
        let far = self.api().addresses("far", "blue").unwrap();
        far.iter().all(|address| ping(&inside, address, 3).unwrap().none_lost())
    }

    fn action(&self, events: &EventStream, endpoint: &str) -> Action {
        let of_it = |event: &Event| matches!(event, Event::Action(action) if action.endpoint == endpoint);
        match events.wait_for("an action", of_it) {
            Ok(Event::Action(action)) => *action,
            other => panic!("{other:?}; the log:\n{}", self.agent.log()),
        }
    }

    fn answer(&self, endpoint: &str) -> Answer {
        self.agent.endpoint(endpoint).unwrap().answer
    }
}

fn policy(answer: &str) -> String {
    format!("[[policy]]\nname = \"strict\"\nmatch = {{ name = \"mallory*\" }}\nattempts = 5\n{answer}\n")
}

/// One socket, so that the frames go one behind the other: exactly those before the fifth forgery arrive.
#[test]
fn the_frame_after_the_threshold_is_dropped_whatever_it_claims() {
    let stage = Stage::new(&policy("response = \"quarantine\""));
    stage.run("mallory");
    let far = stage.api().namespace("far").unwrap();
    let arrived = Listener::start(&far, "eth0", tagged_payload(HONEST)).unwrap();
    let leaked = leaks(&far, "eth0");
    let honest = stage.honest_frame("mallory");
    let (socket, mac) = stage.socket("mallory");
    for _ in 0..4 {
        socket.send(&honest).unwrap();
        socket.send(&Forgery::Arp.frame(mac)).unwrap();
    }
    socket.send(&honest).unwrap();
    socket.send(&Forgery::Arp.frame(mac)).unwrap();
    (0..200).for_each(|_| socket.send(&honest).unwrap());
    arrived.wait_for(5).unwrap();
    wait_state(&stage.agent, "mallory", MapState::Quarantined);
    // Had one more come through, it would be here: whoever is let be comes behind it.
    stage.run("witness");
    let inside = stage.api().namespace("witness").unwrap();
    inside.socket("eth0").unwrap().send(&stage.honest_frame("witness")).unwrap();
    arrived.wait_for(6).unwrap();
    assert_eq!((arrived.stop().unwrap(), leaked.stop().unwrap()), (6, 0));
    let endpoint = stage.agent.endpoint("mallory").unwrap();
    // What others send to it counts too.
    assert!(endpoint.counters.reasons["quarantined"] >= 200, "{:?}", endpoint.counters);
    assert_eq!(endpoint.attempts, 5);
}

#[test]
fn only_what_falls_within_the_window_counts() {
    let stage = Stage::new(&policy("window = \"2s\"\nresponse = \"quarantine\""));
    stage.run("mallory");
    for round in 1..=3 {
        stage.forge("mallory", 4);
        until(&stage.agent, "the attempts", || attempts(&stage.agent, "mallory") == 4 * round);
        // Longer than the window, as the test's subject; nothing waits for an outcome here.
        std::thread::sleep(Duration::from_millis(2600));
    }
    assert!(stage.reaches("mallory"), "twelve attempts, but never five within two seconds");
    let events = stage.agent.events().unwrap();
    stage.forge("mallory", 5);
    let action = stage.action(&events, "mallory");
    assert_eq!((action.attempts, action.threshold, action.window.to_string().as_str()), (5, 5, "2s"));
    assert!(!stage.reaches("mallory"));
}

#[test]
fn whoever_restarts_is_not_released_and_its_successor_is_free() {
    let stage = Stage::new(&policy("response = \"quarantine\""));
    stage.run("mallory");
    stage.forge("mallory", 5);
    wait_state(&stage.agent, "mallory", MapState::Quarantined);
    stage.api().restart("mallory").unwrap();
    wait_state(&stage.agent, "mallory", MapState::Quarantined);
    assert!(!stage.reaches("mallory"));
    stage.api().stop("mallory", 1).unwrap();
    wait_gone(&stage.agent, "mallory");
    stage.api().start("mallory").unwrap();
    wait_state(&stage.agent, "mallory", MapState::Quarantined);
    assert!(!stage.reaches("mallory"));
    stage.api().remove("mallory").unwrap();
    wait_gone(&stage.agent, "mallory");
    stage.run("mallory");
    assert!(stage.reaches("mallory"), "another container of that name is another container");
    // By hand it is no less persistent.
    stage.agent.cli_ok(&["endpoint", "quarantine", "mallory"]).unwrap();
    stage.api().restart("mallory").unwrap();
    wait_state(&stage.agent, "mallory", MapState::Quarantined);
    stage.agent.cli_ok(&["endpoint", "release", "mallory"]).unwrap();
    wait_bound(&stage.agent, "mallory", "blue");
    assert!(stage.reaches("mallory"));
    stage.api().restart("mallory").unwrap();
    wait_bound(&stage.agent, "mallory", "blue");
    assert!(stage.reaches("mallory"));
}

#[test]
fn a_quarantine_with_a_time_ends_whatever_the_container_is_called_by_then() {
    let stage = Stage::new(&policy("response = \"quarantine\"\nrelease_after = \"3s\""));
    stage.run("mallory");
    stage.forge("mallory", 5);
    wait_state(&stage.agent, "mallory", MapState::Quarantined);
    stage.api().rename("mallory", "mallory-2").unwrap();
    wait_bound(&stage.agent, "mallory-2", "blue");
    assert!(stage.reaches("mallory-2"));
}

/// A shared service address: of no single container.
#[test]
fn what_a_policy_grants_may_be_granted_to_several() {
    let shared = "10.177.1.200";
    let grant = format!("addresses = [\"{shared}\"]");
    let stage = Stage::new(&policy(&grant));
    for name in ["mallory-1", "mallory-2"] {
        stage.run(name);
        assert!(stage.agent.endpoint(name).unwrap().addresses.iter().any(|address| address == shared));
        assert!(stage.reaches(name));
    }
}

#[test]
fn of_containers_that_share_a_network_the_forger_is_ended() {
    let stage = Stage::new(&policy("response = \"terminate\""));
    stage.run("mallory-host");
    let events = stage.agent.events().unwrap();
    let guest = RunOptions::new().mode("container:mallory-host").forging("eth0", &[Forgery::Nd], 0, 20_000);
    stage.api().run("guest", &guest).unwrap();
    let action = stage.action(&events, "mallory-host");
    assert_eq!(action.outcome, ActionOutcome::Done, "{action:?}");
    assert!(action.message.contains("guest"), "{}", action.message);
    until(&stage.agent, "the guest's end", || stage.api().pid("guest").is_err());
    assert!(stage.api().pid("mallory-host").is_ok());
}

#[test]
fn audit_mode_ends_nobody() {
    let stage = Stage::new(&policy("mode = \"audit\"\nresponse = \"terminate\""));
    stage.run("mallory");
    let events = stage.agent.events().unwrap();
    let leaked = leaks(&stage.api().namespace("far").unwrap(), "eth0");
    stage.forge("mallory", 20);
    leaked.wait_for(20).unwrap();
    let action = stage.action(&events, "mallory");
    assert_eq!((action.response, action.outcome), (Response::Terminate, ActionOutcome::DryRun));
    assert!(stage.reaches("mallory"));
}

#[test]
fn a_dry_run_of_the_agent_is_for_every_policy() {
    let stage = Stage::with(&policy("response = \"terminate\"\ndry_run = false"), &["--dry-run"]);
    stage.run("mallory");
    assert!(stage.answer("mallory").dry_run);
    let events = stage.agent.events().unwrap();
    stage.forge("mallory", 20);
    assert_eq!(stage.action(&events, "mallory").outcome, ActionOutcome::DryRun);
    assert!(stage.reaches("mallory"));
}

#[test]
fn policies_change_while_containers_run_and_outlive_the_agent() {
    let mut stage = Stage::new(&policy("response = \"report\""));
    stage.run("web");
    assert_eq!(stage.answer("web"), Answer::default());
    let set = ["policy", "set", "web", "--match-name", "we*", "--match-network", "blue", "--attempts", "3"];
    let set = [&set[..], &["--window", "30s", "--response", "quarantine", "--release-after", "1h"]].concat();
    let told = stage.agent.cli_ok(&set).unwrap();
    assert_eq!(told, "policy \"web\" set: matches 1 endpoint\n");
    let wanted = stage.answer("web");
    assert_eq!((wanted.attempts, wanted.response), (3, Response::Quarantine));
    let test = stage.agent.cli_ok(&["policy", "test", "web"]).unwrap();
    assert!(test.contains("quarantine, released after 1h") && test.contains("decided by  web"), "{test}");
    stage.agent.kill9().unwrap();
    stage.agent.restart().unwrap();
    wait_bound(&stage.agent, "web", "blue");
    assert_eq!(stage.answer("web"), wanted, "policies are kept");
    stage.forge("web", 3);
    wait_state(&stage.agent, "web", MapState::Quarantined);
    assert!(!stage.reaches("web"));
    stage.agent.cli_ok(&["policy", "remove", "web"]).unwrap();
    assert_eq!(stage.answer("web"), Answer::default());
    assert!(!stage.reaches("web"), "the policy is gone, what it did is not undone");
    stage.agent.cli_ok(&["endpoint", "release", "web"]).unwrap();
    assert!(stage.reaches("web"));
    let nothing =
        stage.agent.cli(&["policy", "set", "none", "--match-image", "nobody/*", "--mode", "audit"]).unwrap();
    assert!(nothing.status.success() && !nothing.stderr.is_empty(), "{nothing:?}");
    let of_file = stage.agent.cli(&["policy", "remove", "strict"]).unwrap();
    assert_eq!(of_file.status.code(), Some(5), "{of_file:?}");
}

/// From the frame that was one too many until the container's first process is no more.
#[test]
fn a_container_ends_soon_after_the_threshold() {
    let stage = Stage::new(&policy("response = \"terminate\""));
    let events = stage.agent.events().unwrap();
    for n in 0..5 {
        let name = format!("mallory-{n}");
        stage.run(&name);
        let process = Pid::from_raw(stage.api().pid(&name).unwrap().try_into().unwrap()).unwrap();
        let process = pidfd_open(process, PidfdFlags::empty()).unwrap();
        stage.forge(&name, 4);
        let (socket, mac) = stage.socket(&name);
        let start = Instant::now();
        socket.send(&Forgery::Ipv4.frame(mac)).unwrap();
        poll(&mut [PollFd::new(&process, PollFlags::IN)], None).unwrap();
        let dead = start.elapsed();
        let action = stage.action(&events, &name);
        assert_eq!(action.outcome, ActionOutcome::Done, "{action:?}");
        println!("{name}: dead after {dead:?}, the runtime was done after {:.0} ms", action.took_ms);
        assert!(!action.frames.is_empty());
        assert_eq!((action.attempts, action.policy.as_deref()), (5, Some("strict")));
    }
}
