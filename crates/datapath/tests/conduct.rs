//! The answer in the kernel itself, by test run: attempts are counted, and at the threshold the next frame
//! is dropped. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic")]

mod common;

use std::thread::{scope, sleep};
use std::time::Duration;

use portcullis_abi::{
    DropEvent, DropReason, Endpoint, HELD_BINDING, Ipv4, Ipv6, Mac, Mode, Response, UNBOUND_SLOT,
};
use portcullis_datapath::{Datapath, Gate, Settings, TestFrame};
use portcullis_probe::cases::Identity;
use portcullis_probe::frame::{Arp, Ipv4Packet, Ipv6Packet, Tcp, ethernet, ethertype, protocol};

use common::{BINDING, DROP, Kernel, LOOPBACK, NEXT, SLOT, endpoint};

/// Longer than any test.
const DAY_MS: u32 = 86_400_000;

fn from4(source: Ipv4) -> Vec<u8> {
    let identity = Identity::default();
    let mut packet = Ipv4Packet::new(source, identity.gateway4(), protocol::TCP, Vec::new());
    packet.payload = Tcp::new(40_000, 443, Tcp::ACK, [0; 20]).to_bytes(packet.pseudo());
    ethernet(identity.far_mac, identity.mac, ethertype::IPV4, &packet.to_bytes())
}

fn from6(source: Ipv6) -> Vec<u8> {
    let identity = Identity::default();
    let mut packet = Ipv6Packet::new(source, identity.gateway6(), protocol::TCP, Vec::new());
    packet.payload = Tcp::new(40_000, 443, Tcp::ACK, [0; 20]).to_bytes(packet.pseudo());
    ethernet(identity.far_mac, identity.mac, ethertype::IPV6, &packet.to_bytes())
}

fn honest() -> Vec<u8> {
    from4(Identity::default().ipv4.unwrap())
}

fn forged() -> Vec<u8> {
    from4(Ipv4([10, 0, 0, 77]))
}

fn bound(threshold: u16, window_ms: u32, response: Response) -> Endpoint {
    endpoint(&Identity::default(), Mode::Enforce).with_threshold(threshold, window_ms, response)
}

fn reason(kernel: &Kernel, slot: u32, reason: DropReason) -> u64 {
    kernel.opened.tables.counters(slot).unwrap().reasons[usize::from(reason.number())]
}

fn trips(events: &[DropEvent]) -> Vec<&DropEvent> {
    events.iter().filter(|event| event.tripped != 0).collect()
}

/// Sends forged frames until the endpoint is in quarantine, which an honest frame tells; answers how many.
fn forge_until_quarantined(kernel: &mut Kernel, at_most: usize) -> usize {
    for count in 1..=at_most {
        assert_eq!(kernel.run(&forged(), false), DROP);
        if kernel.run(&honest(), false) == DROP {
            return count;
        }
    }
    panic!("no quarantine after {at_most} attempts");
}

#[test]
fn the_frame_after_the_threshold_is_dropped_whatever_it_claims() {
    let mut kernel = Kernel::open("threshold");
    for threshold in [1, 2, 10, 63, 64, 65, 100, 128, 129, 1000, 4033, 10_000] {
        let tables = &kernel.opened.tables;
        tables.reset_conduct(SLOT).unwrap();
        kernel.bind(&bound(threshold, DAY_MS, Response::Quarantine));
        // The second time with a history.
        for round in 0..2 {
            let before = reason(&kernel, SLOT, DropReason::Quarantined);
            for _ in 1..threshold {
                assert_eq!(kernel.run(&forged(), false), DROP);
            }
            assert_eq!(kernel.run(&honest(), false), NEXT, "before {threshold} ({round})");
            assert_eq!(reason(&kernel, SLOT, DropReason::Quarantined), before);
            assert_eq!(kernel.run(&forged(), false), DROP);
            for frame in [honest(), forged(), from6(Identity::default().ipv6.unwrap())] {
                assert_eq!(kernel.run(&frame, false), DROP, "after {threshold} ({round})");
            }
            assert_eq!(reason(&kernel, SLOT, DropReason::Quarantined), before + 3);
            let tables = &kernel.opened.tables;
            let conduct = tables.conduct(SLOT).unwrap();
            assert!(conduct.is_quarantined());
            assert_eq!(conduct.outstanding(), u64::from(threshold));
            assert_eq!(conduct.tripped_reason, DropReason::SpoofedIpv4.number());
            tables.forgive(SLOT).unwrap();
            assert!(tables.set_quarantine(BINDING, false));
            assert_eq!(kernel.run(&honest(), false), NEXT, "forgiven");
        }
        kernel.events();
    }
}

#[test]
fn the_window_slides() {
    for threshold in [3u16, 100] {
        let mut kernel = Kernel::open(&format!("window-{threshold}"));
        kernel.bind(&bound(threshold, 1000, Response::Quarantine));
        for _ in 1..threshold {
            kernel.run(&forged(), false);
        }
        sleep(Duration::from_millis(1100));
        assert_eq!(kernel.run(&forged(), false), DROP);
        assert_eq!(kernel.run(&honest(), false), NEXT, "those before are out of the window");
        let further = forge_until_quarantined(&mut kernel, 100_000);
        assert!(further + 1 >= usize::from(threshold), "{further} of {threshold}");
    }
}

#[test]
fn a_report_is_told_once_in_a_window_and_nothing_else_happens() {
    // Without a budget, so that only what must be told is.
    let settings = Settings { event_rate: 0, event_burst: 0, ..Settings::default() };
    let mut kernel = Kernel::with("report", settings);
    kernel.bind(&bound(5, DAY_MS, Response::Report));
    for _ in 0..1000 {
        assert_eq!(kernel.run(&forged(), false), DROP);
        assert_eq!(kernel.run(&honest(), false), NEXT);
    }
    let events = kernel.events();
    let [event] = events[..] else { panic!("{} events", events.len()) };
    assert_eq!((event.tripped, event.attempts, event.threshold), (DropEvent::TRIPPED, 5, 5));
    assert_eq!((event.evidence, event.dropped, event.slot), (1, 1, SLOT));
    let conduct = kernel.opened.tables.conduct(SLOT).unwrap();
    assert!(conduct.tripped_ns > 0 && !conduct.is_quarantined());
    assert_eq!(kernel.counters().attempts(), 1000);

    // When the window has passed it is told again.
    kernel.opened.tables.reset_conduct(SLOT).unwrap();
    kernel.bind(&bound(5, 300, Response::Report));
    for _ in 0..2 {
        let told = (0..100_000).any(|_| {
            kernel.run(&forged(), false);
            !trips(&kernel.events()).is_empty()
        });
        assert!(told);
        sleep(Duration::from_millis(400));
    }
}

#[test]
fn what_the_operator_turns_on_later_holds_for_what_comes_later() {
    let mut kernel = Kernel::open("later");
    kernel.bind(&bound(5, DAY_MS, Response::Report));
    (0..20).for_each(|_| assert_eq!(kernel.run(&forged(), false), DROP));
    kernel.bind_as(3, &bound(5, DAY_MS, Response::Quarantine));
    assert_eq!(kernel.run(&honest(), false), NEXT);
    assert_eq!(forge_until_quarantined(&mut kernel, 10), 5);
}

#[test]
fn audit_mode_never_quarantines() {
    let mut kernel = Kernel::open("audit-answer");
    kernel.bind(&Endpoint { mode: Mode::Audit as u8, ..bound(5, DAY_MS, Response::Quarantine) });
    for _ in 0..50 {
        assert_eq!(kernel.run(&forged(), false), NEXT);
        assert_eq!(kernel.run(&honest(), false), NEXT);
    }
    let events = kernel.events();
    let trips = trips(&events);
    assert_eq!(trips.len(), 1);
    assert_eq!((trips[0].tripped, trips[0].dropped), (DropEvent::TRIPPED, 0));
    assert!(!kernel.opened.tables.conduct(SLOT).unwrap().is_quarantined());
}

#[test]
fn an_endpoint_without_a_threshold_is_not_counted() {
    let mut kernel = Kernel::open("uncounted");
    kernel.bind(&bound(0, DAY_MS, Response::Quarantine));
    (0..100).for_each(|_| assert_eq!(kernel.run(&forged(), false), DROP));
    assert_eq!(kernel.run(&honest(), false), NEXT);
    assert_eq!(kernel.opened.tables.conduct(SLOT).unwrap().attempts, 0);
    assert!(kernel.events().iter().all(|event| event.threshold == 0 && event.evidence == 1));
    assert_eq!(kernel.counters().attempts(), 100);
}

#[test]
fn noise_never_counts() {
    let identity = Identity::default();
    let stranger: Ipv6 = Ipv6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7]);
    let mut kernel = Kernel::open("noise");
    kernel.bind(&bound(1, DAY_MS, Response::Quarantine));
    let frames = [
        from4(Ipv4::UNSPECIFIED),
        from4(Ipv4([169, 254, 7, 7])),
        from4(Ipv4([127, 0, 0, 1])),
        from6(Ipv6::LOOPBACK),
        from6(stranger),
        ethernet(identity.far_mac, identity.mac, 0x88cc, &[0; 46]),
        ethernet(identity.far_mac, identity.mac, ethertype::IPV4, &[0; 46]),
    ];
    for frame in frames.iter().cycle().take(200) {
        assert_eq!(kernel.run(frame, false), DROP);
        assert_eq!(kernel.run(&honest(), false), NEXT);
    }
    assert_eq!(kernel.counters().attempts(), 0);
    assert!(kernel.events().iter().all(|event| event.evidence == 0));
    // The same address, once it is known to be somebody's. Nodes come and go beside it.
    kernel.opened.tables.set_identity(stranger, true).unwrap();
    kernel.opened.tables.set_nodes(&[stranger]).unwrap();
    kernel.opened.tables.set_nodes(&[]).unwrap();
    assert_eq!(kernel.run(&from6(stranger), false), DROP);
    assert_eq!(kernel.run(&honest(), false), DROP);
    assert_eq!(kernel.opened.tables.conduct(SLOT).unwrap().tripped_reason, DropReason::SpoofedIpv6.number());
    kernel.opened.tables.set_identity(stranger, false).unwrap();
}

#[test]
fn every_kind_of_claim_counts() {
    let identity = Identity::default();
    let mut kernel = Kernel::open("claims");
    kernel.bind(&bound(4, DAY_MS, Response::Quarantine));
    let arp = Arp::request(identity.mac, identity.gateway4(), identity.gateway4()).to_bytes();
    let mut foreign_mac = honest();
    foreign_mac[6..12].copy_from_slice(&identity.neighbour_mac.0);
    let frames = [
        forged(),
        from6(identity.gateway6()),
        ethernet(Mac::BROADCAST, identity.mac, ethertype::ARP, &arp),
        foreign_mac,
    ];
    for frame in &frames {
        assert_eq!(kernel.run(&honest(), false), NEXT);
        assert_eq!(kernel.run(frame, false), DROP);
    }
    assert_eq!(kernel.run(&honest(), false), DROP);
    let told = trips(&kernel.events()).iter().map(|event| event.reason).collect::<Vec<_>>();
    assert_eq!(told, [DropReason::SpoofedMac.number()]);
}

#[test]
fn a_quarantine_goes_with_the_endpoint_to_a_new_entry() {
    let mut kernel = Kernel::open("flip");
    let entry = bound(2, DAY_MS, Response::Quarantine);
    kernel.bind(&entry);
    assert_eq!(forge_until_quarantined(&mut kernel, 2), 2);
    kernel.bind_as(3, &entry);
    assert_eq!(kernel.run(&honest(), false), DROP, "changed while in quarantine");
    // An entry that missed it, as when the program was running on the old one.
    assert!(kernel.opened.tables.set_quarantine(3, false));
    assert_eq!(kernel.run(&honest(), false), NEXT);
    assert_eq!(kernel.run(&forged(), false), DROP);
    assert_eq!(kernel.run(&honest(), false), DROP, "by the next attempt at the latest");
    assert!(kernel.opened.tables.set_quarantine(3, false));
    assert!(kernel.opened.tables.keep_quarantine(3));
    assert_eq!(kernel.run(&honest(), false), DROP);
    kernel.opened.tables.forgive(SLOT).unwrap();
    kernel.bind_as(4, &entry);
    assert_eq!(kernel.run(&honest(), false), NEXT, "forgiven");
    assert!(!kernel.opened.tables.keep_quarantine(4));
}

#[test]
fn frames_to_the_endpoint_stop_with_those_from_it() {
    let mut kernel = Kernel::open("inward");
    kernel.bind(&bound(2, DAY_MS, Response::Quarantine));
    assert_eq!(kernel.run_inward(&honest()), NEXT);
    assert_eq!(forge_until_quarantined(&mut kernel, 2), 2);
    let before = reason(&kernel, SLOT, DropReason::Quarantined);
    assert_eq!(kernel.run_inward(&honest()), DROP);
    assert_eq!(reason(&kernel, SLOT, DropReason::Quarantined), before + 1);
    kernel.opened.tables.forgive(SLOT).unwrap();
    assert!(kernel.opened.tables.set_quarantine(BINDING, false));
    assert_eq!(kernel.run_inward(&honest()), NEXT);
}

#[test]
fn a_held_interface_lets_nothing_pass_and_is_blamed_for_nothing() {
    let mut kernel = Kernel::open("held");
    let (anchor, tables) = (kernel.anchor(), &kernel.opened.tables);
    tables.point(anchor, HELD_BINDING).unwrap();
    assert_eq!(tables.anchor(anchor).unwrap(), HELD_BINDING);
    assert_eq!(tables.all_anchors().unwrap(), [(anchor, HELD_BINDING)]);
    for frame in [honest(), forged()] {
        assert_eq!((kernel.run(&frame, false), kernel.run_inward(&frame)), (DROP, DROP));
    }
    assert_eq!(reason(&kernel, UNBOUND_SLOT, DropReason::Unbound), 4);
    let tables = &kernel.opened.tables;
    assert_eq!(tables.conduct(UNBOUND_SLOT).unwrap().attempts, 0);
    // Nobody can spoil the entry.
    let entry = endpoint(&Identity::default(), Mode::Off);
    assert!(tables.write_binding(HELD_BINDING, &entry, &[], &[]).is_err());
    assert!(tables.clear_binding(HELD_BINDING, &[], &[]).is_err());
    assert!(!tables.set_quarantine(HELD_BINDING, false));
    tables.sweep(|_| false).unwrap();
    assert_eq!(kernel.run(&honest(), false), DROP);
    assert!(kernel.events().iter().all(|event| event.evidence == 0 && event.tripped == 0));
    // It is bound, and held again.
    kernel.bind(&bound(10, DAY_MS, Response::Report));
    assert_eq!(kernel.run(&honest(), false), NEXT);
    kernel.opened.tables.point(anchor, HELD_BINDING).unwrap();
    assert_eq!(kernel.run(&honest(), false), DROP);
    kernel.opened.tables.point(anchor, 0).unwrap();
    assert_eq!(kernel.run(&honest(), false), NEXT);
}

#[test]
fn no_attempt_is_lost_between_cpus() {
    const EACH: u32 = 20_000;
    let kernel = Kernel::open("cpus");
    kernel.bind(&bound(u16::MAX, DAY_MS, Response::Quarantine));
    scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut opened = Datapath::open(&kernel.base, Settings::default()).unwrap();
                let bytes = forged();
                let frame = TestFrame { bytes: &bytes, ifindex: LOOPBACK, gso_size: 0 };
                opened.datapath.test(Gate::Ethernet, frame, EACH).unwrap();
            });
        }
    });
    assert_eq!(kernel.opened.tables.conduct(SLOT).unwrap().outstanding(), 2 * u64::from(EACH));
}
