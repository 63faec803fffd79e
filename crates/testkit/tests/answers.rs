//! What becomes of real containers that keep forging.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod containers;

use containers::{attempts, lab, rows, scenarios, source, until, wait_bound, wait_state};
use portcullis_policy::api::{Action, ActionOutcome, Event, MapState};
use portcullis_policy::guard::Response;
use portcullis_testkit::{
    Agent, Conflist, Containerd, Docker, Engine, EventStream, Forgery, Lab, Podman, RunOptions, ping,
};

/// A policy for everything called `mallory…`: five attempts, then this.
fn policy(answer: &str) -> String {
    format!("[[policy]]\nname = \"strict\"\nmatch = {{ name = \"mallory*\" }}\nattempts = 5\n{answer}\n")
}

fn start(config: &str) -> (Lab, Docker, Agent) {
    let lab = lab();
    let docker = Docker::start(lab.host()).unwrap();
    let agent = containers::agent(&lab, &format!("{}{config}", source("docker", docker.api().socket())));
    scenarios::dual(docker.api(), "blue", 1);
    docker.api().run("far", &RunOptions::new().network("blue", &[])).unwrap();
    wait_bound(&agent, "far", "blue");
    (lab, docker, agent)
}

/// Forges so often when it is told to, and is honest otherwise.
fn run_mallory(agent: &Agent, api: &Engine, name: &str) {
    let patient = RunOptions::new().network("blue", &[]).command(&["/bin/forger", "pause"]);
    api.run(name, &patient).unwrap();
    wait_bound(agent, name, "blue");
}

fn forge(api: &Engine, name: &str, frames: usize) {
    let inside = api.namespace(name).unwrap();
    let socket = inside.socket("eth0").unwrap();
    let mac = api.mac(name, "blue").unwrap().parse().unwrap();
    for _ in 0..frames {
        socket.send(&Forgery::Ipv4.frame(mac)).unwrap();
    }
}

fn action(agent: &Agent, events: &EventStream, endpoint: &str) -> Action {
    let of_it = |event: &Event| matches!(event, Event::Action(action) if action.endpoint == endpoint);
    match events.wait_for("an action", of_it) {
        Ok(Event::Action(action)) => *action,
        other => panic!("{other:?}; the log:\n{}", agent.log()),
    }
}

fn reaches(api: &Engine, name: &str) -> bool {
    let inside = api.namespace(name).unwrap();
    api.addresses("far", "blue").unwrap().iter().all(|address| ping(&inside, address, 3).unwrap().none_lost())
}

#[test]
fn by_default_it_is_only_reported() {
    let (_lab, docker, agent) = start("");
    let events = agent.events().unwrap();
    run_mallory(&agent, docker.api(), "mallory");
    forge(docker.api(), "mallory", 9);
    until(&agent, "nine attempts", || attempts(&agent, "mallory") == 9);
    assert!(!events.so_far().iter().any(|event| matches!(event, Event::Action(_))));
    forge(docker.api(), "mallory", 1);
    let action = action(&agent, &events, "mallory");
    assert_eq!((action.response, action.outcome), (Response::Report, ActionOutcome::Done));
    assert_eq!((action.attempts, action.threshold), (10, 10));
    assert_eq!(action.reasons.get("spoofed-ipv4"), Some(&10));
    assert!(reaches(docker.api(), "mallory"));
    assert_eq!(rows(&agent, "mallory")[0].state, MapState::Bound);
}

#[test]
fn quarantine_begins_with_the_next_frame_and_ends_by_hand() {
    let (_lab, docker, agent) = start(&policy("response = \"quarantine\""));
    let events = agent.events().unwrap();
    run_mallory(&agent, docker.api(), "mallory");
    forge(docker.api(), "mallory", 4);
    assert!(reaches(docker.api(), "mallory"));
    forge(docker.api(), "mallory", 1);
    // No waiting: it is the kernel that answers.
    let inside = docker.api().namespace("mallory").unwrap();
    let far = docker.api().addresses("far", "blue").unwrap();
    assert_eq!(ping(&inside, &far[0], 3).unwrap().received, 0);
    let action = action(&agent, &events, "mallory");
    assert_eq!((action.response, action.outcome), (Response::Quarantine, ActionOutcome::Done));
    assert_eq!(action.policy.as_deref(), Some("strict"));
    assert!(!action.frames.is_empty());
    wait_state(&agent, "mallory", MapState::Quarantined);
    let far = docker.api().namespace("far").unwrap();
    let gateway = ["10.177.1.1", "fd77:1::1"];
    assert!(gateway.iter().all(|address| ping(&far, address, 3).unwrap().none_lost()), "others are let be");
    agent.cli_ok(&["endpoint", "release", "mallory"]).unwrap();
    wait_state(&agent, "mallory", MapState::Bound);
    assert!(reaches(docker.api(), "mallory"));
}

#[test]
fn quarantine_ends_after_its_time_and_outlives_the_agent() {
    let (_lab, docker, mut agent) = start(&policy("response = \"quarantine\"\nrelease_after = \"5s\""));
    run_mallory(&agent, docker.api(), "mallory");
    forge(docker.api(), "mallory", 5);
    wait_state(&agent, "mallory", MapState::Quarantined);
    agent.kill9().unwrap();
    let inside = docker.api().namespace("mallory").unwrap();
    let far = docker.api().addresses("far", "blue").unwrap();
    assert_eq!(ping(&inside, &far[0], 1).unwrap().received, 0);
    agent.restart().unwrap();
    wait_state(&agent, "mallory", MapState::Bound);
    assert!(reaches(docker.api(), "mallory"));
}

#[test]
fn a_dry_run_does_nothing() {
    let (_lab, docker, agent) = start(&policy("response = \"terminate\"\ndry_run = true"));
    let events = agent.events().unwrap();
    run_mallory(&agent, docker.api(), "mallory");
    forge(docker.api(), "mallory", 5);
    let action = action(&agent, &events, "mallory");
    assert_eq!((action.response, action.outcome), (Response::Terminate, ActionOutcome::DryRun));
    assert!(reaches(docker.api(), "mallory"));
}

/// Ends a container of whichever runtime, in each of the ways.
fn is_terminated(agent: &Agent, api: &Engine, runtime: &str) {
    scenarios::dual(api, "blue", 1);
    let events = agent.events().unwrap();
    for way in ["kill", "stop", "restart"] {
        let name = format!("mallory-{way}");
        run_mallory(agent, api, &name);
        let pid = api.pid(&name).unwrap();
        forge(api, &name, 5);
        let action = action(agent, &events, &name);
        assert_eq!(
            (action.response, action.outcome),
            (Response::Terminate, ActionOutcome::Done),
            "{action:?}"
        );
        println!("{runtime}: {way} took {} ms", action.took_ms);
        if way == "restart" {
            until(agent, "its new life", || api.pid(&name).is_ok_and(|new| new != pid));
            wait_bound(agent, &name, "blue");
        } else {
            until(agent, "its end", || api.pid(&name).is_err());
            containers::wait_gone(agent, &name);
        }
        api.remove(&name).unwrap();
    }
}

fn three_ways() -> String {
    let one = |way: &str| {
        format!(
            "[[policy]]\nname = \"{way}\"\nmatch = {{ name = \"mallory-{way}\" }}\nattempts = 5\n\
             response = \"terminate\"\nterminate = \"{way}\"\n"
        )
    };
    ["kill", "stop", "restart"].map(one).concat()
}

#[test]
fn docker_containers_are_terminated() {
    let lab = lab();
    let docker = Docker::start(lab.host()).unwrap();
    let agent = containers::agent(&lab, &(source("docker", docker.api().socket()) + &three_ways()));
    is_terminated(&agent, docker.api(), "docker");
}

#[test]
fn podman_containers_are_terminated() {
    let lab = lab();
    let podman = Podman::start(lab.host()).unwrap();
    let agent = containers::agent(&lab, &(source("podman", podman.api().socket()) + &three_ways()));
    is_terminated(&agent, podman.api(), "podman");
}

#[test]
fn sandboxes_are_stopped() {
    let lab = lab();
    let network = Conflist::bridge("pods", "cni0", &["10.178.0.0/24", "fd78::/64"]);
    let containerd = Containerd::start(lab.host(), &network).unwrap();
    let by_label = "[[policy]]\nname = \"strict\"\nmatch = { labels = { role = \"guest\" } }\nattempts = 5\n\
                    response = \"terminate\"\n";
    let agent = containers::agent(&lab, &(source("cri", &containerd.socket()) + by_label));
    let events = agent.events().unwrap();
    let pod = containerd.run_pod("mallory", &[("role", "guest")]).unwrap();
    let spared = containerd.run_pod("clumsy", &[]).unwrap();
    for name in ["default/mallory", "default/clumsy"] {
        wait_bound(&agent, name, "pods");
    }
    containerd.run_forger(&spared, &[Forgery::Arp], 20, 500).unwrap();
    containerd.run_forger(&pod, &[Forgery::Arp], 0, 500).unwrap();
    let action = action(&agent, &events, "default/mallory");
    assert_eq!((action.response, action.outcome), (Response::Terminate, ActionOutcome::Done), "{action:?}");
    println!("containerd: took {} ms", action.took_ms);
    until(&agent, "the sandbox to stop", || !containerd.is_ready(&pod.id).unwrap());
    assert!(containerd.is_ready(&spared.id).unwrap());
    containers::wait_gone(&agent, "default/mallory");
}

#[test]
fn not_more_are_terminated_in_a_minute_than_allowed() {
    let limit = "[answer]\nterminations_per_minute = 1\n";
    let (_lab, docker, agent) = start(&(limit.to_owned() + &policy("response = \"terminate\"")));
    let events = agent.events().unwrap();
    for (name, outcome) in [("mallory-1", ActionOutcome::Done), ("mallory-2", ActionOutcome::Withheld)] {
        run_mallory(&agent, docker.api(), name);
        forge(docker.api(), name, 5);
        let action = action(&agent, &events, name);
        assert_eq!(action.outcome, outcome, "{action:?}");
    }
    assert!(docker.api().pid("mallory-1").is_err());
    assert!(docker.api().pid("mallory-2").is_ok());
    wait_state(&agent, "mallory-2", MapState::Quarantined);
}
