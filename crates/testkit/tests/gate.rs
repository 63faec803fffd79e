//! Every case of the published suite as a real frame through a real veth, and its exact reason.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;

use common::{Far, reaches_the_gate, send, total};
use portcullis_probe::{Case, Identity, SendVia, suite};
use portcullis_testkit::{
    Agent, AgentOptions, Flood, Lab, Pace, Reasons, forge_udp4, tagged_payload, wait_until,
};

/// Attacker 1, whose neighbour 2 is impersonated, towards 3.
fn cases(lab: &Lab) -> (Identity, Vec<Case>) {
    let identity =
        Identity { far_mac: lab.container(3).mac(), ..lab.container(1).identity(lab.container(2)) };
    let cases = suite(&identity);
    assert!(cases.len() > 90, "only {} cases", cases.len());
    (identity, cases)
}

/// What moved.
fn moved(before: &Reasons, after: &Reasons) -> Reasons {
    let grown = after.iter().map(|(name, n)| (name.clone(), n - before.get(name).unwrap_or(&0)));
    grown.filter(|(_, n)| *n > 0).collect()
}

/// Sends one case; says what is wrong with what the gate and the far side made of it.
fn judge(lab: &Lab, agent: &Agent, far: &Far, case: &Case) -> Result<(), String> {
    let frames = case.frames.len() as u64;
    let before = agent.reasons("attacker").unwrap();
    send(lab.container(1).namespace(), case).map_err(|error| format!("not sent: {error:#}"))?;
    let Some(reason) = case.expect.reason() else {
        far.wait_for(case)?;
        let moved = moved(&before, &agent.reasons("attacker").unwrap());
        // An ICMP error that quotes what was never sent to it passes, and is noticed.
        let noticed =
            case.id.ends_with("-foreign-quote") && moved == Reasons::from([("icmp-quote".into(), frames)]);
        return if moved.is_empty() || noticed {
            Ok(())
        } else {
            Err(format!("honest, but counted as {moved:?}"))
        };
    };
    let counted = || moved(&before, &agent.reasons("attacker").unwrap());
    let enough = wait_until("drops", || counted().values().sum::<u64>() >= frames);
    let counted = counted();
    if enough.is_err() || counted != Reasons::from([(reason.name().to_owned(), frames)]) {
        return Err(format!("{frames} × {} expected, counted {counted:?}", reason.name()));
    }
    Ok(())
}

#[test]
fn every_case_meets_its_verdict_and_its_reason() {
    let lab = Lab::new(3).unwrap();
    let agent = Agent::start(&lab).unwrap();
    for (name, number) in [("attacker", 1), ("neighbour", 2), ("far", 3)] {
        agent.bind(name, lab.container(number), &[]).unwrap();
    }
    let (_, cases) = cases(&lab);
    let far = Far::start(&lab).unwrap();
    // Ring frames are sent by the live probe, below: its ring is the one that is needed.
    let sendable = || cases.iter().filter(|case| case.via != SendVia::NonLinear && reaches_the_gate(case));
    assert_eq!(cases.iter().filter(|case| !reaches_the_gate(case)).count(), 3, "runts");
    let mut wrong: Vec<String> = sendable()
        .filter_map(|case| judge(&lab, &agent, &far, case).err().map(|error| format!("{}: {error}", case.id)))
        .collect();
    let arrived = sendable().filter(|case| !case.expect.is_pass() && far.saw_any(case));
    wrong.extend(arrived.map(|case| format!("{}: arrived", case.id)));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), sendable().count(), wrong.join("\n"));
    for innocent in ["neighbour", "far"] {
        let counters = agent.endpoint(innocent).unwrap().counters;
        assert_eq!(total(&counters.reasons), 0, "{innocent}: {counters:?}");
    }
}

#[test]
fn the_probe_finds_the_network_open_without_and_closed_with_the_gate() {
    let lab = Lab::new(3).unwrap();
    let agent = Agent::start(&lab).unwrap();
    let path = lab.container(1).namespace().path().to_str().unwrap().to_owned();
    let far = lab.container(3).namespace().path().to_str().unwrap().to_owned();
    let open =
        agent.cli(&["probe", "--netns", &path, "--interface", "eth0", "--to", &far, "-o", "json"]).unwrap();
    assert_eq!(open.status.code(), Some(1), "{}", String::from_utf8_lossy(&open.stderr));
    let card: serde_json::Value = serde_json::from_slice(&open.stdout).unwrap();
    let (forged, stopped) = (&card["summary"]["forged_total"], &card["summary"]["forged_stopped"]);
    assert!(forged.as_u64().unwrap() > 2 * stopped.as_u64().unwrap(), "an open bridge stops few: {card:#}");

    for (name, number) in [("attacker", 1), ("neighbour", 2), ("far", 3)] {
        agent.bind(name, lab.container(number), &[]).unwrap();
    }
    let junit = lab.directory().join("report.xml");
    let arguments = ["probe", "attacker", "--junit", junit.to_str().unwrap(), "-o", "json"];
    let closed = agent.cli(&arguments).unwrap();
    let card: serde_json::Value = serde_json::from_slice(&closed.stdout).unwrap_or_default();
    let bad: Vec<&serde_json::Value> =
        card["outcomes"].as_array().into_iter().flatten().filter(|outcome| outcome["ok"] == false).collect();
    assert_eq!(closed.status.code(), Some(0), "{bad:#?}{}", String::from_utf8_lossy(&closed.stderr));
    let summary = &card["summary"];
    assert_eq!(summary["forged_stopped"], summary["forged_total"]);
    assert_eq!(summary["honest_passed"], summary["honest_total"]);
    // Two runts that a packet socket refuses to send.
    assert_eq!(summary["not_run"], 2, "{summary}");
    assert!(std::fs::read_to_string(junit).unwrap().contains("<testsuite"));

    // The probe sends every case once, also those out of a ring: the counters know exactly how many.
    let (_, cases) = cases(&lab);
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for case in cases.iter().filter(|case| !case.expect.is_pass() && reaches_the_gate(case)) {
        let name = case.expect.reason().unwrap().name().to_owned();
        *expected.entry(name).or_default() += case.frames.len() as u64;
    }
    let mut reasons = agent.reasons("attacker").unwrap();
    assert!(reasons.remove("icmp-quote").is_some(), "quotes are noticed: {reasons:?}");
    assert_eq!(moved(&Reasons::new(), &reasons), expected);
}

#[test]
fn audit_counts_what_enforcement_would_drop_and_lets_it_pass() {
    let lab = Lab::new(3).unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.bind("attacker", lab.container(1), &["--mode", "audit"]).unwrap();
    let (_, cases) = cases(&lab);
    let wanted = |case: &&Case| case.via == SendVia::Raw && !case.expect.is_pass() && reaches_the_gate(case);
    let mut expected: Reasons = Reasons::new();
    for case in cases.iter().filter(wanted) {
        send(lab.container(1).namespace(), case).unwrap();
        *expected.entry(case.expect.reason().unwrap().name().to_owned()).or_default() +=
            case.frames.len() as u64;
    }
    let frames = total(&expected);
    wait_until("all to be counted", || {
        agent.endpoint("attacker").unwrap().counters.audited.packets >= frames
    })
    .unwrap();
    let counters = agent.endpoint("attacker").unwrap().counters;
    assert_eq!(moved(&Reasons::new(), &counters.reasons), expected);
    assert_eq!((counters.audited.packets, counters.dropped.packets), (frames, 0));

    let (mallory, web) = (lab.container(1), lab.container(3));
    let forged = forge_udp4((mallory.mac(), lab.container(2).ipv4()), (web.mac(), web.ipv4()), b"gate-audit");
    let listener = web.listen(tagged_payload(b"gate-audit")).unwrap();
    mallory.send_raw(&forged).unwrap();
    listener.wait_for(1).unwrap();

    // The same endpoint enforced, and then not verified at all.
    agent.cli_ok(&["endpoint", "mode", "attacker", "enforce"]).unwrap();
    mallory.send_raw(&forged).unwrap();
    wait_until("a drop", || agent.endpoint("attacker").unwrap().counters.dropped.packets == 1).unwrap();
    agent.cli_ok(&["endpoint", "mode", "attacker", "off"]).unwrap();
    mallory.send_raw(&forged).unwrap();
    listener.wait_for(2).unwrap();
    assert_eq!(listener.stop().unwrap(), 2);
}

#[test]
fn a_container_cannot_rename_itself() {
    let lab = Lab::new(2).unwrap();
    let agent = Agent::start(&lab).unwrap();
    let web = lab.container(1);
    agent.bind("web", web, &[]).unwrap();
    assert!(web.ping("10.77.0.12", 2).unwrap().none_lost());

    // A further address is not bound.
    web.namespace().ip("addr add 10.77.0.99/24 dev eth0\n").unwrap();
    let answers = web.run("ping -n -q -c 2 -i 0.1 -W 1 -I 10.77.0.99 10.77.0.12");
    assert!(answers.is_err(), "{answers:?}");
    let reasons = agent.reasons("web").unwrap();
    assert!(reasons.contains_key("spoofed-arp") || reasons.contains_key("spoofed-ipv4"), "{reasons:?}");

    // Another MAC is not its own, and is not learned.
    web.namespace().ip("addr del 10.77.0.99/24 dev eth0\nlink set eth0 address 02:77:00:00:00:0c\n").unwrap();
    assert_eq!(web.ping("10.77.0.12", 2).unwrap().received, 0);
    assert!(agent.reasons("web").unwrap().contains_key("spoofed-mac"));
    assert_eq!(agent.endpoint("web").unwrap().macs, ["02:77:00:00:00:0b"]);

    // Another name, or another namespace, is the same interface.
    let further = format!("{}-c2", lab.tag());
    web.namespace()
        .ip(&format!(
            "link set eth0 down\nlink set eth0 address 02:77:00:00:00:0b name evil0 netns {further}\n"
        ))
        .unwrap();
    let inner = lab.container(2).namespace();
    inner.ip("link set evil0 up\n").unwrap();
    let before = agent.endpoint("web").unwrap().counters.dropped.packets;
    let forged =
        forge_udp4((web.mac(), lab.container(2).ipv4()), (portcullis_testkit::BRIDGE_MAC, web.ipv4()), b"x");
    inner.socket("evil0").unwrap().send(&forged).unwrap();
    wait_until("a drop", || agent.endpoint("web").unwrap().counters.dropped.packets > before).unwrap();
}

#[test]
fn interfaces_without_a_binding_obey_the_setting() {
    for (policy, arrives) in [("allow", true), ("audit", true), ("drop", false)] {
        let lab = Lab::new(3).unwrap();
        let options =
            AgentOptions { arguments: vec!["--unbound".into(), policy.into()], ..AgentOptions::default() };
        let agent = Agent::start_with(&lab, &options).unwrap();
        agent.bind("bound", lab.container(2), &[]).unwrap();
        agent.bind("far", lab.container(3), &[]).unwrap();
        let far = lab.container(3);
        let (from_unbound, from_bound) = (lab.container(1), lab.container(2));
        let frame = |tag, c: &portcullis_testkit::Container| {
            forge_udp4((c.mac(), c.ipv4()), (far.mac(), far.ipv4()), tag)
        };
        let listener = far.listen(tagged_payload(b"gate-unbound")).unwrap();
        let bound = far.listen(tagged_payload(b"gate-bound")).unwrap();
        wait_until("the setting to be in force", || {
            from_unbound.send_raw(&frame(b"gate-probe", from_unbound)).unwrap();
            policy == "allow"
                || total(&agent.status().unwrap().counters.reasons) > 0
                || agent.log().contains("unbound")
        })
        .unwrap();
        let pace = Pace { frames: 50, ..Pace::default() };
        let unbound = frame(b"gate-unbound", from_unbound);
        Flood::start(from_unbound.namespace(), "eth0", vec![unbound], pace).unwrap().finish().unwrap();
        // Sent after the others: once these have come, the others would have.
        Flood::start(from_bound.namespace(), "eth0", vec![frame(b"gate-bound", from_bound)], pace)
            .unwrap()
            .finish()
            .unwrap();
        bound.wait_for(50).unwrap();
        if arrives {
            listener.wait_for(50).unwrap();
        }
        assert_eq!(listener.stop().unwrap(), if arrives { 50 } else { 0 }, "{policy}");
    }
}

#[test]
fn a_quarantined_endpoint_is_cut_off_until_it_is_released() {
    let lab = Lab::new(2).unwrap();
    let agent = Agent::start(&lab).unwrap();
    agent.bind("web", lab.container(1), &[]).unwrap();
    let ping = || lab.container(1).ping("10.77.0.12", 2).unwrap();
    assert!(ping().none_lost());
    agent.cli_ok(&["endpoint", "quarantine", "web"]).unwrap();
    assert_eq!(ping().received, 0);
    // Nothing reaches it either.
    let listener = lab.container(1).listen(tagged_payload(b"gate-quarantine")).unwrap();
    let (web, db) = (lab.container(1), lab.container(2));
    let honest = forge_udp4((db.mac(), db.ipv4()), (web.mac(), web.ipv4()), b"gate-quarantine");
    db.send_raw(&honest).unwrap();
    assert!(agent.reasons("web").unwrap()["quarantined"] > 0);
    agent.cli_ok(&["endpoint", "release", "web"]).unwrap();
    assert!(ping().none_lost());
    db.send_raw(&honest).unwrap();
    listener.wait_for(1).unwrap();
    assert_eq!(listener.stop().unwrap(), 1, "what was sent in quarantine arrived");
}
