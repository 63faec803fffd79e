//! What looks like an attack and is not: a dual-stack container that boots has a spoof count of zero.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_testkit::{Agent, Lab, scapy, wait_until};

/// Whether a frame, padded to 64 bytes at least, is one of a kind.
type Pattern = fn(&[u8]) -> bool;

/// What an honest boot must have sent, or the test saw nothing.
const EXPECTED: [(&str, Pattern); 6] = [
    ("duplicate address detection", |f| icmp6(f) == Some(135) && f[22..38] == [0; 16]),
    ("an MLD report behind its router alert", |f| {
        f[12..14] == [0x86, 0xdd] && f[20] == 0 && f.get(62) == Some(&143)
    }),
    ("a router solicitation", |f| icmp6(f) == Some(133)),
    ("an ARP request", |f| f[12..14] == [8, 6] && f[21] == 1 && f[28..32] != [0; 4]),
    ("an ARP probe", |f| f[12..14] == [8, 6] && f[21] == 1 && f[28..32] == [0; 4]),
    ("an IGMP report behind its router alert", |f| f[12..14] == [8, 0] && f[14] == 0x46 && f[23] == 2),
];

fn icmp6(frame: &[u8]) -> Option<u8> {
    (frame[12..14] == [0x86, 0xdd] && frame[20] == 58).then(|| frame[54])
}

const JOIN: &str = "import socket, struct, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack('4s4s', socket.inet_aton('239.1.2.3'), socket.inet_aton(ADDRESS)))
t = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
t.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, 'ff05::1:3') + struct.pack('@I', socket.if_nametoindex('eth0')))
time.sleep(2.5)
sendp(Ether(dst='ff:ff:ff:ff:ff:ff', src=MAC)/ARP(op=1, hwsrc=MAC, psrc='0.0.0.0', pdst=ADDRESS), iface='eth0')
sendp(Ether(dst='ff:ff:ff:ff:ff:ff', src=MAC)/ARP(op=1, hwsrc=MAC, psrc=ADDRESS, pdst=ADDRESS), iface='eth0')
";

#[test]
fn an_honest_boot_has_a_spoof_count_of_zero() {
    let mut lab = Lab::builder().honest_boot().build().unwrap();
    let agent = Agent::start(&lab).unwrap();
    // Bound before it exists: its first frame is verified.
    let bind = ["endpoint", "bind", "web", "--interface", "veth-c1", "--address", "10.77.0.11,fd77::b"];
    agent.cli_ok(&[&bind[..], &["--mac", "02:77:00:00:00:0b", "--allow-missing"]].concat()).unwrap();
    assert_eq!(agent.status().unwrap().endpoints.waiting, 1);

    // The witness is there before, so that it sees everything from the start.
    let seen = Arc::new(Mutex::new([0u32; EXPECTED.len()]));
    let frames = Arc::new(AtomicU32::new(0));
    let (book, counter) = (Arc::clone(&seen), Arc::clone(&frames));
    let _witness = portcullis_testkit::Listener::start(lab.host(), "br0", move |frame| {
        if frame.len() < 42 || frame[6..12] != [0x02, 0x77, 0, 0, 0, 0x0b] {
            return false;
        }
        counter.fetch_add(1, Ordering::Relaxed);
        // Short ones (ARP) are padded for the patterns' sake.
        let mut padded = frame.to_vec();
        padded.resize(frame.len().max(64), 0);
        for ((_, matches), count) in EXPECTED.iter().zip(book.lock().unwrap().iter_mut()) {
            *count += u32::from(matches(&padded));
        }
        true
    })
    .unwrap();

    lab.add_container().unwrap();
    let web = lab.container(1);
    wait_until("the binding", || agent.status().unwrap().endpoints.active == 1).unwrap();
    web.wait_for_addresses().unwrap();
    let prelude = format!("MAC = '{}'\nADDRESS = '{}'\n", web.mac(), web.ipv4());
    scapy(web.namespace(), &format!("{prelude}{JOIN}")).unwrap();
    assert!(web.ping("10.77.0.1", 3).unwrap().none_lost());
    assert!(web.ping("fd77::1", 3).unwrap().none_lost());
    assert!(web.ping("192.0.2.2", 3).unwrap().none_lost());
    // The kernel solicits routers and repeats its reports at random times; all of them must come.
    wait_until("all of an honest boot", || seen.lock().unwrap().iter().all(|count| *count > 0))
        .unwrap_or_else(|error| {
            let seen = seen.lock().unwrap();
            let missing: Vec<&str> = EXPECTED
                .iter()
                .zip(seen.iter())
                .filter(|(_, n)| **n == 0)
                .map(|((name, _), _)| *name)
                .collect();
            panic!("{error}; never seen: {missing:?}; {:#?}", agent.endpoint("web").unwrap());
        });
    let counters = agent.endpoint("web").unwrap().counters;
    assert_eq!(counters.dropped.packets, 0, "{counters:?}");
    assert!(counters.reasons.values().all(|count| *count == 0), "{counters:?}");
    assert!(counters.allowed.packets > 0);
    assert!(frames.load(Ordering::Relaxed) > 0);
}
