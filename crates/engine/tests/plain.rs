//! The shortcut for plain frames against the full verification: where it answers, both agree.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::sync::LazyLock;

use portcullis_abi::{Allow, Endpoint, FurtherKey, Ipv4, Ipv6, Mac, Mode, PrefixKey};
use portcullis_engine::gate::{Binding, Further, verify_ethernet, verify_plain};
use portcullis_engine::{Finding, SlicePacket, Tables};
use portcullis_probe::cases::{Identity, suite};
use portcullis_probe::frame::{Arp, Ipv4Packet, Ipv6Packet, Tcp, Udp, ethernet, ethertype, protocol};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Tables that hold everything, or nothing.
struct All(bool);

impl Tables for All {
    fn has_further(&self, _: &FurtherKey) -> bool {
        self.0
    }
    fn prefix_len(&self, _: &PrefixKey) -> Option<u32> {
        self.0.then_some(0)
    }
    fn is_node(&self, _: &Ipv6) -> bool {
        self.0
    }
    fn is_known(&self, _: &Ipv6) -> bool {
        self.0
    }
}

/// No further addresses.
struct Nobody;

impl Further for Nobody {
    fn owns_ipv4(&self, _: Ipv4) -> bool {
        false
    }
    fn owns_ipv6(&self, _: Ipv6) -> bool {
        false
    }
}

fn endpoint(identity: &Identity) -> Endpoint {
    Endpoint {
        mac: identity.mac,
        mode: Mode::Enforce as u8,
        ipv4: identity.ipv4.unwrap(),
        slot: 1,
        ipv6: identity.ipv6.unwrap(),
        link_local: identity.link_local,
        ..Endpoint::default()
    }
}

/// Honest frames of the plain kind, each from `ipv4` or `ipv6`.
fn plain_frames(mac: Mac, ipv4: Ipv4, ipv6: Ipv6) -> Vec<Vec<u8>> {
    let (far4, far6) = (Ipv4([10, 0, 0, 1]), Ipv6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
    let mut tcp4 = Ipv4Packet::new(ipv4, far4, protocol::TCP, Vec::new());
    tcp4.payload = Tcp::new(40_000, 443, Tcp::ACK, [0; 9]).to_bytes(tcp4.pseudo());
    let mut udp4 = Ipv4Packet::new(ipv4, far4, protocol::UDP, Vec::new());
    udp4.payload = Udp::new(40_000, 53, [0; 9]).to_bytes(udp4.pseudo());
    let mut tcp6 = Ipv6Packet::new(ipv6, far6, protocol::TCP, Vec::new());
    tcp6.payload = Tcp::new(40_000, 443, Tcp::ACK, [0; 9]).to_bytes(tcp6.pseudo());
    let mut udp6 = Ipv6Packet::new(ipv6, far6, protocol::UDP, Vec::new());
    udp6.payload = Udp::new(40_000, 53, [0; 9]).to_bytes(udp6.pseudo());
    let frame = |ethertype, packet: &[u8]| ethernet(Mac::BROADCAST, mac, ethertype, packet);
    vec![
        frame(ethertype::IPV4, &tcp4.to_bytes()),
        frame(ethertype::IPV4, &udp4.to_bytes()),
        frame(ethertype::IPV6, &tcp6.to_bytes()),
        frame(ethertype::IPV6, &udp6.to_bytes()),
        frame(ethertype::ARP, &Arp::request(mac, ipv4, far4).to_bytes()),
    ]
}

#[test]
fn the_common_case_is_plain() {
    let identity = Identity::default();
    let endpoint = endpoint(&identity);
    for ipv6 in [endpoint.ipv6, endpoint.link_local] {
        for frame in plain_frames(endpoint.mac, endpoint.ipv4, ipv6) {
            assert_eq!(
                verify_plain(&SlicePacket::new(&frame), &endpoint, &Nobody),
                Some(Finding::Honest),
                "{frame:x?}"
            );
        }
    }
}

#[test]
fn no_frame_is_plain_by_an_empty_entry_a_quarantined_one_or_under_a_tag() {
    let identity = Identity::default();
    let bound = endpoint(&identity);
    let nobody = plain_frames(Mac::ZERO, Ipv4::UNSPECIFIED, Ipv6::UNSPECIFIED);
    for frame in &nobody {
        assert_eq!(verify_plain(&SlicePacket::new(frame), &Endpoint::default(), &Nobody), None, "{frame:x?}");
    }
    for frame in plain_frames(bound.mac, bound.ipv4, bound.ipv6) {
        let packet = SlicePacket::new(&frame);
        for quarantine in 1..=u8::MAX {
            let quarantined = Endpoint { quarantine, ..bound };
            assert_eq!(verify_plain(&packet, &quarantined, &Nobody), None);
            // An ethertype that hides the flag.
            let mut strange = frame.clone();
            strange[12] ^= quarantine;
            assert_eq!(verify_plain(&SlicePacket::new(&strange), &quarantined, &Nobody), None);
        }
        assert_eq!(verify_plain(&packet.with_tag(0), &bound, &Nobody), None);
    }
}

/// Bytes that mean something somewhere.
const TELLING: [u8; 16] = [0, 1, 2, 4, 5, 6, 8, 17, 20, 28, 0x44, 0x45, 0x46, 0x60, 67, 255];

/// Plain frames and those of the suite.
static SEEDS: LazyLock<[Vec<Vec<u8>>; 2]> = LazyLock::new(|| {
    let identity = Identity::default();
    let endpoint = endpoint(&identity);
    let mut plain = plain_frames(endpoint.mac, endpoint.ipv4, endpoint.ipv6);
    plain.extend(plain_frames(endpoint.mac, endpoint.ipv4, endpoint.link_local));
    plain.extend(plain_frames(endpoint.mac, Ipv4::UNSPECIFIED, Ipv6::UNSPECIFIED));
    [plain, suite(&identity).into_iter().flat_map(|case| case.frames).collect()]
});

prop_compose! {
    /// One of them, some of its bytes changed, cut or padded.
    fn frames()(
        kind in 0..SEEDS.len(),
        which in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), prop_oneof![any::<u8>(), select(&TELLING[..])]), 0..4),
        cut in prop::option::weighted(0.3, any::<Index>()),
        padding in prop::option::weighted(0.2, 0usize..40),
    ) -> Vec<u8> {
        let mut frame = which.get(&SEEDS[kind]).clone();
        for (at, value) in changes {
            let at = at.index(frame.len().min(66));
            frame[at] = value;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()) + 1);
        }
        frame.resize(frame.len() + padding.unwrap_or(0), 0);
        frame
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn where_the_shortcut_answers_the_full_verification_agrees(
        frame in frames(),
        allow in select(&[0, u32::MAX, Allow::FURTHER_IPV4, Allow::PREFIX_IPV4, Allow::FURTHER_IPV6,
            Allow::PREFIX_IPV6, Allow::DHCP_SERVER, Allow::TUNNEL, Allow::ANY_VLAN][..]),
        full in any::<bool>(),
        (no_ipv4, no_ipv6) in (prop::bool::weighted(0.1), prop::bool::weighted(0.1)),
        (tag, gso) in (prop::option::weighted(0.1, any::<u16>()), any::<bool>()),
    ) {
        let mut endpoint = Endpoint { allow, ..endpoint(&Identity::default()) };
        if no_ipv4 {
            endpoint.ipv4 = Ipv4::UNSPECIFIED;
        }
        if no_ipv6 {
            (endpoint.ipv6, endpoint.link_local) = (Ipv6::UNSPECIFIED, Ipv6::UNSPECIFIED);
        }
        let mut packet = SlicePacket::new(&frame);
        if let Some(tci) = tag {
            packet = packet.with_tag(tci);
        }
        if gso {
            packet = packet.with_gso();
        }
        let binding = Binding { endpoint: &endpoint, index: 1, tables: &All(full) };
        if let Some(finding) = verify_plain(&packet, &endpoint, &binding) {
            prop_assert_eq!(finding, verify_ethernet(&packet, &binding));
        }
    }
}

#[test]
fn codes_stand_for_findings() {
    let mut all = vec![Finding::Honest];
    for &reason in portcullis_abi::DropReason::ALL {
        all.extend([Finding::Odd(reason), Finding::Mild(reason), Finding::Violation(reason)]);
    }
    for finding in all {
        assert_eq!(Finding::from_code(finding.code()), finding);
        assert_eq!(finding.is_evidence(), finding.code() & Finding::EVIDENCE != 0);
    }
    assert!(matches!(Finding::from_code(200), Finding::Violation(_)));
}
