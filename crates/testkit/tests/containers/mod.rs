//! What tests with real containers share: the agent with a source, and looking at its map.

#![allow(dead_code, reason = "every test uses a part")]

pub mod scenarios;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use portcullis_policy::api::{MapRow, MapState, SourceState};
use portcullis_policy::model::Owner;
use portcullis_testkit::{
    Agent, AgentOptions, FORGED, Lab, Listener, Namespace, PATIENCE, tagged_payload, wait_until,
};

/// A lab whose bridges are the runtimes'.
pub fn lab() -> Lab {
    Lab::builder().without_outside().build().unwrap()
}

/// The configuration of a source.
pub fn source(kind: &str, socket: &Path) -> String {
    format!("[[source]]\nkind = \"{kind}\"\nsocket = \"{}\"\n", socket.display())
}

/// An agent with this configuration.
pub fn agent(lab: &Lab, config: &str) -> Agent {
    Agent::start_with(lab, &AgentOptions { config: Some(config.to_owned()), ..AgentOptions::default() })
        .unwrap()
}

/// Rows of a container in the map.
pub fn rows(agent: &Agent, container: &str) -> Vec<MapRow> {
    let map = agent.map().map(|map| map.rows).unwrap_or_default();
    map.into_iter().filter(|row| row.container.as_deref() == Some(container)).collect()
}

/// Waits until the map shows a container so.
pub fn wait_row(agent: &Agent, container: &str, what: &str, wanted: impl Fn(&MapRow) -> bool) -> MapRow {
    let start = Instant::now();
    loop {
        let found = rows(agent, container);
        if let Some(row) = found.iter().find(|row| wanted(row)) {
            return row.clone();
        }
        assert!(start.elapsed() < PATIENCE / 4, "{container} was never {what}; {}", findings(agent));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a container is bound in a network.
pub fn wait_bound(agent: &Agent, container: &str, network: &str) -> MapRow {
    wait_row(agent, container, &format!("bound in {network}"), |row| {
        row.state == MapState::Bound && row.network.as_deref() == Some(network)
    })
}

/// Waits until a container stands so.
pub fn wait_state(agent: &Agent, container: &str, state: MapState) -> MapRow {
    wait_row(agent, container, &format!("{state:?}"), |row| row.state == state)
}

/// Waits until nothing is known or bound of a container.
pub fn wait_gone(agent: &Agent, container: &str) {
    let of_it = |name: Option<&str>| name == Some(container);
    until(agent, "a container to be gone from the map", || {
        let endpoints = agent.endpoints().unwrap();
        rows(agent, container).is_empty()
            && !endpoints.iter().any(|endpoint| of_it(endpoint.workload.name.as_deref()))
    });
}

/// Waits for something, and says all that is known where it never comes.
pub fn until(agent: &Agent, what: &str, look: impl FnMut() -> bool) {
    wait_until(what, look).unwrap_or_else(|error| panic!("{error}; {}", findings(agent)));
}

/// How a source stands.
pub fn source_state(agent: &Agent, kind: Owner) -> SourceState {
    agent.map().unwrap().sources.iter().find(|source| source.kind == kind).unwrap().state
}

/// What there is to see where a test fails.
fn findings(agent: &Agent) -> String {
    let (status, map) = agent.api("GET", "/api/v1/map", None).unwrap_or_default();
    format!("the map ({status}): {map:#}\nthe log:\n{}", agent.log())
}

/// Hostile attempts of everything that is bound for a container.
pub fn attempts(agent: &Agent, container: &str) -> u64 {
    let names: Vec<String> = rows(agent, container).into_iter().filter_map(|row| row.endpoint).collect();
    names.iter().map(|name| agent.endpoint(name).unwrap().attempts).sum()
}

/// Counts forged frames that arrive at an interface.
pub fn leaks(namespace: &Namespace, interface: &str) -> Listener {
    Listener::start(namespace, interface, tagged_payload(FORGED)).unwrap()
}

/// A conversation over TCP, `far` listening.
pub fn talk(near: &Namespace, far: &Namespace, address: &str) {
    let address: IpAddr = address.parse().unwrap();
    let listener = far.within(|| TcpListener::bind((address, 8077))).unwrap().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = [0; 5];
        stream.read_exact(&mut text).unwrap();
        stream.write_all(&text).unwrap();
    });
    let mut stream = near
        .within(|| TcpStream::connect_timeout(&(address, 8077).into(), Duration::from_secs(30)))
        .unwrap()
        .unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut text = [0; 5];
    stream.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hello");
    server.join().unwrap();
}

/// The same place, however addresses are written: sorted, without prefix lengths.
pub fn sorted(addresses: &[String]) -> Vec<String> {
    let mut bare: Vec<String> =
        addresses.iter().map(|a| a.split('/').next().unwrap_or_default().to_owned()).collect();
    bare.sort();
    bare
}
