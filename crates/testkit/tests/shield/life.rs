//! Where it stands: put up, kept up, taken up again, taken down.

use portcullis_testkit::{Agent, Lab, OUTSIDE_V4, wait_until};

use super::{answers, dropped, further, passes};

#[test]
fn a_blocked_address_stays_blocked_while_the_agent_is_killed_and_started() {
    let lab = Lab::new(0).unwrap();
    let outside = lab.outside().unwrap();
    further(outside, &["192.0.2.7", "2001:db8::7"]);
    let mut agent = Agent::start(&lab).unwrap();
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    agent.cli_ok(&["blocklist", "add", "192.0.2.7", "2001:db8::7", "--comment", "test"]).unwrap();
    let check = |when: &str| {
        assert!(passes(outside, "192.0.2.2", "192.0.2.1"), "{when}");
        assert!(passes(outside, "2001:db8::2", "2001:db8::1"), "{when}");
        assert!(!passes(outside, "192.0.2.7", "192.0.2.1"), "{when}");
        assert!(!passes(outside, "2001:db8::7", "2001:db8::1"), "{when}");
    };
    check("at first");
    agent.kill9().unwrap();
    check("without an agent");
    agent.restart().unwrap();
    check("with the next agent");
    assert!(agent.cli_ok(&["blocklist", "list"]).unwrap().contains("test"));
    assert!(dropped(&agent, "blocklisted") >= 6, "counters go on");
    // Taken away and put up again by hand: the agent does it.
    lab.host().ip("link set dev uplink xdp off\n").unwrap_or_default();
    wait_until("it stands", || !passes(outside, "192.0.2.7", "192.0.2.1")).unwrap();
    agent.cli_ok(&["blocklist", "remove", "192.0.2.7"]).unwrap();
    assert!(passes(outside, "192.0.2.7", "192.0.2.1"));
    assert!(!passes(outside, "2001:db8::7", "2001:db8::1"));
    agent.cli_ok(&["shield", "detach", "uplink:xdp"]).unwrap();
    assert!(passes(outside, "2001:db8::7", "2001:db8::1"));
}

#[test]
fn a_container_is_protected_on_the_host_side_and_inside_and_when_it_comes_back() {
    let mut lab = Lab::new(2).unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.bind("web", lab.container(1), &[]).unwrap();
    agent.cli_ok(&["shield", "attach", "--container", "web"]).unwrap();
    agent.cli_ok(&["blocklist", "add", OUTSIDE_V4]).unwrap();
    let blocked = |lab: &Lab| {
        let outside = lab.outside().unwrap();
        !answers(outside, "10.77.0.11") && answers(outside, "10.77.0.12") && answers(outside, "10.77.0.1")
    };
    assert!(blocked(&lab), "tc on the host side");
    agent.cli_ok(&["shield", "attach", "--container", "web", "--hook", "xdp"]).unwrap();
    agent.cli_ok(&["shield", "detach", "web:tc"]).unwrap();
    assert!(blocked(&lab), "XDP inside");
    let list = agent.cli_ok(&["shield", "list"]).unwrap();
    assert!(list.contains("native") && list.contains("eth0") && list.contains("3506"), "{list}");
    // Whoever is root inside takes it off: it is back within seconds.
    let seen = dropped(&agent, "blocklisted");
    let _refused = lab.container(1).run("ip link set dev eth0 xdp off");
    wait_until("it stands inside", || blocked(&lab)).unwrap();
    assert!(dropped(&agent, "blocklisted") > seen);
    // Its interface goes, and another one comes.
    lab.replug(1).unwrap();
    wait_until("it stands on the new interface", || {
        agent.cli_ok(&["shield", "list"]).unwrap().contains("active") && blocked(&lab)
    })
    .unwrap();
    let drops = agent.cli_ok(&["drops", "--last", "5"]).unwrap();
    assert!(drops.contains("blocklisted") && drops.contains("web"), "{drops}");
}

#[test]
fn what_cannot_stand_is_said_and_what_vanishes_is_waited_for() {
    let lab = Lab::new(0).unwrap();
    let agent = Agent::start(&lab).unwrap();
    let refused = |arguments: &[&str], code: i32, words: &[&str]| {
        let output = agent.cli(&[&["shield", "attach"], arguments].concat()).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
    };
    refused(&["--interface", "none"], 4, &["none", "ip link"]);
    refused(&["--container", "nobody"], 4, &["nobody", "portcullis map"]);
    refused(&["--interface", "uplink", "--netns", "/run/netns/none"], 4, &["/run/netns/none"]);
    refused(&["--interface", "uplink", "--hook", "tc", "--xdp-mode", "native"], 2, &["xdp_mode", "tc"]);
    refused(&["--interface", "uplink", "--container", "x", "--netns", "/x"], 2, &["--netns"]);
    refused(&[], 2, &["--interface"]);
    // Native XDP wants frames that fit into a page.
    lab.host().ip("link set uplink mtu 9000\n").unwrap();
    lab.outside().unwrap().ip("link set eth0 mtu 9000\n").unwrap();
    refused(&["--interface", "uplink", "--xdp-mode", "native"], 1, &["uplink"]);
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    let list = agent.cli_ok(&["shield", "list"]).unwrap();
    assert!(list.contains("generic"), "{list}");
    agent.cli_ok(&["shield", "detach", "uplink:xdp"]).unwrap();
    lab.host().ip("link set uplink mtu 1500\n").unwrap();
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    lab.host().ip("link del uplink\n").unwrap();
    wait_until("it waits", || agent.cli_ok(&["shield", "list"]).unwrap().contains("waiting")).unwrap();
    lab.host().ip("link add uplink type veth peer name other\n").unwrap();
    wait_until("it stands again", || agent.cli_ok(&["shield", "list"]).unwrap().contains("active")).unwrap();
}

/// Somebody else's XDP program is named, and left alone. (Here it is a second shield's, which is as foreign.)
#[test]
fn a_foreign_xdp_program_is_named_and_left_alone() {
    let lab = Lab::new(0).unwrap();
    let first = Agent::start(&lab).unwrap();
    first.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    first.cli_ok(&["blocklist", "add", "192.0.2.2"]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let bpffs = format!("{}-other", lab.bpffs().display());
    let mut command = lab.host().command(portcullis_testkit::portcullis().unwrap());
    let arguments =
        ["--socket", &path("s"), "agent", "--state-dir", &path("state"), "--bpffs", &bpffs, "--no-sources"];
    let process = portcullis_testkit::Process::spawn(command.args(arguments)).unwrap();
    let ask = |arguments: &[&str]| {
        let mut command = lab.host().command(portcullis_testkit::portcullis().unwrap());
        command.args(["--socket", &path("s")]).args(arguments).output().unwrap()
    };
    wait_until("the other agent", || ask(&["health"]).status.success()).unwrap();
    let output = ask(&["shield", "attach", "--interface", "uplink"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(
        said.contains("shield_xdp") && said.contains("left alone") && said.contains("--hook tc"),
        "{said}"
    );
    assert!(ask(&["shield", "list"]).stdout.starts_with(b"the shield stands nowhere"));
    assert!(!answers(lab.outside().unwrap(), "192.0.2.1"), "the first one stands");
    drop(process);
    let mut teardown = lab.host().command(portcullis_testkit::portcullis().unwrap());
    let arguments = ["agent", "--teardown", "--state-dir", &path("state"), "--bpffs", &bpffs];
    assert!(teardown.args(arguments).output().unwrap().status.success());
    // Nothing is left but the directory.
    std::fs::remove_dir(&bpffs).unwrap();
}
