//! What the programs report, and that the hook makes no difference.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use portcullis_abi::{DropEvent, DropReason};
use portcullis_datapath::shield::{EventBudget, Program, Shield};
use portcullis_datapath::{Datapath, Settings};
use portcullis_policy::shield::rules::{Action, Packet, Ports, Protocol, Rule};
use portcullis_policy::shield::{Listing, Prefix4, Prefix6};

use crate::lab::{DROP, Lab, PASS, Wrap, frame, from, rule, v4};

#[test]
fn tc_says_what_xdp_says() {
    let mut lab = Lab::new("tc");
    lab.publish4(&[(Prefix4::of(0x0a00_0000, 9), Listing::BLOCK)].into_iter().collect());
    lab.publish6(&[(Prefix6::of(0x2001_0db8_u128 << 96, 32), Listing::BLOCK)].into_iter().collect());
    let drop_80 = Rule { ports: Ports::new(80, 80), protocol: Some(Protocol::TCP), ..rule(0, Action::Drop) };
    lab.publish_rules(&[drop_80]);
    let sources =
        [v4(0x0a00_0001), v4(0x0aff_0001), IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | 1))];
    let mut seen = [0; 2];
    for source in sources {
        for (protocol, port, piece) in
            [(6, 80, 0), (6, 81, 0), (17, 80, 0), (17, 80, 1), (6, 0, 2), (1, 0, 0)]
        {
            for wrap in [Wrap::Plain, Wrap::Tags(1), Wrap::Tags(3), Wrap::Snap, Wrap::Tags(5)] {
                let bytes = frame(&Packet { port, piece, ..from(source, protocol) }, wrap);
                let xdp = lab.run(&bytes);
                let Ok(tc) = lab.shield.test(lab.profile, Program::Tc, &bytes, 1) else {
                    continue;
                };
                assert_eq!(tc.action == 2, xdp == DROP, "{source} {protocol} {port} {piece}");
                seen[usize::from(xdp == DROP)] += 1;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
}

#[test]
fn events_go_to_the_gates_ring_buffer_within_their_budget() {
    let mut lab = Lab::new("events");
    let mut gate = Datapath::open(&lab.pinned.0, Settings::default()).expect("loading the gate");
    lab.shield = Shield::beside(&lab.pinned.0, &gate.datapath).unwrap();
    lab.publish4(&[(Prefix4::of(0x0a00_0000, 8), Listing::BLOCK)].into_iter().collect());
    let log = Rule { ports: Ports::new(80, 80), ..rule(0, Action::Log) };
    lab.publish_rules(&[log]);
    lab.shield.configure(lab.profile, EventBudget { per_second: 1, burst: 5 }, None).unwrap();
    let bytes = frame(&from(v4(0x0a00_0001), 17), Wrap::Plain);
    for _ in 0..50 {
        assert_eq!(lab.run(&bytes), DROP);
    }
    let mut events = Vec::new();
    gate.events.drain(|event| events.push(*event));
    // More than a second may go by meanwhile.
    assert!((5..=10).contains(&events.len()), "{}", events.len());
    for event in &events {
        assert_eq!((event.slot, event.reason), (DropEvent::SHIELD_SLOT, DropReason::Blocklisted.number()));
        assert_eq!((event.dropped, event.attempts, event.threshold), (1, 0, 3));
        let captured = event.captured as usize;
        assert!(captured >= 48 && event.frame[..captured] == bytes[..captured]);
    }
    let counters = lab.shield.counters(lab.profile).unwrap();
    assert_eq!(counters.unsampled + counters.lost + events.len() as u64, 50);
    lab.shield.configure(lab.profile, EventBudget { per_second: 1_000_000, burst: 100 }, None).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(lab.run(&frame(&from(v4(0x0b00_0001), 17), Wrap::Plain)), PASS);
    let mut logged = Vec::new();
    gate.events.drain(|event| logged.push((event.reason, event.dropped, event.attempts)));
    assert_eq!(logged, [(DropReason::Rule.number(), 0, 1)]);
}

#[test]
fn the_monitor_shows_one_of_so_many_and_takes_nothing_from_reports() {
    let mut lab = Lab::new("monitor");
    let mut gate = Datapath::open(&lab.pinned.0, Settings::default()).expect("loading the gate");
    lab.shield = Shield::beside(&lab.pinned.0, &gate.datapath).unwrap();
    lab.publish4(&[(Prefix4::of(0x0a00_0000, 8), Listing::BLOCK)].into_iter().collect());
    lab.shield.configure(lab.profile, EventBudget { per_second: 1, burst: 3 }, None).unwrap();
    let mut arp = vec![0xff; 12];
    arp.extend([8, 6]);
    arp.extend([0; 28]);
    let listed = frame(&from(v4(0x0a00_0001), 17), Wrap::Plain);
    let frames = [frame(&from(v4(0x0b00_0001), 17), Wrap::Plain), listed.clone(), arp];
    let told = |gate: &mut portcullis_datapath::Opened| {
        let mut told = Vec::new();
        gate.events.drain(|event| told.push(*event));
        let (shown, dropped): (Vec<DropEvent>, Vec<DropEvent>) =
            told.into_iter().partition(|event| event.reason == DropEvent::MONITOR_REASON);
        assert!(shown.iter().all(|event| {
            (event.slot, event.dropped, event.attempts, event.threshold) == (DropEvent::SHIELD_SLOT, 0, 0, 3)
        }));
        (shown, dropped.len())
    };
    for program in [Program::Xdp, Program::Tc] {
        lab.shield.monitor(lab.profile, NonZeroU32::new(10)).unwrap();
        for bytes in &frames {
            lab.shield.test(lab.profile, program, bytes, 1000).unwrap();
            let (shown, _) = told(&mut gate);
            // It may have gone to another CPU, and the time for its budget may be short.
            assert!((95..=105).contains(&shown.len()), "{program:?} {}", shown.len());
            let captured = shown[0].captured as usize;
            assert!(captured >= 32 && shown[0].frame[..captured] == bytes[..captured]);
            std::thread::sleep(std::time::Duration::from_millis(150));
        }
        lab.shield.monitor(lab.profile, None).unwrap();
        lab.shield.test(lab.profile, program, &frames[0], 1000).unwrap();
        assert_eq!(told(&mut gate).0.len(), 0);
    }
    // All of them: more than it may.
    lab.shield.monitor(lab.profile, NonZeroU32::new(1)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(3100));
    let started = std::time::Instant::now();
    lab.shield.test(lab.profile, Program::Xdp, &listed, 20_000).unwrap();
    let (shown, dropped) = told(&mut gate);
    let most = 1000 + started.elapsed().as_millis() as usize * 2 + 20;
    assert!((900..most).contains(&shown.len()), "{}", shown.len());
    assert!(dropped >= 3, "{dropped}");
}
