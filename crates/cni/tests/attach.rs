//! Real interfaces, an agent that says what the test wants.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod common;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use common::{Call, FakeAgent, TWO_SECONDS, code, config, endpoint};
use portcullis_testkit::Lab;
use serde_json::{Value, json};

fn call(lab: &Lab, command: &str, config: &Value) -> Call {
    Call::new(command, lab.container(1).namespace().path(), config)
}

#[test]
fn the_agent_is_told_all_and_the_result_is_handed_on() {
    let lab = Lab::new(1).unwrap();
    let agent = FakeAgent::obliging();
    let config = config(&lab, &agent.socket());
    // Keys come in any order, and with others.
    let arguments = "K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1;IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0";
    let answer = call(&lab, "ADD", &config).with("CNI_ARGS", arguments).run_in(&lab);
    assert!(answer.done && answer.stderr.is_empty(), "{answer:?}");
    assert_eq!(serde_json::from_str::<Value>(&answer.stdout).unwrap(), config["prevResult"]);

    let requests = agent.requests();
    assert_eq!(requests.len(), 1);
    let (path, deadline) = requests[0].path.split_once("?deadline_ms=").unwrap();
    assert_eq!((requests[0].method.as_str(), path), ("PUT", "/api/v1/cni/c1/eth0"));
    assert!(deadline.parse::<u64>().unwrap() > 1000);
    let container = lab.container(1);
    let host = container.host_interface();
    assert_eq!(
        requests[0].body,
        json!({
            "workload": {"runtime": null, "container": "c1", "pod": "web-0", "namespace": "shop", "uid": "u-1",
                "labels": {}},
            "netns": container.namespace().path(), "network": "frontend",
            "host": {"netns": lab.host().inode().unwrap(), "netns_path": null,
                "index": lab.host().index_of(&host).unwrap(), "name": host},
            "addresses": [container.ipv4().to_string(), container.ipv6().to_string()],
            "macs": [container.mac().to_string()],
        })
    );
}

#[test]
fn a_result_that_needs_no_change_stays_byte_for_byte() {
    let lab = Lab::new(1).unwrap();
    let agent = FakeAgent::obliging();
    let previous = "{ \"ips\":[{\"address\" : \"10.77.0.11/24\"}],\n  \"later\":{\"z\":1e3,\"a\":12345678901234567890123},\"cniVersion\":\"0.4.0\"}";
    let input = format!(
        "{{\"cniVersion\":\"0.4.0\",\"name\":\"n\",\"socket\":\"{}\",\"prevResult\":{previous}}}",
        agent.socket().display()
    );
    let answer = call(&lab, "ADD", &Value::Null).input(input).run_in(&lab);
    assert!(answer.done, "{answer:?}");
    assert_eq!(answer.stdout, format!("{previous}\n"));
    // An address without an interface is of all of them.
    assert_eq!(agent.requests()[0].body["addresses"], json!(["10.77.0.11"]));
}

#[test]
fn the_result_has_the_version_of_the_configuration() {
    let lab = Lab::new(1).unwrap();
    let agent = FakeAgent::obliging();
    let mut config = config(&lab, &agent.socket());
    config["cniVersion"] = json!("0.3.1");
    let answer = call(&lab, "ADD", &config).run_in(&lab);
    let result: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(result["cniVersion"], "0.3.1");
    assert_eq!((&result["ips"][0]["version"], &result["ips"][1]["version"]), (&json!("4"), &json!("6")));

    config["cniVersion"] = json!("1.1.0");
    config["prevResult"] = result;
    let answer = call(&lab, "ADD", &config).run_in(&lab);
    let result: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(result["cniVersion"], "1.1.0");
    assert!(result["ips"].as_array().unwrap().iter().all(|ip| ip.get("version").is_none()), "{result}");
    assert_eq!(result["dns"], config["prevResult"]["dns"]);

    config["prevResult"]["cniVersion"] = json!("0.2.0");
    assert_eq!(code(&call(&lab, "ADD", &config).run_in(&lab), "1.1.0"), 1);
}

#[test]
fn contradictions_name_both() {
    let lab = Lab::new(2).unwrap();
    let agent = FakeAgent::obliging();
    let config = config(&lab, &agent.socket());
    // Another container's pair; one that is not there.
    for other in ["veth-c2", "veth-none"] {
        let mut config = config.clone();
        config["prevResult"]["interfaces"][1]["name"] = json!(other);
        let answer = call(&lab, "ADD", &config).run_in(&lab);
        assert_eq!(code(&answer, "1.0.0"), 7);
        assert!(answer.stdout.contains(other) && answer.stdout.contains("veth-c1"), "{}", answer.stdout);
    }
    let mut config = config.clone();
    config["prevResult"]["interfaces"][2]["mac"] = json!("02:00:00:00:00:99");
    let answer = call(&lab, "ADD", &config).run_in(&lab);
    assert_eq!(code(&answer, "1.0.0"), 7);
    let real = lab.container(1).mac().to_string();
    assert!(
        answer.stdout.contains("02:00:00:00:00:99") && answer.stdout.contains(&real),
        "{}",
        answer.stdout
    );
    // An interface that is not there.
    let answer = call(&lab, "ADD", &config).with("CNI_IFNAME", "net1").run_in(&lab);
    assert_eq!(code(&answer, "1.0.0"), 7);
    config["prevResult"] = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.77.0.11/24"}]});
    let answer = call(&lab, "ADD", &config).with("CNI_IFNAME", "net1").run_in(&lab);
    assert_eq!(code(&answer, "1.0.0"), 4);
    assert!(answer.stdout.contains("CNI_IFNAME"), "{}", answer.stdout);
    assert!(agent.requests().is_empty());
}

#[test]
fn an_interface_without_a_host_side_is_bound_inside_on_request() {
    let lab = Lab::new(1).unwrap();
    let agent = FakeAgent::obliging();
    lab.host().ip("link add link uplink name mv0 type macvlan mode bridge\n").unwrap();
    lab.host().ip(&format!("link set mv0 netns {}\n", lab.container(1).namespace().name())).unwrap();
    let mut config = json!({
        "cniVersion": "1.0.0", "name": "lan", "socket": agent.socket(),
        "prevResult": {"cniVersion": "1.0.0", "interfaces": [
            {"name": "mv0", "sandbox": lab.container(1).namespace().path()}],
            "ips": [{"address": "192.0.2.9/24", "interface": 0}]}
    });
    let add = |config: &Value| call(&lab, "ADD", config).with("CNI_IFNAME", "mv0").run_in(&lab);
    let answer = add(&config);
    assert_eq!(code(&answer, "1.0.0"), 7);
    assert!(answer.stdout.contains("macvlan") && answer.stdout.contains("bindInside"), "{}", answer.stdout);
    assert!(agent.requests().is_empty());
    config["bindInside"] = json!(true);
    assert!(add(&config).done);
    assert_eq!(agent.requests()[0].body["host"], Value::Null);

    // A pair with both ends inside has no host side either.
    lab.container(1).namespace().ip("link add in0 type veth peer name in1\n").unwrap();
    config["prevResult"] = json!({"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.9/24"}]});
    let answer = call(&lab, "ADD", &config).with("CNI_IFNAME", "in0").run_in(&lab);
    assert_eq!(code(&answer, "1.0.0"), 7);
}

#[test]
fn an_agent_that_is_away_fails_or_passes_as_the_configuration_says() {
    let lab = Lab::new(1).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent.sock");
    let deserted = directory.path().join("deserted.sock");
    drop(UnixListener::bind(&deserted).unwrap());
    // One that accepts nothing: like an agent that was stopped.
    let stuck = directory.path().join("stuck.sock");
    let listener = UnixListener::bind(&stuck).unwrap();
    for socket in [&absent, &deserted, &stuck] {
        let start = Instant::now();
        let mut config = config(&lab, socket);
        let answer = call(&lab, "ADD", &config).run_in(&lab);
        assert_eq!(code(&answer, "1.0.0"), 11);
        assert!(answer.stdout.contains(socket.to_str().unwrap()), "{}", answer.stdout);
        assert!(start.elapsed() < TWO_SECONDS, "{:?}", start.elapsed());

        config["onAgentDown"] = json!("pass");
        config["timeoutMs"] = json!(300);
        let answer = call(&lab, "ADD", &config).run_in(&lab);
        assert!(answer.done && answer.stderr.contains("WITHOUT a binding"), "{answer:?}");
        assert_eq!(serde_json::from_str::<Value>(&answer.stdout).unwrap(), config["prevResult"]);

        // DEL is done whatever is wrong.
        let start = Instant::now();
        let answer = call(&lab, "DEL", &config).run_in(&lab);
        assert!(answer.done && answer.stdout.is_empty(), "{answer:?}");
        assert!(start.elapsed() < TWO_SECONDS, "{:?}", start.elapsed());
    }
    drop(listener);
}

#[test]
fn a_full_queue_costs_no_more_than_the_time_limit() {
    let lab = Lab::new(1).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("full.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let mut waiting = Vec::new();
    // Non-blocking, so that the queue's end is seen.
    loop {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        if connect(&stream, &SocketAddrUnix::new(&socket).unwrap()).is_err() {
            break;
        }
        waiting.push(stream);
    }
    let start = Instant::now();
    let answer = call(&lab, "ADD", &config(&lab, &socket)).run_in(&lab);
    assert_eq!(code(&answer, "1.0.0"), 11);
    assert!(start.elapsed() < TWO_SECONDS, "{:?}", start.elapsed());
}

#[test]
fn what_the_agent_may_have_bound_too_late_is_taken_back() {
    let lab = Lab::new(1).unwrap();
    let silent = FakeAgent::new(|request| (request.method == "DELETE").then(|| (200, json!({"removed": 1}))));
    let mut config = config(&lab, &silent.socket());
    config["timeoutMs"] = json!(300);
    let answer = call(&lab, "ADD", &config).run_in(&lab);
    assert_eq!(code(&answer, "1.0.0"), 11);
    portcullis_testkit::wait_until("the binding to be taken back", || {
        let asked: Vec<_> = silent.requests().into_iter().map(|r| (r.method, r.path)).collect();
        asked.len() == 2 && asked[1] == ("DELETE".to_owned(), "/api/v1/cni/c1/eth0".to_owned())
    })
    .unwrap();
}

#[test]
fn what_the_agent_refuses_is_told_in_its_own_words() {
    let lab = Lab::new(1).unwrap();
    for status in [404, 409, 422, 500] {
        let problem =
            json!({"type": "urn:x", "title": "t", "status": status, "detail": "10.77.0.11 is web-1's"});
        let agent = FakeAgent::new(move |_| Some((status, problem.clone())));
        let mut config = config(&lab, &agent.socket());
        config["onAgentDown"] = json!("pass");
        // It is not away: passing is not for this.
        let answer = call(&lab, "ADD", &config).run_in(&lab);
        assert_eq!(code(&answer, "1.0.0"), 101, "{status}");
        assert!(answer.stdout.contains("10.77.0.11 is web-1's"), "{}", answer.stdout);
    }
    // It answers, and nothing is in the kernel.
    for state in ["waiting", "failed", "bypassed"] {
        let agent = FakeAgent::new(move |request| {
            let mut endpoint = endpoint(&request.body);
            endpoint["state"] = json!(state);
            endpoint["message"] = json!("no such interface");
            Some((200, endpoint))
        });
        let answer = call(&lab, "ADD", &config(&lab, &agent.socket())).run_in(&lab);
        assert_eq!(code(&answer, "1.0.0"), 100, "{state}");
        assert!(answer.stdout.contains("no such interface"), "{}", answer.stdout);
    }
    // Something else listens there.
    let agent = FakeAgent::new(|_| Some((200, json!("<html>"))));
    assert_eq!(code(&call(&lab, "ADD", &config(&lab, &agent.socket())).run_in(&lab), "1.0.0"), 101);
    // One that is still starting is as good as away.
    let starting = json!({"type": "urn:x", "title": "t", "status": 503, "detail": "still loading"});
    let agent = FakeAgent::new(move |_| Some((503, starting.clone())));
    assert_eq!(code(&call(&lab, "ADD", &config(&lab, &agent.socket())).run_in(&lab), "1.0.0"), 11);
}

#[test]
fn del_needs_next_to_nothing() {
    let agent = FakeAgent::obliging();
    let del = |config: Value| {
        Call::new("DEL", Path::new(""), &config).without("CNI_NETNS").without("CNI_ARGS").run()
    };
    for config in [
        json!({"cniVersion": "1.0.0", "name": "n", "socket": agent.socket()}),
        json!({"cniVersion": "0.3.1", "socket": agent.socket(), "prevResult": {"ips": 7}}),
        // Typing errors in our own keys do not keep a container here.
        json!({"cniVersion": "1.1.0", "name": 7, "socket": agent.socket(), "onAgentDown": "maybe", "timeoutMs": -1}),
    ] {
        let answer = del(config.clone());
        assert!(answer.done && answer.stdout.is_empty() && answer.stderr.is_empty(), "{config}: {answer:?}");
    }
    let paths: Vec<_> = agent.requests().into_iter().map(|r| (r.method, r.path)).collect();
    assert_eq!(paths, vec![("DELETE".to_owned(), "/api/v1/cni/c1/eth0".to_owned()); 3]);
    // An older agent says that there was nothing; one that failed is told of, and it is done all the same.
    for status in [404, 500] {
        let agent = FakeAgent::new(move |_| Some((status, Value::Null)));
        let answer = del(json!({"cniVersion": "1.0.0", "name": "n", "socket": agent.socket()}));
        assert!(answer.done && answer.stdout.is_empty(), "{answer:?}");
        assert_eq!(answer.stderr.is_empty(), status == 404);
    }
}

#[test]
fn check_compares_the_binding_with_what_was_made() {
    let lab = Lab::new(1).unwrap();
    let obliging = FakeAgent::obliging();
    let config = config(&lab, &obliging.socket());
    assert!(call(&lab, "ADD", &config).run_in(&lab).done);
    let good = endpoint(&obliging.requests()[0].body);
    let check = |status: u16, endpoint: &Value, down: &str| {
        let endpoint = endpoint.clone();
        let agent =
            FakeAgent::new(move |request| (request.method == "GET").then(|| (status, endpoint.clone())));
        let mut config = config.clone();
        config["socket"] = json!(agent.socket());
        config["onAgentDown"] = json!(down);
        let answer = call(&lab, "CHECK", &config).run_in(&lab);
        assert_eq!(agent.requests()[0].path, "/api/v1/cni/c1/eth0");
        answer
    };
    let answer = check(200, &good, "fail");
    assert!(answer.done && answer.stdout.is_empty(), "{answer:?}");

    let changed = |pointer: &str, value: Value| {
        let mut endpoint = good.clone();
        *endpoint.pointer_mut(pointer).unwrap() = value;
        endpoint
    };
    for (pointer, value, named) in [
        ("/addresses", json!(["10.77.0.11"]), "fd77::b"),
        ("/addresses", json!(["10.77.0.0/25"]), "10.77.0.11"),
        ("/interface/name", json!("veth-c2"), "veth-c2"),
        ("/interface/index", json!(9999), "veth-c1"),
        ("/state", json!("waiting"), "Waiting"),
    ] {
        let answer = check(200, &changed(pointer, value), "fail");
        assert_eq!(code(&answer, "1.0.0"), 100, "{pointer}");
        assert!(answer.stdout.contains(named), "{}", answer.stdout);
    }
    let problem = json!({"type": "urn:x", "title": "t", "status": 404, "detail": "nothing is bound"});
    assert_eq!(code(&check(404, &problem, "fail"), "1.0.0"), 100);
    // Where unbound is good enough to start, it is good enough to go on.
    assert!(check(404, &problem, "pass").done);
    // A quarantine is a binding.
    assert!(check(200, &changed("/state", json!("quarantined")), "fail").done);
}
