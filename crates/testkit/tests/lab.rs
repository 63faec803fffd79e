//! The lab itself: what it promises the other tests, and that nothing is left of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::time::Duration;

use portcullis_testkit::{Flood, Lab, OUTSIDE_V4, OUTSIDE_V6, Pace, forge_udp4, scapy, tagged_payload};

#[test]
fn everybody_reaches_everybody() {
    let lab = Lab::new(3).unwrap();
    let first = lab.container(1);
    for address in ["10.77.0.1", "10.77.0.12", "10.77.0.13", "fd77::1", "fd77::c", OUTSIDE_V4, OUTSIDE_V6] {
        assert!(first.ping(address, 2).unwrap().none_lost(), "{address}");
    }
}

#[test]
fn without_a_gate_forgeries_arrive() {
    let lab = Lab::new(2).unwrap();
    let (attacker, victim) = (lab.container(1), lab.container(2));
    let forged = forge_udp4(
        (attacker.mac(), portcullis_abi::Ipv4([10, 77, 0, 1])),
        (victim.mac(), victim.ipv4()),
        b"lab-forged",
    );
    let listener = victim.listen(tagged_payload(b"lab-forged")).unwrap();
    let pace = Pace { frames: 100, ..Pace::default() };
    let sent = Flood::start(attacker.namespace(), "eth0", vec![forged], pace).unwrap().finish().unwrap();
    assert_eq!(sent, 100);
    listener.wait_for(100).unwrap();
    assert_eq!(listener.stop().unwrap(), 100);
}

#[test]
fn a_tag_is_seen_by_listeners() {
    let lab = Lab::new(2).unwrap();
    let listener = lab.container(2).listen(|frame| frame.get(12..16) == Some(&[0x81, 0, 0, 42])).unwrap();
    scapy(
        lab.container(1).namespace(),
        "sendp(Ether(dst='ff:ff:ff:ff:ff:ff')/Dot1Q(vlan=42)/Raw(b'x'*50), iface='eth0')",
    )
    .unwrap();
    listener.wait_for(1).unwrap();
}

#[test]
fn containers_and_pairs_come_and_go() {
    let mut lab = Lab::builder().containers(1).without_outside().build().unwrap();
    lab.add_container().unwrap();
    assert!(lab.container(2).ping("10.77.0.11", 1).unwrap().none_lost());
    let before = lab.host().index_of("veth-c2").unwrap();
    lab.replug(2).unwrap();
    assert_ne!(lab.host().index_of("veth-c2").unwrap(), before);
    assert!(lab.container(2).ping("10.77.0.11", 1).unwrap().none_lost());
    lab.remove_container(2).unwrap();
    assert!(!lab.host().has_interface("veth-c2"));
    lab.add_pairs("bulk", 0, 300).unwrap();
    assert!(lab.host().has_interface("b299"));
    lab.remove_pairs(0, 300).unwrap();
    assert!(!lab.host().has_interface("b0"));
}

#[test]
fn nothing_is_left_even_after_a_panic() {
    let (send, receive) = std::sync::mpsc::channel();
    let ended = std::thread::spawn(move || {
        let lab = Lab::new(1).unwrap();
        let sleeper = lab.container(1).spawn("sleep 1000").unwrap();
        send.send((lab.tag().to_owned(), lab.directory().to_owned(), sleeper.pid().unwrap())).unwrap();
        // The lab has to deal with processes whose owner forgot them.
        std::mem::forget(sleeper);
        panic!("as tests do");
    })
    .join();
    assert!(ended.is_err());
    let (tag, directory, pid) = receive.recv_timeout(Duration::from_secs(30)).unwrap();
    let names = std::fs::read_dir("/run/netns").unwrap();
    assert!(
        !names.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{tag}-")))
    );
    assert!(!directory.exists());
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
    assert!(Path::new("/run/netns").exists());
}
