//! A damaged state file loses nothing: it is kept aside, and the pinned state is taken over.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::FileExt;

use portcullis_testkit::{Agent, Flood, Lab, Pace, forge_udp4, tagged_payload, wait_until};

#[test]
fn a_damaged_state_file_is_kept_aside_and_the_gate_stays_shut() {
    let lab = Lab::new(2).unwrap();
    let (mallory, web) = (lab.container(1), lab.container(2));
    let mut agent = Agent::start(&lab).unwrap();
    agent.bind("mallory", mallory, &["--label", "tier=back"]).unwrap();
    agent.bind("web", web, &["--mode", "audit"]).unwrap();
    let file = agent.status().unwrap().state_file;
    let before = agent.endpoints().unwrap();

    let forged = forge_udp4((mallory.mac(), web.ipv4()), (web.mac(), web.ipv4()), b"state-forged");
    let listener = web.listen(tagged_payload(b"state-forged")).unwrap();
    let flood = Flood::start(mallory.namespace(), "eth0", vec![forged], Pace::default()).unwrap();
    flood.wait_for(100).unwrap();
    agent.kill9().unwrap();

    // The middle of the file becomes noise.
    let handle = fs::File::options().write(true).open(&file).unwrap();
    let len = handle.metadata().unwrap().len();
    assert!(len > 0, "{file} is empty");
    let noise: Vec<u8> = (0..len).map(|i| (i * 7919 % 251) as u8).collect();
    handle.write_all_at(&noise, 0).unwrap();
    drop(handle);
    let sent = flood.sent();
    agent.restart().unwrap();
    flood.wait_for(sent + 200).unwrap();
    let sent = flood.stop().unwrap();

    let aside: Vec<String> = fs::read_dir(agent.state_dir())
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| fs::read(path).is_ok_and(|content| content == noise))
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(aside.len(), 1, "the damaged file was not kept: {}", agent.log());
    assert_ne!(aside[0], file);
    let status = agent.status().unwrap();
    let said = status.warnings.iter().any(|line| line.contains(&aside[0])) || agent.log().contains(&aside[0]);
    assert!(said, "not said: {:?}\n{}", status.warnings, agent.log());

    let after = agent.endpoints().unwrap();
    assert_eq!(after.len(), before.len(), "{after:#?}");
    for (a, b) in after.iter().zip(&before) {
        assert_eq!(
            (&a.name, &a.id, &a.addresses, &a.macs, a.mode, &a.workload),
            (&b.name, &b.id, &b.addresses, &b.macs, b.mode, &b.workload)
        );
    }
    wait_until("exact counters", || agent.reasons("mallory").unwrap().get("spoofed-ipv4") == Some(&sent))
        .unwrap();
    assert_eq!(listener.stop().unwrap(), 0, "forged frames arrived");

    // And it can be kept again.
    agent.stop().unwrap();
    agent.restart().unwrap();
    assert_eq!(agent.endpoints().unwrap().len(), before.len());
}

#[test]
fn desired_state_survives_a_clean_stop() {
    let lab = Lab::new(2).unwrap();
    let mut agent = Agent::start(&lab).unwrap();
    agent.bind("one", lab.container(1), &["--label", "a=b"]).unwrap();
    agent.bind("two", lab.container(2), &["--allow", "dhcp-client,router"]).unwrap();
    let (_, before) = agent.api("GET", "/api/v1/state", None).unwrap();
    assert!(agent.stop().unwrap().success(), "{}", agent.log());
    agent.restart().unwrap();
    assert_eq!(agent.api("GET", "/api/v1/state", None).unwrap().1, before);
}
