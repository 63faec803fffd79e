//! The binary as the CNI plugin, and `cni install` as people run it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{portcullis, said};
use serde_json::{Value, json};

const LIST: &str = "{\n  \"cniVersion\": \"1.0.0\",\n  \"name\": \"pods\",\n  \"plugins\": [\n    {\n      \"type\": \"bridge\"\n    }\n  ]\n}\n";

fn fed(command: &mut Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn runtimes_start_it_without_arguments() {
    for arguments in [&[][..], &["cni"]] {
        let output =
            fed(portcullis().args(arguments).env("CNI_COMMAND", "VERSION"), "{\"cniVersion\":\"1.0.0\"}");
        let (code, out, err) = said(output);
        let versions: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, versions["cniVersion"].as_str(), err.as_str()), (0, Some("1.0.0"), ""));

        // Every error is an object on standard output, also what a person would get a usage line for.
        let output = fed(portcullis().args(arguments).env("CNI_COMMAND", "ADD"), "nonsense");
        let (code, out, err) = said(output);
        let object: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, object["code"].as_u64()), (1, Some(6)));
        assert!(err.starts_with("portcullis: ") && err.lines().count() == 1, "{err}");
    }
    // Whatever the environment says, a command is a command.
    let (code, out, _) =
        said(portcullis().args(["cni", "--help"]).env("CNI_COMMAND", "ADD").output().unwrap());
    assert!(code == 0 && out.contains("install"), "{out}");
}

#[test]
fn to_people_it_says_what_it_is() {
    let (code, out, err) = said(portcullis().arg("cni").env_remove("CNI_COMMAND").output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0") && out.contains("cni install"), "{out}");
}

fn cni(root: &Path, words: &[&str]) -> (i32, String, String) {
    let (conf, bin) = (root.join("net.d"), root.join("bin"));
    said(
        portcullis()
            .arg("cni")
            .args(words)
            .arg("--conf-dir")
            .arg(conf)
            .arg("--bin-dir")
            .arg(bin)
            .output()
            .unwrap(),
    )
}

#[test]
fn installing_and_uninstalling() {
    let root = tempfile::tempdir().unwrap();
    let list = root.path().join("net.d/10-pods.conflist");
    for name in ["net.d", "bin"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    let (code, _, err) = cni(root.path(), &["install"]);
    assert!(code == 4 && err.contains("net.d"), "{code} {err}");

    fs::write(&list, LIST).unwrap();
    let (code, out, err) = cni(root.path(), &["install", "--dry-run"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("would install into") && out.contains("+      \"type\": \"portcullis\","), "{out}");
    assert_eq!(fs::read_to_string(&list).unwrap(), LIST);
    assert!(!root.path().join("bin/portcullis").exists());

    let (code, out, _) = cni(root.path(), &["install", "--on-agent-down", "pass", "-o", "json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["outcome"], &report["network"]), (0, &json!("installed"), &json!("pods")));
    let entry = &serde_json::from_str::<Value>(&fs::read_to_string(&list).unwrap()).unwrap()["plugins"][1];
    assert_eq!(*entry, json!({"type": "portcullis", "onAgentDown": "pass"}));
    // The agent that the other commands ask is the plugin's too.
    let (code, ..) = cni(root.path(), &["install", "--socket", "/run/gate.sock"]);
    assert!(code == 0 && fs::read_to_string(&list).unwrap().contains("\"/run/gate.sock\""));
    // The file that runtimes execute is this program.
    let plugin = root.path().join("bin/portcullis");
    let output = fed(Command::new(&plugin).env_clear().env("CNI_COMMAND", "VERSION"), "");
    assert!(said(output).1.contains("supportedVersions"));

    let (code, out, _) = cni(root.path(), &["install"]);
    assert!(code == 0 && out.starts_with("already installed"), "{out}");
    let (code, out, _) = cni(root.path(), &["uninstall"]);
    assert!(code == 0 && out.starts_with("removed from") && out.contains("--remove-binary"), "{out}");
    assert_eq!(fs::read_to_string(&list).unwrap(), LIST);
}

#[test]
fn what_cannot_be_is_one_line_and_an_exit_code() {
    let root = tempfile::tempdir().unwrap();
    for name in ["net.d", "bin"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    fs::write(root.path().join("net.d/a.conflist"), "{ // comment\n}").unwrap();
    for (words, expected) in [
        (&["install"][..], 1),
        (&["install", "--file", "../a.conflist"], 2),
        (&["install", "--file", "b.conflist"], 4),
        (&["install", "--name", "absent"], 4),
        (&["install", "--file", "a.conflist", "--name", "a"], 2),
        (&["install", "--on-agent-down", "maybe"], 2),
        (&["install", "--agent-socket", "gate.sock"], 2),
        (&["remove"], 2),
    ] {
        let (code, out, err) = cni(root.path(), words);
        assert_eq!((code, out.as_str()), (expected, ""), "{words:?}: {err}");
        assert!(err.starts_with("portcullis: ") && err.lines().count() == 1, "{words:?}: {err}");
    }
}
