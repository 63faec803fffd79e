//! Bad input through the command line: an exit code, one clear line, and nothing lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use portcullis_testkit::{Agent, AgentOptions, Lab, portcullis};

/// Exit code and the one line on standard error.
#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(said.trim_end().lines().count(), 1, "one line is promised:\n{said}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    for word in words {
        assert!(said.contains(word), "no word of {word:?} in: {said}");
    }
}

const BIND: [&str; 3] = ["endpoint", "bind", "new"];

/// `(arguments after "endpoint bind new", exit code, words that the line must have)`
const BAD_BINDS: [(&[&str], i32, &[&str]); 16] = [
    (&["--interface", "veth-none", "--address", "10.0.0.1"], 4, &["veth-none", "--allow-missing"]),
    (
        &["--interface", "veth-c2", "--netns", "/run/netns/none", "--address", "10.0.0.1"],
        4,
        &["/run/netns/none"],
    ),
    (&["--interface", "veth-c2", "--address", "10.77.0.11"], 5, &["10.77.0.11", "web"]),
    (&["--interface", "veth-c2", "--address", "10.77.0.0/24"], 5, &["web"]),
    (&["--interface", "veth-c2", "--address", "fd77::b"], 5, &["fd77::b", "web"]),
    (&["--interface", "veth-c1", "--address", "10.77.0.99"], 5, &["veth-c1", "web"]),
    (&["--interface", "veth-c2", "--address", "10.77.0.12", "--mac", "02:77:00:00:00:0b"], 5, &["web"]),
    (&["--interface", "veth-c2", "--address", "0.0.0.0/0"], 2, &["0.0.0.0/0"]),
    (&["--interface", "veth-c2", "--address", "::/0"], 2, &["::/0"]),
    (&["--interface", "veth-c2", "--address", "10.77.0.300"], 2, &["10.77.0.300"]),
    (&["--interface", "veth-c2", "--address", "10.77.0.12/33"], 2, &["10.77.0.12/33"]),
    (&["--interface", "veth-c2", "--address", "127.0.0.1"], 2, &["127.0.0.1"]),
    (&["--interface", "veth-c2", "--address", "10.77.0.12", "--mac", "02:77:zz"], 2, &["02:77:zz"]),
    (
        &["--interface", "veth-c2", "--address", "10.77.0.12", "--mac", "ff:ff:ff:ff:ff:ff"],
        2,
        &["ff:ff:ff:ff:ff:ff"],
    ),
    (&["--interface", "veth-c2"], 2, &["--address"]),
    (
        &["--interface", "an-interface-with-a-long-name", "--address", "10.0.0.1"],
        2,
        &["an-interface-with-a-long-name"],
    ),
];

#[test]
fn every_bad_binding_is_refused_in_one_line_and_changes_nothing() {
    let lab = Lab::new(2).unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.bind("web", lab.container(1), &[]).unwrap();
    let (_, before) = agent.api("GET", "/api/v1/state", None).unwrap();
    for (arguments, code, words) in BAD_BINDS {
        refused(&agent.cli(&[&BIND[..], arguments].concat()).unwrap(), code, words);
    }
    for (arguments, code, word) in [
        (&["endpoint", "show", "nobody"][..], 4, "nobody"),
        (&["endpoint", "unbind", "nobody"], 4, "nobody"),
        (&["endpoint", "mode", "nobody", "audit"], 4, "nobody"),
        (&["endpoint", "quarantine", "nobody"], 4, "nobody"),
        (&["probe", "nobody"], 4, "nobody"),
        (&["endpoint", "mode", "web", "lax"], 2, "lax"),
        (&["endpoint", "bind", "a name", "--interface", "veth-c2", "--address", "10.0.0.1"], 2, "a name"),
        (&["statuss"], 2, "statuss"),
        (&["drops", "--reason", "because"], 2, "because"),
        (&["apply", "-f", "/nonexistent.toml"], 1, "/nonexistent.toml"),
    ] {
        refused(&agent.cli(arguments).unwrap(), code, &[word]);
    }
    assert_eq!(agent.api("GET", "/api/v1/state", None).unwrap().1, before);
    assert!(lab.container(1).ping("10.77.0.12", 2).unwrap().none_lost());
}

#[test]
fn a_socket_that_is_not_there_is_said_with_what_to_do() {
    let output = Command::new(portcullis().unwrap())
        .args(["--socket", "/nonexistent/portcullis.sock", "status"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    refused(&output, 3, &["/nonexistent/portcullis.sock", "portcullis agent"]);
}

/// Starts an agent that must end by itself; gives how.
fn agent_that_fails(agent: &Agent) -> Output {
    agent.command().stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_bad_configuration_ends_the_agent_in_one_line() {
    let lab = Lab::builder().without_outside().build().unwrap();
    for (config, words) in [
        ("unbuond = \"drop\"\n", &["unbuond", "unbound", "portcullis.toml"][..]),
        ("unbound = \"sometimes\"\n", &["sometimes", "portcullis.toml"]),
        ("unbound = \n", &["portcullis.toml"]),
        (
            "[[endpoint]]\nname = \"web\"\ninterface = { name = \"veth9\" }\naddresses = [\"0.0.0.0/0\"]\n",
            &["0.0.0.0/0"],
        ),
        ("[limits]\nendpoints = 4000000000\n", &["endpoints"]),
    ] {
        let options = AgentOptions { config: Some(config.into()), ..AgentOptions::default() };
        let agent = Agent::prepared(&lab, &options).unwrap();
        let output = agent_that_fails(&agent);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{config}: {:?}: {said}", output.status);
        assert_eq!(said.trim_end().lines().count(), 1, "{config}:\n{said}");
        for word in words {
            assert!(said.contains(word), "{config}: no word of {word:?} in: {said}");
        }
        assert!(!agent.socket().exists());
    }
}

#[test]
fn missing_privileges_and_places_end_the_agent_in_one_line() {
    let lab = Lab::builder().without_outside().build().unwrap();
    let agent = Agent::prepared(&lab, &AgentOptions::default()).unwrap();
    // As nobody, who may reach the binary and the configuration.
    let binary = lab.directory().join("portcullis");
    fs::copy(portcullis().unwrap(), &binary).unwrap();
    fs::set_permissions(lab.directory(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&binary).arg("agent");
    command.arg("--config").arg(lab.directory().join("portcullis.toml"));
    command.arg("--socket").arg(agent.socket()).arg("--state-dir").arg(agent.state_dir());
    let output = command.arg("--bpffs").arg(agent.bpffs()).stdin(Stdio::null()).output().unwrap();
    refused(&output, 1, &["root"]);

    // Pins on a file system that cannot hold them.
    let mut command = Command::new(portcullis().unwrap());
    command.arg("agent").arg("--config").arg(lab.directory().join("portcullis.toml"));
    command.arg("--socket").arg(agent.socket()).arg("--state-dir").arg(agent.state_dir());
    let output =
        command.arg("--bpffs").arg(lab.directory().join("pins")).stdin(Stdio::null()).output().unwrap();
    refused(&output, 1, &["mount -t bpf"]);
}

#[test]
fn a_second_agent_on_the_same_socket_is_refused_and_the_first_goes_on() {
    let lab = Lab::new(1).unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.bind("web", lab.container(1), &[]).unwrap();
    let output = agent_that_fails(&agent);
    refused(&output, 1, &[agent.socket().to_str().unwrap()]);
    assert_eq!(agent.endpoints().unwrap().len(), 1);
    assert!(lab.container(1).ping("10.77.0.1", 2).unwrap().none_lost());
}
