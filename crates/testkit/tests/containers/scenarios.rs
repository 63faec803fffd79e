//! What must hold with Docker and with Podman alike.

use portcullis_policy::api::{EndpointState, MapState};
use portcullis_policy::model::Owner;
use portcullis_testkit::{Agent, Engine, Forgery, Lab, NetworkOptions, RunOptions, ping};

use super::{attempts, leaks, rows, sorted, talk, until, wait_bound, wait_gone, wait_row, wait_state};

/// A dual-stack bridge network whose interface on the host is known.
pub fn dual(api: &Engine, name: &str, number: u8) {
    let subnets = [format!("10.177.{number}.0/24"), format!("fd77:{number}::/64")];
    let subnets: Vec<&str> = subnets.iter().map(String::as_str).collect();
    api.network_create(name, &NetworkOptions::bridge(&subnets)).unwrap();
}

/// Bound with its right name, network, addresses and MAC; and honest ones lose nothing and are not suspected.
pub fn honest_containers_are_bound_and_boot_without_a_hostile_attempt(
    lab: &Lab,
    agent: &Agent,
    api: &Engine,
    owner: Owner,
) {
    dual(api, "blue", 1);
    let names = ["web-1", "web-2", "web-3"];
    for name in names {
        api.run(name, &RunOptions::new().network("blue", &[]).label("tier", "front")).unwrap();
    }
    for name in names {
        let row = wait_bound(agent, name, "blue");
        assert_eq!(sorted(&row.addresses), sorted(&api.addresses(name, "blue").unwrap()));
        assert_eq!(row.macs, [api.mac(name, "blue").unwrap()]);
        assert_eq!(row.inside.as_deref(), Some("eth0"));
        assert_eq!(row.workload.labels.get("tier").map(String::as_str), Some("front"));
        assert!(row.workload.image.as_deref().is_some_and(|image| image.contains("portcullis.test/lab")));
        assert!(row.sources.contains(&owner), "{row:?}");
        assert!(row.since.is_some());
        let endpoint = agent.endpoint(&row.endpoint.unwrap()).unwrap();
        assert_eq!(endpoint.state, EndpointState::Active);
        assert_eq!(lab.host().index_of(&endpoint.interface.name).ok(), endpoint.interface.index);
        let container = api.inspect(name).unwrap()["Id"].as_str().map(str::to_owned);
        assert_eq!(endpoint.workload.container, container);
    }
    for (near, far) in [("web-1", "web-2"), ("web-3", "web-1")] {
        let (inside, other) = (api.namespace(near).unwrap(), api.namespace(far).unwrap());
        for address in api.addresses(far, "blue").unwrap() {
            assert!(ping(&inside, &address, 20).unwrap().none_lost(), "{near} to {address}");
            talk(&inside, &other, &address);
        }
    }
    for name in names {
        let endpoint = agent.endpoint(&rows(agent, name)[0].endpoint.clone().unwrap()).unwrap();
        assert_eq!(endpoint.attempts, 0, "{name}: {:?}", endpoint.counters);
        assert_eq!(endpoint.counters.dropped.packets, 0, "{name}: {:?}", endpoint.counters);
        api.remove(name).unwrap();
        wait_gone(agent, name);
    }
    assert_eq!(agent.status().unwrap().endpoints.total, 0);
}

/// Several networks from the start; connected and disconnected while it runs.
pub fn networks_come_and_go_while_a_container_runs(agent: &Agent, api: &Engine) {
    dual(api, "blue", 1);
    dual(api, "red", 2);
    dual(api, "green", 3);
    let both = RunOptions::new().network("blue", &["10.177.1.20", "fd77:1::20"]).network("red", &[]);
    api.run("web", &both).unwrap();
    assert_eq!(sorted(&wait_bound(agent, "web", "blue").addresses), ["10.177.1.20", "fd77:1::20"]);
    wait_bound(agent, "web", "red");

    api.network_connect("green", "web", &[]).unwrap();
    let green = wait_bound(agent, "web", "green");
    assert_eq!(sorted(&green.addresses), sorted(&api.addresses("web", "green").unwrap()));
    assert_eq!(rows(agent, "web").len(), 3);

    api.run("far", &RunOptions::new().network("green", &[])).unwrap();
    wait_bound(agent, "far", "green");
    let inside = api.namespace("web").unwrap();
    for address in api.addresses("far", "green").unwrap() {
        assert!(ping(&inside, &address, 5).unwrap().none_lost(), "{address}");
    }

    api.network_disconnect("red", "web").unwrap();
    until(agent, "its binding in red to go", || {
        rows(agent, "web").iter().all(|row| row.network.as_deref() != Some("red"))
    });
    for address in api.addresses("far", "green").unwrap() {
        assert!(ping(&inside, &address, 5).unwrap().none_lost(), "{address}");
    }
    assert_eq!(attempts(agent, "web"), 0);
    api.remove("web").unwrap();
    api.remove("far").unwrap();
    wait_gone(agent, "web");
    wait_gone(agent, "far");
}

/// Nothing of what a container forges passes, from its first instruction on.
pub fn a_container_that_forges_from_its_first_instruction(agent: &Agent, api: &Engine) {
    dual(api, "blue", 1);
    api.run("far", &RunOptions::new().network("blue", &[])).unwrap();
    wait_bound(agent, "far", "blue");
    let listener = leaks(&api.namespace("far").unwrap(), "eth0");
    for round in 0..4 {
        let name = format!("mallory-{round}");
        let mallory = RunOptions::new().network("blue", &[]).forging("eth0", &Forgery::ALL, 0, 100);
        api.run(&name, &mallory).unwrap();
        let row = wait_bound(agent, &name, "blue");
        let endpoint = row.endpoint.unwrap();
        until(agent, "its attempts to be counted", || agent.endpoint(&endpoint).unwrap().attempts > 500);
        assert_eq!(listener.count(), 0, "round {round}");
        api.remove(&name).unwrap();
        wait_gone(agent, &name);
    }
    assert_eq!(listener.stop().unwrap(), 0);
}

/// Whose container is gone has no binding, and whoever gets its address next is bound to it.
pub fn an_address_is_used_again_at_once(agent: &Agent, api: &Engine) {
    dual(api, "blue", 1);
    api.run("far", &RunOptions::new().network("blue", &[])).unwrap();
    let far = api.addresses("far", "blue").unwrap();
    let mut previous = None;
    for round in 0..4 {
        let name = format!("tenant-{round}");
        let address = ["10.177.1.30", "fd77:1::30"];
        let tenant = RunOptions::new().network("blue", &address);
        api.run(&name, &tenant).unwrap();
        let row = wait_bound(agent, &name, "blue");
        assert_eq!(sorted(&row.addresses), address);
        let index = row.interface.and_then(|interface| interface.index);
        assert!(previous.is_none() || previous != Some(index));
        previous = Some(index);
        let inside = api.namespace(&name).unwrap();
        for address in &far {
            assert!(ping(&inside, address, 5).unwrap().none_lost(), "{name} to {address}");
        }
        assert_eq!(attempts(agent, &name), 0);
        // Its successor comes before anybody had time to look.
        api.remove(&name).unwrap();
    }
    wait_gone(agent, "tenant-3");
    until(agent, "bindings of the dead to go", || agent.endpoints().unwrap().len() == 1);
}

/// What has no host side of its own is said, each in its way.
pub fn what_cannot_be_bound_is_said(lab: &Lab, agent: &Agent, api: &Engine) {
    dual(api, "blue", 1);
    api.run("web", &RunOptions::new().network("blue", &[])).unwrap();
    api.run("sidecar", &RunOptions::new().mode("container:web")).unwrap();
    api.run("node", &RunOptions::new().mode("host")).unwrap();
    api.run("alone", &RunOptions::new().mode("none")).unwrap();
    lab.host().ip("link add trunk type veth peer name trunk-far\nlink set trunk up\n").unwrap();
    api.network_create("lan", &NetworkOptions::on("macvlan", "trunk", &["10.177.9.0/24"])).unwrap();
    api.run("direct", &RunOptions::new().network("lan", &[])).unwrap();

    let web = wait_bound(agent, "web", "blue");
    let sidecar = wait_state(agent, "sidecar", MapState::Shared);
    assert!(sidecar.endpoint.is_none() || sidecar.endpoint == web.endpoint, "{sidecar:?}");
    wait_state(agent, "node", MapState::HostNetwork);
    wait_state(agent, "alone", MapState::NoNetwork);
    let direct = wait_state(agent, "direct", MapState::NotProtectable);
    assert_eq!(direct.network.as_deref(), Some("lan"));
    assert!(direct.message.is_some_and(|message| message.contains("macvlan")));
    on_request_it_is_bound_from_inside(lab, agent, api);
    // The forger in the sidecar is stopped at web's door.
    let forger = RunOptions::new().mode("container:web").forging("eth0", &[Forgery::Ipv4], 0, 500);
    api.run("mallory", &forger).unwrap();
    let endpoint = web.endpoint.unwrap();
    until(agent, "its forgeries", || agent.endpoint(&endpoint).unwrap().attempts > 100);
    for name in ["mallory", "direct", "alone", "node", "sidecar", "web"] {
        api.remove(name).unwrap();
        wait_gone(agent, name);
    }
}

/// A label asks for a binding from inside where there is no host side.
fn on_request_it_is_bound_from_inside(lab: &Lab, agent: &Agent, api: &Engine) {
    let forger = RunOptions::new().network("lan", &[]).label("portcullis.dev/bind", "inside").forging(
        "eth0",
        &[Forgery::Ipv4, Forgery::Arp],
        0,
        500,
    );
    api.run("inward", &forger).unwrap();
    let row = wait_bound(agent, "inward", "lan");
    let endpoint = row.endpoint.unwrap();
    lab.host().ip("link set trunk-far up\n").unwrap();
    let listener = leaks(lab.host(), "trunk-far");
    let before = agent.endpoint(&endpoint).unwrap().attempts;
    until(agent, "its forgeries", || agent.endpoint(&endpoint).unwrap().attempts > before + 100);
    assert_eq!(listener.stop().unwrap(), 0);
    api.remove("inward").unwrap();
    wait_gone(agent, "inward");
}

/// A new name is followed, and the binding stays.
pub fn a_container_is_renamed(agent: &Agent, api: &Engine) {
    dual(api, "blue", 1);
    api.run("before", &RunOptions::new().network("blue", &[])).unwrap();
    let old = wait_bound(agent, "before", "blue");
    api.rename("before", "after").unwrap();
    let new = wait_row(agent, "after", "bound under its new name", |row| row.state == MapState::Bound);
    assert_eq!(old.interface, new.interface);
    assert!(rows(agent, "before").is_empty());
}
