//! Gate policies and actions on the command line, against an agent without a kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

#[path = "common/agent.rs"]
mod agent;
mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use agent::{FakeAgent, a_drop};
use common::said;
use portcullis_policy::api::{Action, PolicyView, State};

#[test]
fn a_policy_from_its_setting_to_its_end() {
    let agent = FakeAgent::start();
    agent.run("endpoint bind web-1 --interface veth1 --address 10.0.0.2 --label app=shop");
    assert!(agent.run("policy list").1.contains("policy set NAME"));
    let set = "policy set shop --match-name web-* --match-label app=shop --attempts 5 --window 30s \
               --response terminate --terminate restart --release-after 10m --priority -1 --dry-run";
    let (code, out, err) = agent.run(set);
    assert_eq!((code, out.as_str()), (0, "policy \"shop\" set: matches 1 endpoint\n"), "{err}");
    assert_eq!(err, "");
    assert!(agent.run(set).1.contains("is set"));
    let (_, json, _) = agent.run("-o json policy show shop");
    let view: PolicyView = serde_json::from_str(&json).unwrap();
    assert_eq!((view.policy.priority, view.policy.attempts, view.policy.dry_run), (-1, Some(5), Some(true)));
    let (_, out, _) = agent.run("policy ls");
    assert!(out.contains("name=web-* label:app=shop") && out.contains("terminate (restart"), "{out}");
    assert_eq!(agent.run("policy remove shop").1, "policy \"shop\" removed\n");
    let (code, _, err) = agent.run("policy remove shop");
    assert!(code == 4 && err.contains("shop"), "{err}");
    assert_eq!(agent.run("policy show shop").0, 4);
}

#[test]
fn a_policy_that_matches_nothing_is_warned_of() {
    let agent = FakeAgent::start();
    let (code, out, err) = agent.run("policy set x --match-image redis:* --response quarantine");
    assert_eq!((code, out.as_str()), (0, "policy \"x\" set: matches 0 endpoints\n"));
    assert_eq!(err, "portcullis: policy \"x\": it matches no endpoint now\n");
}

#[test]
fn what_cannot_be_a_policy_is_a_usage_error() {
    let agent = FakeAgent::start();
    for (rest, code, says) in [
        ("x --response quarantine", 2, "--match-name"),
        ("x --match-name *", 2, "no effect"),
        ("x --match-name * --window 60", 2, "60s"),
        ("x --match-name * --attempts 0", 2, "1..=10000"),
        ("x --match-name * --terminate kill", 2, "response"),
        ("x --match-name * --response maim", 2, "terminate"),
        ("x --match-label plain --mode audit", 2, "key=value"),
        ("of-file --match-name * --mode audit", 5, "configuration file"),
    ] {
        let (got, out, err) = agent.run(&format!("policy set {rest}"));
        assert_eq!((got, out.as_str()), (code, ""), "{rest}: {err}");
        assert!(err.starts_with("portcullis: ") && err.contains(says), "{rest}: {err}");
        assert_eq!(err.trim_end().lines().count(), 1, "{err:?}");
    }
}

#[test]
fn a_test_says_what_holds_for_an_endpoint() {
    let agent = FakeAgent::start();
    agent.run("endpoint bind web-1 --interface veth1 --address 10.0.0.2");
    let (code, out, _) = agent.run("policy test web-1");
    assert!(
        code == 0 && out.contains("none matches") && out.contains("10 hostile attempts within 1m"),
        "{out}"
    );
    let (_, json, _) = agent.run("policy test web-1 -o json");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["answer"]["response"], "report");
    assert_eq!(agent.run("policy test nobody").0, 4);
}

#[test]
fn policies_go_out_and_in_with_the_state() {
    let agent = FakeAgent::start();
    agent.run("policy set all --match-name * --response quarantine --release-after 90s");
    let (_, toml, _) = agent.run("export");
    assert!(toml.contains("[[policy]]") && toml.contains("release_after = \"90s\""), "{toml}");
    assert_eq!(toml::from_str::<State>(&toml).unwrap().policies.len(), 1);
    let file = agent.dir().join("state.toml");
    let more = "[[endpoint]]\nname = \"new\"\ninterface.name = \"v\"\naddresses = [\"10.0.0.9\"]\n";
    std::fs::write(&file, format!("{toml}\n{more}")).unwrap();
    let (code, out, err) = said(agent.command("apply --dry-run -f").arg(&file).output().unwrap());
    assert_eq!(
        (code, out.as_str()),
        (0, "create endpoint \"new\"\nwould apply: 1 created, 0 updated, 0 removed; nothing was changed\n"),
        "{err}"
    );
    assert!(agent.run("endpoint list").1.contains("no endpoints"), "a dry run changes nothing");
}

fn an_action(endpoint: &str) -> Action {
    serde_json::from_value(serde_json::json!({
        "time": "2026-11-21T10:00:00.2Z", "endpoint": endpoint, "workload": {}, "response": "terminate",
        "terminate": "kill", "outcome": "done", "message": "container web killed", "policy": "strict",
        "attempts": 10, "threshold": 10, "window": "60s", "reasons": {"spoofed-ipv4": 12},
        "frames": [a_drop(endpoint, "spoofed-ipv4")], "threshold_time": "2026-11-21T10:00:00.1Z", "took_ms": 99.6
    }))
    .unwrap()
}

#[test]
fn actions_stand_between_the_frames_that_led_to_them() {
    let agent = FakeAgent::start();
    agent.run("endpoint bind web --interface veth1 --address 10.0.0.2");
    agent.tell(a_drop("web", "spoofed-ipv4"));
    agent.act(an_action("web"));
    agent.act(an_action("db"));
    assert_eq!(agent.run("drops").1.lines().count(), 1, "actions are no drops");
    let (_, out, _) = agent.run("drops --actions --endpoint web");
    assert_eq!(
        out,
        "10:00:00.200000  web               terminate      done      container web killed  [100 ms after the threshold]\n"
    );
    assert!(agent.run("drops --actions -o wide").1.contains("policy: strict; counted: spoofed-ipv4 12"));
    let (_, json, _) = agent.run("drops --actions -o json");
    assert_eq!(serde_json::from_str::<Vec<Action>>(&json).unwrap().len(), 2);
    let follow = |line: &str, count: usize| -> Vec<String> {
        let mut child = agent.command(line).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines = lines.take(count).map(Result::unwrap).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        lines
    };
    let lines = follow("drops --follow -o json", 3);
    assert!(!lines[0].contains("\"kind\"") && lines[1].contains("\"kind\":\"action\""), "{lines:?}");
    let lines = follow("drops --follow --actions", 2);
    assert!(lines.iter().all(|line| line.contains("killed")), "{lines:?}");
    let (code, _, err) = agent.run("drops --actions --reason vlan");
    assert!(code == 2 && err.contains("--actions"), "{err}");
}
