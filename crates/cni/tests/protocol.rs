//! What needs no interface: versions, environment, configurations that cannot be.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod common;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use common::{Call, FakeAgent, code};
use portcullis_cni::{Version, is_plugin_call};
use proptest::prelude::*;
use serde_json::{Value, json};

const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

fn minimal(version: &str) -> Value {
    json!({"cniVersion": version, "name": "n", "type": "portcullis"})
}

fn call(command: &str, input: &Value) -> Call {
    Call::new(command, Path::new("/run/netns/no-such-namespace"), input)
}

#[test]
fn version_answers_whatever_is_on_standard_input() {
    for input in ["", "null", "not json", r#"{"cniVersion":"9.9.9"}"#, r#"{"cniVersion":7}"#] {
        let answer = call("VERSION", &Value::Null).input(input).run();
        let object: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert!(answer.done && answer.stderr.is_empty(), "{input}");
        assert_eq!(object, json!({"cniVersion": "1.1.0", "supportedVersions": VERSIONS}), "{input}");
    }
    for version in VERSIONS {
        let answer = call("VERSION", &json!({"cniVersion": version})).run();
        let object: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(object["cniVersion"], version);
    }
    assert_eq!(Version::ALL.map(Version::as_str), VERSIONS);
}

#[test]
fn a_version_that_is_not_spoken_is_1() {
    for version in ["0.1.0", "0.2.0", "1.2.0", "2.0.0", "1.0", ""] {
        let answer = call("ADD", &minimal(version)).run();
        assert_eq!(code(&answer, version), 1);
        assert!(answer.stdout.contains("0.3.0, 0.3.1"), "{}", answer.stdout);
    }
    // None at all means 0.1.0; the error is told in a version that is spoken.
    assert_eq!(code(&call("ADD", &json!({"name": "n"})).run(), "1.1.0"), 1);
}

#[test]
fn operations_come_with_their_version() {
    for (command, since) in [("CHECK", "0.4.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")] {
        for version in VERSIONS.iter().filter(|version| **version < since) {
            let answer = call(command, &minimal(version)).run();
            assert_eq!(code(&answer, version), 1, "{command} {version}");
            assert!(answer.stdout.contains(command), "{}", answer.stdout);
        }
    }
}

#[test]
fn what_is_no_json_object_is_6() {
    for input in
        ["", "{", "[]", "null", "\"x\"", "{\"cniVersion\": \"1.0.0\"} // eth0", "\u{feff}{}", "{'a': 1}"]
    {
        assert_eq!(code(&call("ADD", &Value::Null).input(input).run(), "1.1.0"), 6, "{input}");
        assert_eq!(code(&call("DEL", &Value::Null).input(input).run(), "1.1.0"), 6, "{input}");
    }
    assert_eq!(code(&call("ADD", &Value::Null).input(vec![0xff, 0xfe]).run(), "1.1.0"), 6);
}

#[test]
fn standard_input_that_has_no_end_is_5() {
    let find = |name: &str| (name == "CNI_COMMAND").then(|| "ADD".into());
    let answer = portcullis_cni::run(std::time::Instant::now(), find, std::io::repeat(b' '));
    assert_eq!(code(&answer, "1.1.0"), 5);

    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    let answer = portcullis_cni::run(std::time::Instant::now(), find, Broken);
    assert_eq!(code(&answer, "1.1.0"), 5);
}

#[test]
fn variables_that_are_missing_or_wrong_are_4_and_named() {
    let add = call(
        "ADD",
        &json!({
            "cniVersion": "0.4.0", "name": "n", "prevResult": {"ips": [{"address": "10.0.0.2/24"}]}
        }),
    );
    for name in ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"] {
        for broken in [add.clone().without(name), add.clone().with(name, "")] {
            let answer = broken.run();
            assert_eq!(code(&answer, "0.4.0"), 4, "{name}");
            assert!(answer.stdout.contains(name), "{}", answer.stdout);
        }
        let answer = add.clone().with(name, OsString::from_vec(vec![b'a', 0xff])).run();
        assert_eq!(code(&answer, "0.4.0"), 4, "{name}");
    }
    for (name, bad) in [
        ("CNI_CONTAINERID", "../../endpoints/web"),
        ("CNI_CONTAINERID", "-c1"),
        ("CNI_CONTAINERID", "c 1"),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "."),
        ("CNI_IFNAME", "eth0:1"),
        ("CNI_IFNAME", "a b"),
        ("CNI_IFNAME", "sixteen-bytes-xx"),
        // Nothing there; not a namespace.
        ("CNI_NETNS", "/run/netns/no-such-namespace"),
        ("CNI_NETNS", "/etc/passwd"),
        ("CNI_NETNS", "/proc/self/ns/mnt"),
        // The plugin's own: a container that shares the host's network.
        ("CNI_NETNS", "/proc/thread-self/ns/net"),
    ] {
        let answer = add.clone().with(name, bad).run();
        assert_eq!(code(&answer, "0.4.0"), 4, "{name}={bad}");
        assert!(answer.stdout.contains(name), "{}", answer.stdout);
    }
}

#[test]
fn commands_that_are_none_are_4() {
    for command in ["add", "UPDATE", " ADD"] {
        let answer = call(command, &minimal("1.0.0")).run();
        assert_eq!(code(&answer, "1.1.0"), 4);
        assert!(answer.stdout.contains("CNI_COMMAND"), "{}", answer.stdout);
    }
    assert_eq!(code(&call("ADD", &minimal("1.0.0")).without("CNI_COMMAND").run(), "1.1.0"), 4);
}

#[test]
fn configurations_that_cannot_be_are_7() {
    let with = |key: &str, value: Value| {
        let mut config = minimal("1.0.0");
        config["prevResult"] = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]});
        config[key] = value;
        config
    };
    for (key, value) in [
        ("prevResult", Value::Null),
        ("prevResult", json!("x")),
        ("prevResult", json!({"cniVersion": "1.0.0"})),
        ("prevResult", json!({"cniVersion": "1.0.0", "ips": null})),
        ("prevResult", json!({"cniVersion": "1.0.0", "ips": []})),
        ("prevResult", json!({"ips": [{"address": "10.0.0.2/24", "interface": 0}]})),
        ("prevResult", json!({"ips": [{"address": "10.0.0.2/24", "interface": -1}]})),
        (
            "prevResult",
            json!({"interfaces": [{"name": "br0"}], "ips": [{"address": "10.0.0.2/24", "interface": 0}]}),
        ),
        ("prevResult", json!({"ips": [{"address": "10.0.0.256/24"}]})),
        ("prevResult", json!({"ips": [{"address": "0.0.0.0/0"}]})),
        ("prevResult", json!({"ips": [{"address": "224.0.0.1/24"}]})),
        ("socket", json!("agent.sock")),
        ("socket", json!(7)),
        ("onAgentDown", json!("maybe")),
        ("onAgentDown", json!(true)),
        ("timeoutMs", json!(0)),
        ("timeoutMs", json!(2000)),
        ("timeoutMs", json!("1500")),
        ("bindInside", json!("yes")),
    ] {
        let answer = call("ADD", &with(key, value.clone())).run();
        assert_eq!(code(&answer, "1.0.0"), 7, "{key}: {value}");
    }
    // A version that is wrong is wrong before anything else; of the wrong type it is told in ours.
    assert_eq!(code(&call("ADD", &with("cniVersion", json!(1))).run(), "1.1.0"), 7);
}

#[test]
fn garbage_collection_names_what_is_in_use() {
    let agent = FakeAgent::obliging();
    let mut config = minimal("1.1.0");
    config["socket"] = json!(agent.socket());
    // No list is not an empty list.
    assert_eq!(code(&call("GC", &config).run(), "1.1.0"), 7);
    assert!(agent.requests().is_empty());

    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        let mut config = config.clone();
        config[key] = json!([{"containerID": "c1", "ifname": "eth0"}]);
        // GC comes without container, interface and namespace.
        let gc = call("GC", &config).without("CNI_CONTAINERID").without("CNI_IFNAME").without("CNI_NETNS");
        let answer = gc.run();
        assert!(answer.done && answer.stdout.is_empty(), "{answer:?}");
        let request = agent.requests().pop().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/api/v1/cni/gc"));
        let valid = json!([{"container": "c1", "interface": "eth0"}]);
        assert_eq!(request.body, json!({"network": "n", "valid": valid}));
    }
    let refusing = FakeAgent::new(|_| {
        Some((500, json!({"type": "urn:x", "title": "t", "status": 500, "detail": "disk full"})))
    });
    config["socket"] = json!(refusing.socket());
    config["cni.dev/valid-attachments"] = json!([]);
    let answer = call("GC", &config).run();
    assert_eq!(code(&answer, "1.1.0"), 101);
    assert!(answer.stdout.contains("disk full"), "{}", answer.stdout);
}

#[test]
fn status_is_the_agents() {
    let with = |socket: &Path, down: &str| {
        let mut config = minimal("1.1.0");
        config["socket"] = json!(socket);
        config["onAgentDown"] = json!(down);
        call("STATUS", &config).without("CNI_CONTAINERID").without("CNI_IFNAME").without("CNI_NETNS").run()
    };
    let ready = FakeAgent::new(|request| (request.path == "/readyz").then(|| (200, json!("ok"))));
    let answer = with(&ready.socket(), "fail");
    assert!(answer.done && answer.stdout.is_empty(), "{answer:?}");

    let starting = FakeAgent::new(|_| {
        Some((503, json!({"type": "urn:x", "title": "t", "status": 503, "detail": "still loading"})))
    });
    let answer = with(&starting.socket(), "fail");
    assert_eq!(code(&answer, "1.1.0"), 50);
    assert!(answer.stdout.contains("still loading"), "{}", answer.stdout);
    assert_eq!(code(&with(Path::new("/nowhere/agent.sock"), "fail"), "1.1.0"), 50);
    let answer = with(Path::new("/nowhere/agent.sock"), "pass");
    assert!(
        answer.done && answer.stdout.is_empty() && answer.stderr.contains("/nowhere/agent.sock"),
        "{answer:?}"
    );
}

#[test]
fn runtimes_are_told_from_people() {
    assert!(is_plugin_call(["/opt/cni/bin/portcullis"], true));
    assert!(is_plugin_call(["portcullis", "cni"], true));
    assert!(!is_plugin_call(["/opt/cni/bin/portcullis"], false));
    assert!(!is_plugin_call(["portcullis", "cni"], false));
    // In an environment of a plugin's, commands stay commands.
    assert!(!is_plugin_call(["portcullis", "status"], true));
    assert!(!is_plugin_call(["portcullis", "cni", "install"], true));
}

proptest! {
    /// Whatever comes in, an error object or nothing goes out, and no panic.
    #[test]
    fn every_input_has_an_answer(
        command in "ADD|DEL|CHECK|GC|STATUS|[A-Z]{0,5}",
        input in prop_oneof![
            any::<Vec<u8>>(),
            "\\{(\"(cniVersion|name|prevResult|socket|timeoutMs)\":(\"1.1.0\"|\"0.4.0\"|\\{\\}|\\[1\\]|null|7)(,)?){0,4}\\}"
                .prop_map(String::into_bytes),
        ],
    ) {
        let answer = call(&command, &Value::Null).input(input).run();
        if !answer.done {
            let object: Value = serde_json::from_str(&answer.stdout).unwrap();
            prop_assert!(object["code"].as_u64().is_some_and(|code| code > 0));
        }
    }
}
