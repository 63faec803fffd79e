//! What packagers get, and the help: a change of it is a visible diff (`BLESS=1` renews it).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;

use std::path::{Path, PathBuf};

use common::{portcullis, said};

/// Every command whose help is kept.
const COMMANDS: [&str; 30] = [
    "",
    "agent",
    "status",
    "doctor",
    "endpoint",
    "endpoint list",
    "endpoint show",
    "endpoint bind",
    "endpoint unbind",
    "endpoint mode",
    "endpoint quarantine",
    "endpoint release",
    "map",
    "stats",
    "drops",
    "probe",
    "policy",
    "policy list",
    "policy show",
    "policy set",
    "policy remove",
    "policy test",
    "apply",
    "export",
    "cni",
    "cni install",
    "cni uninstall",
    "completions",
    "man",
    "openapi",
];

fn run(words: &[&str]) -> String {
    let (code, out, err) = said(portcullis().args(words).output().unwrap());
    assert_eq!(code, 0, "{words:?}: {err}");
    out
}

fn assert_golden(name: &str, text: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "{} differs; if that is meant: BLESS=1 cargo test -p portcullis-cli",
        path.display()
    );
}

#[test]
fn the_help_is_what_it_was() {
    let mut text = String::new();
    for command in COMMANDS {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        text.push_str(&format!("$ portcullis {}\n{}\n", words.join(" "), run(&words)));
    }
    let text: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert_golden("help.txt", &(text.join("\n") + "\n"));
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = run(&["completions", shell]);
        assert!(text.contains("quarantine") && text.contains("follow"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    run(&["man", "--dir", dir.path().to_str().unwrap()]);
    for command in COMMANDS {
        let name = format!("portcullis {command}").trim().replace(' ', "-");
        let page = std::fs::read_to_string(dir.path().join(format!("{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{name}: {page:.300}");
    }
    assert!(run(&["man"]).contains(".SH SYNOPSIS"));
}

#[test]
fn the_description_of_the_api_is_whole() {
    let document: serde_json::Value = serde_json::from_str(&run(&["openapi"])).unwrap();
    for path in ["/api/v1/status", "/api/v1/endpoints/{id}/quarantine", "/api/v1/events", "/api/v1/state"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}
