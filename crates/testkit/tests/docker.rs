//! The agent with a real Docker daemon.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod containers;

use containers::{attempts, lab, leaks, rows, scenarios, source, source_state, until, wait_bound, wait_gone};
use portcullis_policy::api::{EndpointState, SourceState};
use portcullis_policy::model::Owner;
use portcullis_testkit::{Agent, Docker, Forgery, Lab, RunOptions, ping};
use rustix::process::{Pid, Signal, kill_process};

fn start() -> (Lab, Docker, Agent) {
    let lab = lab();
    let docker = Docker::start(lab.host()).unwrap();
    let agent = containers::agent(&lab, &source("docker", docker.api().socket()));
    (lab, docker, agent)
}

#[test]
fn honest_containers_are_bound_and_boot_without_a_hostile_attempt() {
    let (lab, docker, agent) = start();
    scenarios::honest_containers_are_bound_and_boot_without_a_hostile_attempt(
        &lab,
        &agent,
        docker.api(),
        Owner::Docker,
    );
}

#[test]
fn networks_come_and_go_while_a_container_runs() {
    let (_lab, docker, agent) = start();
    scenarios::networks_come_and_go_while_a_container_runs(&agent, docker.api());
}

#[test]
fn a_container_that_forges_from_its_first_instruction() {
    let (_lab, docker, agent) = start();
    scenarios::a_container_that_forges_from_its_first_instruction(&agent, docker.api());
}

#[test]
fn an_address_is_used_again_at_once() {
    let (_lab, docker, agent) = start();
    scenarios::an_address_is_used_again_at_once(&agent, docker.api());
}

#[test]
fn what_cannot_be_bound_is_said() {
    let (lab, docker, agent) = start();
    scenarios::what_cannot_be_bound_is_said(&lab, &agent, docker.api());
}

#[test]
fn a_container_is_renamed() {
    let (_lab, docker, agent) = start();
    scenarios::a_container_is_renamed(&agent, docker.api());
}

#[test]
fn what_ran_before_the_agent_is_found() {
    let lab = lab();
    let docker = Docker::start(lab.host()).unwrap();
    scenarios::dual(docker.api(), "blue", 1);
    docker.api().run("old", &RunOptions::new().network("blue", &[])).unwrap();
    docker.api().run("default", &RunOptions::new()).unwrap();
    let agent = containers::agent(&lab, &source("docker", docker.api().socket()));
    wait_bound(&agent, "old", "blue");
    wait_bound(&agent, "default", "bridge");
    docker.api().restart("old").unwrap();
    wait_bound(&agent, "old", "blue");
    assert_eq!(attempts(&agent, "old"), 0);
}

#[test]
fn the_daemon_goes_and_comes_back() {
    let (_lab, mut docker, agent) = start();
    let api = docker.api();
    scenarios::dual(api, "blue", 1);
    for name in ["far", "stays", "dies"] {
        api.run(name, &RunOptions::new().network("blue", &[])).unwrap();
    }
    let mallory = RunOptions::new().network("blue", &[]).forging("eth0", &Forgery::ALL, 0, 500);
    api.run("mallory", &mallory).unwrap();
    for name in ["far", "stays", "dies", "mallory"] {
        wait_bound(&agent, name, "blue");
    }
    let listener = leaks(&api.namespace("far").unwrap(), "eth0");
    let (stays, far) = (api.namespace("stays").unwrap(), api.addresses("far", "blue").unwrap());
    for killed in [false, true] {
        let doomed = docker.api().pid("dies").unwrap();
        if killed { docker.kill_daemon() } else { docker.stop_daemon() }.unwrap();
        until(&agent, "the agent to notice", || {
            source_state(&agent, Owner::Docker) != SourceState::Connected
        });
        // Nobody tells of it: found by the resync.
        kill_process(Pid::from_raw(doomed.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
        let before = attempts(&agent, "mallory");
        until(&agent, "forgeries while the daemon is away", || attempts(&agent, "mallory") > before + 100);
        for address in &far {
            assert!(ping(&stays, address, 5).unwrap().none_lost(), "{address}");
        }
        docker.start_daemon().unwrap();
        until(&agent, "the agent to be back", || {
            source_state(&agent, Owner::Docker) == SourceState::Connected
        });
        wait_gone(&agent, "dies");
        wait_bound(&agent, "stays", "blue");
        docker.api().start("dies").unwrap();
        wait_bound(&agent, "dies", "blue");
    }
    assert_eq!(listener.stop().unwrap(), 0);
    assert_eq!(attempts(&agent, "stays"), 0);
}

#[test]
fn the_agent_is_killed_while_containers_come_and_go() {
    let (_lab, docker, mut agent) = start();
    let api = docker.api();
    scenarios::dual(api, "blue", 1);
    api.run("far", &RunOptions::new().network("blue", &[])).unwrap();
    let tenant = || RunOptions::new().network("blue", &["10.177.1.30", "fd77:1::30"]);
    api.run("dies", &tenant()).unwrap();
    let mallory = RunOptions::new().network("blue", &[]).forging("eth0", &Forgery::ALL, 0, 500);
    api.run("mallory", &mallory).unwrap();
    for name in ["far", "dies", "mallory"] {
        wait_bound(&agent, name, "blue");
    }
    let listener = leaks(&api.namespace("far").unwrap(), "eth0");
    agent.kill9().unwrap();
    api.remove("dies").unwrap();
    // The address is somebody else's when the agent comes back.
    api.run("heir", &tenant()).unwrap();
    agent.restart().unwrap();
    wait_bound(&agent, "heir", "blue");
    wait_gone(&agent, "dies");
    assert_eq!(rows(&agent, "heir").len(), 1);
    let inside = api.namespace("heir").unwrap();
    for address in api.addresses("far", "blue").unwrap() {
        assert!(ping(&inside, &address, 5).unwrap().none_lost(), "{address}");
    }
    assert_eq!(attempts(&agent, "heir"), 0);
    // The one that was bound was so all the time.
    assert_eq!(listener.stop().unwrap(), 0);

    // Killed between a container's start and its binding: bound when it is back.
    api.create("late", &RunOptions::new().network("blue", &[]).forging("eth0", &Forgery::ALL, 0, 500))
        .unwrap();
    let pid = agent.pid().unwrap();
    let starter = std::thread::scope(|scope| {
        let starting = scope.spawn(|| api.start("late"));
        kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
        starting.join()
    });
    starter.unwrap().unwrap();
    agent.kill9().unwrap();
    agent.restart().unwrap();
    wait_bound(&agent, "late", "blue");
    let listener = leaks(&api.namespace("far").unwrap(), "eth0");
    let before = attempts(&agent, "late");
    until(&agent, "its forgeries", || attempts(&agent, "late") > before + 100);
    assert_eq!(listener.stop().unwrap(), 0);
}

/// By hand rules over what a source says, at whose interface it may be; nothing forged passes while they change
/// places, and what they do not agree on is said.
#[test]
fn binding_by_hand_rules_over_the_runtime() {
    let (_lab, docker, agent) = start();
    let api = docker.api();
    api.run("far", &RunOptions::new()).unwrap();
    let listener = leaks(&api.namespace("far").unwrap(), "eth0");
    let mallory = RunOptions::new().forging("eth0", &[Forgery::Ipv4, Forgery::Mac], 0, 200);
    api.run("mallory", &mallory).unwrap();
    let found = wait_bound(&agent, "mallory", "bridge");
    let interface = found.interface.unwrap().name;

    agent
        .cli_ok(&["endpoint", "bind", "by-hand", "--interface", &interface, "--address", "172.30.0.99"])
        .unwrap();
    let endpoint = agent.endpoint("by-hand").unwrap();
    assert_eq!((endpoint.owner, endpoint.sources.as_slice()), (Owner::Api, &[Owner::Api, Owner::Docker][..]));
    let said = format!("{} {:?}", endpoint.conflicts.join(" "), agent.status().unwrap().warnings);
    assert!(said.contains(&found.addresses[0]) && said.contains("by hand"), "{said}");
    assert_eq!(rows(&agent, "mallory").len(), 1, "one interface, one row");
    let before = endpoint.attempts;
    until(&agent, "more forgeries", || agent.endpoint("by-hand").unwrap().attempts > before + 100);

    // What is the runtime's cannot be unbound; what was bound by hand can, and then the runtime's word counts.
    agent.cli_ok(&["endpoint", "unbind", "by-hand"]).unwrap();
    let again = wait_bound(&agent, "mallory", "bridge");
    assert_eq!(again.addresses, found.addresses);
    let refused = agent.cli(&["endpoint", "unbind", "mallory"]).unwrap();
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    until(&agent, "still more", || agent.endpoint("mallory").unwrap().attempts > 100);

    // A quarantine is the workload's, whoever binds it; and so is its end.
    let state = |name: &str| agent.endpoint(name).unwrap().state;
    agent.cli_ok(&["endpoint", "quarantine", "mallory"]).unwrap();
    let address = &found.addresses[0];
    agent.cli_ok(&["endpoint", "bind", "by-hand", "--interface", &interface, "--address", address]).unwrap();
    assert_eq!(state("by-hand"), EndpointState::Quarantined);
    agent.cli_ok(&["endpoint", "release", "by-hand"]).unwrap();
    agent.cli_ok(&["endpoint", "unbind", "by-hand"]).unwrap();
    assert_eq!(state("mallory"), EndpointState::Active);
    assert_eq!(listener.stop().unwrap(), 0);
}
