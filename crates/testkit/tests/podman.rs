//! The agent with a real Podman service.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod containers;

use containers::{attempts, lab, leaks, scenarios, source, source_state, until, wait_bound, wait_gone};
use portcullis_policy::api::SourceState;
use portcullis_policy::model::Owner;
use portcullis_testkit::{Agent, Forgery, Lab, Podman, RunOptions, checked_output, ping};

fn start() -> (Lab, Podman, Agent) {
    let lab = lab();
    let podman = Podman::start(lab.host()).unwrap();
    let agent = containers::agent(&lab, &source("podman", podman.api().socket()));
    (lab, podman, agent)
}

#[test]
fn honest_containers_are_bound_and_boot_without_a_hostile_attempt() {
    let (lab, podman, agent) = start();
    scenarios::honest_containers_are_bound_and_boot_without_a_hostile_attempt(
        &lab,
        &agent,
        podman.api(),
        Owner::Podman,
    );
}

#[test]
fn networks_come_and_go_while_a_container_runs() {
    let (_lab, podman, agent) = start();
    scenarios::networks_come_and_go_while_a_container_runs(&agent, podman.api());
}

#[test]
fn a_container_that_forges_from_its_first_instruction() {
    let (_lab, podman, agent) = start();
    scenarios::a_container_that_forges_from_its_first_instruction(&agent, podman.api());
}

#[test]
fn an_address_is_used_again_at_once() {
    let (_lab, podman, agent) = start();
    scenarios::an_address_is_used_again_at_once(&agent, podman.api());
}

#[test]
fn what_cannot_be_bound_is_said() {
    let (lab, podman, agent) = start();
    scenarios::what_cannot_be_bound_is_said(&lab, &agent, podman.api());
}

#[test]
fn the_service_goes_and_comes_back() {
    let (_lab, mut podman, agent) = start();
    let api = podman.api();
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
    podman.stop_service().unwrap();
    until(&agent, "the agent to notice", || source_state(&agent, Owner::Podman) != SourceState::Connected);
    // Podman needs no service: containers come and go without it.
    let line = |arguments: &[&str]| checked_output(podman.command().unwrap().args(arguments)).unwrap();
    line(&["rm", "--force", "--time", "1", "dies"]);
    let before = attempts(&agent, "mallory");
    until(&agent, "forgeries while the service is away", || attempts(&agent, "mallory") > before + 100);
    for address in &far {
        assert!(ping(&stays, address, 5).unwrap().none_lost(), "{address}");
    }
    podman.start_service().unwrap();
    until(&agent, "the agent to be back", || source_state(&agent, Owner::Podman) == SourceState::Connected);
    wait_gone(&agent, "dies");
    wait_bound(&agent, "stays", "blue");
    podman.api().run("new", &RunOptions::new().network("blue", &[])).unwrap();
    wait_bound(&agent, "new", "blue");
    assert_eq!(listener.stop().unwrap(), 0);
    assert_eq!(attempts(&agent, "stays"), 0);
}
