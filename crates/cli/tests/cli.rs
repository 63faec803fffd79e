//! The binary against an agent without a kernel: exit codes, what it prints, what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

#[path = "common/agent.rs"]
mod agent;
mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use agent::{FakeAgent, a_drop};
use common::{portcullis, said};
use portcullis_policy::api::{ContainerMap, DropRecord, Endpoint, State};

/// Runs without an agent.
fn run(line: &str) -> (i32, String, String) {
    said(portcullis().args(line.split(' ')).output().unwrap())
}

/// Exactly one line, under our name, with these words in it.
fn assert_line(text: &str, words: &[&str]) {
    assert!(text.starts_with("portcullis: "), "{text:?}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text:?}");
    for word in words {
        assert!(text.contains(word), "{word:?} in {text:?}");
    }
}

#[test]
fn malformed_values_are_usage_errors_in_the_words_of_policy() {
    let bind = "endpoint bind web --interface veth1 --address";
    for (rest, words) in [
        ("0.0.0.0/0", ["0.0.0.0/0", "every address"]),
        ("10.0.0.300", ["10.0.0.300", "is not an address"]),
        ("10.0.0.2/24", ["host bits", "10.0.0.0/24"]),
        ("224.0.0.1", ["224.0.0.1", "--address"]),
        ("10.0.0.2 --mac 02:42", ["02:42", "is not a MAC address"]),
        ("10.0.0.2 --mac ff:ff:ff:ff:ff:ff", ["broadcast", "--mac"]),
        ("10.0.0.2 --vlan 4095", ["4095", "VLAN id"]),
        ("10.0.0.2 --ethertype 0x0800", ["0x0800", "verification"]),
        ("10.0.0.2 --allow everything", ["everything", "dhcp-client"]),
        ("10.0.0.2 --mode lax", ["lax", "audit"]),
        ("10.0.0.2,10.0.0.x", ["10.0.0.x", "is not an address"]),
        ("10.0.0.2 --label plain", ["plain", "key=value"]),
    ] {
        let (code, out, err) = run(&format!("{bind} {rest}"));
        assert_eq!((code, out.as_str()), (2, ""), "{rest}: {err}");
        assert_line(&err, &words);
    }
}

#[test]
fn what_is_missing_or_unknown_is_named_in_one_line() {
    for (line, word) in [
        ("endpoint bind web", "--interface"),
        ("statuss", "'status'"),
        ("status --colour", "--colour"),
        ("stats --count 3", "--watch"),
        ("stats --watch --interval 5h", "1h"),
        ("drops --reason bored", "spoofed-ipv4"),
        ("probe --netns /run/netns/web", "--interface"),
        ("probe", "ENDPOINT"),
        ("completions sh", "bash"),
        ("agent --listen everywhere", "everywhere"),
        ("agent --listen 192.0.2.1:80", "loopback"),
        ("agent --config /nonexistent/portcullis.toml", "no such configuration file"),
    ] {
        let (code, _, err) = run(line);
        assert_eq!(code, 2, "{line}: {err}");
        assert_line(&err, &[word]);
    }
}

#[test]
fn a_config_file_with_an_unknown_key_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("portcullis.toml");
    std::fs::write(&file, "# comment\nunbond = \"drop\"\n").unwrap();
    let (code, _, err) = said(portcullis().arg("agent").arg("--config").arg(&file).output().unwrap());
    assert_eq!(code, 2, "{err}");
    assert_line(&err, &["portcullis.toml:2", "unbond"]);
}

#[test]
fn without_an_agent_every_question_ends_in_three() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    for line in [
        "status",
        "map",
        "endpoint list",
        "endpoint show web",
        "endpoint bind web --interface v --address 10.0.0.2",
        "endpoint unbind web",
        "stats",
        "drops",
        "drops --follow",
        "probe web",
        "export",
    ] {
        let output = portcullis().arg("--socket").arg(&socket).args(line.split(' ')).output().unwrap();
        let (code, out, err) = said(output);
        assert_eq!((code, out.as_str()), (3, ""), "{line}: {err}");
        assert_line(&err, &["none.sock", "portcullis agent", "--socket"]);
    }
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    drop(listener);
    let (code, _, err) = said(portcullis().arg("--socket").arg(&socket).arg("status").output().unwrap());
    assert_eq!(code, 3);
    assert_line(&err, &["nobody listens"]);
}

#[test]
fn somebody_else_on_the_socket_is_not_taken_for_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("other.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"220 mail ready\r\n").unwrap();
    });
    let (code, _, err) = said(portcullis().arg("--socket").arg(&socket).arg("status").output().unwrap());
    other.join().unwrap();
    assert_eq!(code, 3);
    assert_line(&err, &["other.sock"]);
}

#[test]
fn an_endpoint_from_its_binding_to_its_end() {
    let agent = FakeAgent::start();
    let (code, out, _) = agent.run("endpoint list");
    assert!(code == 0 && out.contains("endpoint bind"), "{out}");
    let bind = "endpoint bind ns/web:1 --interface veth1 --netns /run/netns/h --address 10.0.0.2,fd00::2 \
                --mac 02:42:0a:00:00:02 --allow router,tunnel --vlan 5 --ethertype 0x88cc --label a=b,c=d --mode audit";
    let (code, out, err) = agent.run(bind);
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        out,
        "endpoint \"ns/web:1\" bound to veth1 in /run/netns/h (10.0.0.2 fd00::2, 02:42:0a:00:00:02; audit, active)\n"
    );
    assert!(agent.run(bind).1.contains("is bound to"));
    let (_, out, _) = agent.run("-o json endpoint show ns/web:1");
    let endpoint: Endpoint = serde_json::from_str(&out).unwrap();
    assert_eq!(endpoint.workload.labels.len(), 2);
    assert_eq!((endpoint.vlans, endpoint.ethertypes), (vec![5], vec!["0x88cc".to_owned()]));
    let (_, yaml, _) = agent.run("endpoint list -o yaml");
    assert_eq!(serde_yaml_ng::from_str::<Vec<Endpoint>>(&yaml).unwrap().len(), 1);
    assert!(agent.run("endpoint mode ns/web:1 enforce").1.contains("set to enforce"));
    assert!(agent.run("endpoint quarantine ns/web:1").1.contains("quarantined"));
    assert!(agent.run("endpoint ls").1.contains("quarantined"));
    assert!(agent.run("endpoint release id-ns/web:1").1.contains("released"));
    let (code, out, err) = agent.run("endpoint unbind nobody ns/web:1");
    assert_eq!((code, out.as_str()), (4, "endpoint \"ns/web:1\" unbound\n"));
    assert_line(&err, &["nobody"]);
}

#[test]
fn the_map_is_filtered_and_printed_in_every_form() {
    let agent = FakeAgent::start();
    let (code, out, _) = agent.run("map");
    assert!(code == 0 && out.starts_with("no containers"), "{out}");
    agent.knows(&[
        ["web-1", "bound", "shop_front", "docker", "web"],
        ["web-2", "unbound", "shop_front", "docker", "web"],
        ["db", "held", "shop_back", "docker", "db"],
        ["mail", "bound", "podman", "podman", "mail"],
    ]);
    // Trouble is shown; it is no failure of the command.
    let (code, out, err) = agent.run("map");
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.lines().nth(1).unwrap().starts_with("web-2      UNBOUND"), "{out}");
    assert!(out.ends_with("4 containers: 2 bound, 1 HELD, 1 UNBOUND\n"), "{out}");
    for (line, names) in [
        ("map --state unbound,held", vec!["web-2", "db"]),
        ("map --network shop_*", vec!["web-1", "web-2", "db"]),
        ("map --runtime podman", vec!["mail"]),
        ("map --label app=web --state bound", vec!["web-1"]),
        ("map --network bridge", vec![]),
    ] {
        let (code, json, _) = agent.run(&format!("{line} -o json"));
        let map: ContainerMap = serde_json::from_str(&json).unwrap();
        let found: Vec<_> = map.rows.iter().filter_map(|row| row.container.as_deref()).collect();
        assert_eq!((code, found), (0, names), "{line}");
    }
    let (_, yaml, _) = agent.run("map -o yaml");
    assert_eq!(serde_yaml_ng::from_str::<ContainerMap>(&yaml).unwrap().rows.len(), 4);
    let (_, dot, _) = agent.run("map -o dot --runtime podman");
    assert!(
        dot.starts_with("graph portcullis {") && dot.contains("veth-mail") && !dot.contains("web-1"),
        "{dot}"
    );
    for (line, word) in [
        ("map --state lost", "host-network"),
        ("status -o dot", "only `portcullis map`"),
        ("map --label x", "key=value"),
    ] {
        let (code, out, err) = agent.run(line);
        assert_eq!((code, out.as_str()), (2, ""), "{line}");
        assert_line(&err, &[word]);
    }
}

#[test]
fn lists_of_endpoints_are_filtered() {
    let agent = FakeAgent::start();
    agent.run("endpoint bind a --interface veth1 --address 10.0.0.2 --label app=web");
    agent.run("endpoint bind b --interface veth2 --address 10.0.0.3 --label app=db");
    for (line, names) in [
        ("endpoint list --label app=d*", "b"),
        ("endpoint list --source api --label app=web", "a"),
        ("endpoint list --source docker", ""),
        ("endpoint list --network x", ""),
        ("endpoint list --runtime docker", ""),
    ] {
        let (code, json, _) = agent.run(&format!("{line} -o json"));
        let found: Vec<Endpoint> = serde_json::from_str(&json).unwrap();
        let found: String = found.into_iter().map(|endpoint| endpoint.name).collect();
        assert_eq!((code, found.as_str()), (0, names), "{line}");
    }
    assert_eq!(agent.run("endpoint list --network x").1, "no endpoint is like that\n");
    let (code, _, err) = agent.run("endpoint list --source moby");
    assert_eq!(code, 2);
    assert_line(&err, &["moby", "docker"]);
}

#[test]
fn what_the_agent_refuses_has_its_own_exit_code() {
    let agent = FakeAgent::start();
    assert_eq!(agent.run("endpoint bind a --interface veth1 --address 10.0.0.2").0, 0);
    for (line, exit, word) in [
        ("endpoint show nobody", 4, "nobody"),
        ("endpoint mode nobody off", 4, "nobody"),
        ("endpoint bind b --interface veth1 --address 10.0.0.3", 5, "\"a\""),
        ("endpoint bind c --interface absent --address 10.0.0.3", 4, "absent"),
        ("drops --endpoint nobody", 4, "nobody"),
        ("drops --follow --endpoint nobody", 4, "nobody"),
        ("stats nobody", 4, "nobody"),
        ("probe nobody", 4, "nobody"),
        ("probe a", 4, "--netns"),
    ] {
        let (code, out, err) = agent.run(line);
        assert_eq!((code, out.as_str()), (exit, ""), "{line}: {err}");
        assert_line(&err, &[word]);
    }
    assert_eq!(agent.run("endpoint bind c --interface absent --address 10.0.0.3 --allow-missing").0, 0);
    let mut odd = agent.command("endpoint bind --interface veth9 --address 10.0.0.9");
    assert_eq!(said(odd.arg("a name").output().unwrap()).0, 2);
}

#[test]
fn stats_watch_appends_tables_and_stops() {
    let agent = FakeAgent::start();
    agent.run("endpoint bind a --interface veth1 --address 10.0.0.2");
    let (code, out, _) = agent.run("stats --watch --interval 100ms --count 3");
    assert_eq!(code, 0);
    assert_eq!(out.matches("spoofed-ipv4 2").count(), 3, "{out}");
    assert!(out.contains("DROPPED/S") && !out.contains('\x1b'), "{out}");
    let (_, out, _) = agent.run("stats a -o json");
    assert_eq!(serde_json::from_str::<Vec<Endpoint>>(&out).unwrap()[0].counters.dropped.packets, 2);
}

#[test]
fn drops_are_filtered_and_followed() {
    let agent = FakeAgent::start();
    agent.run("endpoint bind a --interface veth1 --address 10.0.0.2");
    for (endpoint, reason) in [("a", "spoofed-ipv4"), ("gone", "vlan"), ("a", "vlan")] {
        agent.tell(a_drop(endpoint, reason));
    }
    assert_eq!(agent.run("drops").1.lines().count(), 3);
    assert_eq!(agent.run("drops -n 1").1.lines().count(), 1);
    assert_eq!(agent.run("drops --endpoint gone").1.lines().count(), 1);
    assert_eq!(
        agent.run("drops --endpoint id-a --reason vlan").1,
        "10:00:00.123456  a                 vlan           dropped  IPv4 192.0.2.10 > 10.0.0.1\n"
    );
    let (_, json, _) = agent.run("drops -o json");
    assert_eq!(serde_json::from_str::<Vec<DropRecord>>(&json).unwrap().len(), 3);

    let mut child =
        agent.command("drops --follow --last 1 --count 2 -o json").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The past has come, so the future is subscribed to.
    assert!(lines.next().unwrap().unwrap().contains("\"vlan\""));
    agent.tell(a_drop("a", "spoofed-mac"));
    assert!(lines.next().unwrap().unwrap().contains("\"spoofed-mac\""));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_follower_is_told_when_the_agent_ends() {
    let agent = FakeAgent::start();
    agent.tell(a_drop("a", "vlan"));
    let mut command = agent.command("drops --follow");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    drop(agent);
    let (code, _, err) = said(child.wait_with_output().unwrap());
    assert_eq!(code, 1);
    assert_line(&err, &["the agent", "the gate stays shut"]);
}

#[test]
fn captures_go_to_files_and_pipes() {
    let agent = FakeAgent::start();
    agent.tell(a_drop("a", "vlan"));
    let file = agent.dir().join("drops.pcapng");
    let output = agent.command("drops --pcap").arg(&file).output().unwrap();
    let (code, out, err) = said(output);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(bytes[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
    assert_eq!(agent.command("drops --pcap -").output().unwrap().stdout, bytes);
    let (code, _, err) = agent.run("drops --pcap /nonexistent/x.pcapng");
    assert_eq!(code, 1);
    assert_line(&err, &["/nonexistent/x.pcapng"]);
}

#[test]
fn the_state_goes_out_and_in_again() {
    let agent = FakeAgent::start();
    for i in 2..5 {
        agent.run(&format!("endpoint bind e{i} --interface veth{i} --address 10.0.0.{i} --label k=v"));
    }
    for (format, name) in [("table", "s.toml"), ("yaml", "s.yaml"), ("json", "s.json")] {
        let (_, text, _) = agent.run(&format!("export -o {format}"));
        let file = agent.dir().join(name);
        std::fs::write(&file, text).unwrap();
        let (code, out, err) = said(agent.command("apply -f").arg(&file).output().unwrap());
        assert_eq!((code, out.as_str()), (0, "applied: 0 created, 3 updated, 0 removed\n"), "{err}");
    }
    let (_, json, _) = agent.run("export -o json");
    assert_eq!(serde_json::from_str::<State>(&json).unwrap().endpoints.len(), 3);
    let file = agent.dir().join("bad.toml");
    std::fs::write(
        &file,
        "[[endpoint]]\nname = \"x\"\ninterface = { name = \"v\" }\naddresses = [\"0.0.0.0/0\"]\n",
    )
    .unwrap();
    let (code, _, err) = said(agent.command("apply -f").arg(&file).output().unwrap());
    assert_eq!(code, 2);
    assert_line(&err, &["bad.toml: line 4", "every address"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let agent = FakeAgent::start();
    for _ in 0..50 {
        agent.tell(a_drop("a", "vlan"));
    }
    let mut child =
        agent.command("drops --follow").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    drop(reader);
    // Whatever it writes now meets a closed pipe.
    for _ in 0..20 {
        agent.tell(a_drop("a", "vlan"));
    }
    let (code, _, err) = said(child.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn doctor_and_the_list_of_cases_need_no_agent() {
    let (code, out, _) = run("-o json doctor");
    let checks: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    let failed = checks.iter().any(|check| check["status"] == "fail");
    assert_eq!(code, i32::from(failed), "{out}");
    let (code, out, _) = run("probe --list -o json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    assert!(code == 0 && cases.len() >= 90, "{} cases", cases.len());
}

#[test]
fn probing_what_is_not_there_says_so() {
    let (code, _, err) = run("probe --netns /nonexistent --interface eth0");
    assert_eq!(code, 1);
    assert_line(&err, &["/nonexistent"]);
}
