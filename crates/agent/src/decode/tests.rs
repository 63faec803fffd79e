use std::net::{IpAddr, Ipv6Addr};

use etherparse::PacketBuilder;
use portcullis_abi::{CAPTURE_LEN, DropEvent, DropReason};
use proptest::prelude::*;
use zerocopy::FromZeros;

use super::{Decoded, decode};

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const FE80_1: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const FE80_2: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

fn event(frame: &[u8], reason: DropReason) -> DropEvent {
    let mut event = DropEvent::new_zeroed();
    let captured = frame.len().min(CAPTURE_LEN);
    event.frame[..captured].copy_from_slice(&frame[..captured]);
    event.captured = u32::try_from(captured).unwrap();
    event.len = u32::try_from(frame.len()).unwrap();
    event.reason = reason.number();
    event
}

fn decoded(frame: &[u8]) -> Decoded {
    decode(&event(frame, DropReason::SpoofedIpv4), false)
}

fn summary(frame: &[u8]) -> String {
    decoded(frame).summary
}

/// An Ethernet frame from A to B.
fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&B[..], &A, &kind.to_be_bytes(), payload].concat()
}

fn arp(operation: u8, sender_mac: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, operation];
    ethernet(0x0806, &[&fixed[..], &sender_mac, &sender, &[0; 6], &target].concat())
}

fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 9, 10, 0, 0, 1];
    header[2..4].copy_from_slice(&u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    header[6..8].copy_from_slice(&fragment.to_be_bytes());
    [header, payload.to_vec()].concat()
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0x60, 0, 0, 0, len[0], len[1], next, 255][..], &FE80_2, &FE80_1, payload].concat()
}

fn neighbour(kind: u8, target: [u8; 16], options: &[u8]) -> Vec<u8> {
    ethernet(0x86dd, &ipv6(58, &[&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target, options].concat()))
}

fn tcp_frame() -> Vec<u8> {
    let builder =
        PacketBuilder::ethernet2(A, B).ipv4([10, 0, 0, 9], [10, 0, 0, 1], 64).tcp(40000, 80, 1, 1024).syn();
    let mut frame = Vec::new();
    builder.write(&mut frame, b"").unwrap();
    frame
}

#[test]
fn tcp_and_udp() {
    assert_eq!(summary(&tcp_frame()), "IPv4 10.0.0.9 > 10.0.0.1 TCP 40000 > 80 [S]");
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(A, B).ipv6(FE80_2, FE80_1, 64).udp(1000, 2000);
    builder.write(&mut frame, &[0; 300]).unwrap();
    let it = decoded(&frame);
    assert_eq!(it.summary, "IPv6 fe80::2 > fe80::1 UDP 1000 > 2000");
    assert_eq!(it.claimed.mac.as_deref(), Some("02:00:00:00:00:0a"));
    assert_eq!(it.claimed.address.as_deref(), Some("fe80::2"));
    assert_eq!(it.addresses, Some((FE80_2.into(), FE80_1.into())));
    assert_eq!(it.ethertype, Some(0x86dd));
    for (ports, want) in [
        ([0, 67, 0, 68], "UDP 67 > 68 DHCP from a server"),
        ([0, 68, 0, 67], "UDP 68 > 67 DHCP from a client"),
        ([0, 9, 0, 53], "UDP 9 > 53 DNS"),
    ] {
        let frame = ethernet(0x0800, &ipv4(17, 0, &[&ports[..], &[0, 8, 0, 0]].concat()));
        assert_eq!(summary(&frame), format!("IPv4 10.0.0.9 > 10.0.0.1 {want}"));
    }
    let advertise = [2, 0x23, 2, 0x22, 0, 9, 0, 0, 2];
    assert!(summary(&ethernet(0x86dd, &ipv6(17, &advertise))).ends_with("UDP 547 > 546 DHCPv6 advertise"));
}

#[test]
fn arp_of_every_kind() {
    for (frame, want) in [
        (arp(1, A, [10, 0, 0, 9], [10, 0, 0, 1]), "ARP request who-has 10.0.0.1 tell 10.0.0.9"),
        (arp(1, A, [0; 4], [10, 0, 0, 1]), "ARP probe who-has 10.0.0.1"),
        (arp(1, A, [10, 0, 0, 1], [10, 0, 0, 1]), "ARP announcement 10.0.0.1 is-at 02:00:00:00:00:0a"),
        (arp(2, A, [10, 0, 0, 1], [10, 0, 0, 9]), "ARP reply 10.0.0.1 is-at 02:00:00:00:00:0a"),
        (
            arp(2, B, [10, 0, 0, 1], [10, 0, 0, 9]),
            "ARP reply 10.0.0.1 is-at 02:00:00:00:00:0b (sender MAC 02:00:00:00:00:0b)",
        ),
        (arp(9, A, [10, 0, 0, 1], [10, 0, 0, 9]), "ARP operation 9 sender 10.0.0.1 target 10.0.0.9"),
        (ethernet(0x0806, &[0; 28]), "ARP hardware 0 protocol 0x0000 lengths 0/0"),
        (ethernet(0x0806, &[0; 27]), "ARP [truncated]"),
        (
            ethernet(0x8035, &arp(3, A, [0; 4], [0; 4])[14..]),
            "RARP reverse request who-is 00:00:00:00:00:00 tell 02:00:00:00:00:0a",
        ),
    ] {
        assert_eq!(summary(&frame), want);
    }
    assert_eq!(decoded(&arp(2, A, [10, 0, 0, 1], [0; 4])).claimed.address.as_deref(), Some("10.0.0.1"));
}

#[test]
fn neighbour_discovery() {
    let source_mac = [&[1, 1][..], &A].concat();
    let target_mac = [&[2, 1][..], &B].concat();
    for (frame, want) in [
        (
            neighbour(135, FE80_1, &source_mac),
            "neighbour solicitation who-has fe80::1 source MAC 02:00:00:00:00:0a",
        ),
        (
            neighbour(136, FE80_1, &target_mac),
            "neighbour advertisement target fe80::1 target MAC 02:00:00:00:00:0b",
        ),
        (
            neighbour(136, FE80_1, &[9, 0, 0, 0, 0, 0, 0, 0]),
            "neighbour advertisement target fe80::1 [option of length 0]",
        ),
        (neighbour(136, FE80_1, &[])[..60].to_vec(), "neighbour advertisement [truncated]"),
    ] {
        let it = summary(&frame);
        assert!(it.ends_with(&format!("ICMPv6 {want}")), "{it}");
    }
    let prefix = [&[3, 4, 64, 0xc0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0xfd][..], &[0; 15]].concat();
    let advertisement = [&[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], &prefix].concat();
    let it = summary(&ethernet(0x86dd, &ipv6(58, &advertisement)));
    assert_eq!(it, "IPv6 fe80::2 > fe80::1 ICMPv6 router advertisement lifetime 1800s prefix fd00::/64");
}

#[test]
fn a_forged_neighbour_message_claims_its_target() {
    let claimed = |frame: &[u8], reason| decode(&event(frame, reason), false).claimed.address.unwrap();
    let frame = neighbour(136, FE80_1, &[]);
    assert_eq!(claimed(&frame, DropReason::SpoofedNd), "fe80::1");
    assert_eq!(claimed(&frame, DropReason::SpoofedIpv6), "fe80::2");
    let mut detection = neighbour(135, FE80_1, &[]);
    detection[22..38].fill(0);
    assert_eq!(claimed(&detection, DropReason::SpoofedIpv6), "fe80::1");
}

#[test]
fn tags_llc_and_other_ethertypes() {
    let inner = &tcp_frame()[12..];
    let tagged = |tags: &[u8]| [&B[..], &A, tags, inner].concat();
    let rest = "IPv4 10.0.0.9 > 10.0.0.1 TCP 40000 > 80 [S]";
    assert_eq!(summary(&tagged(&[0x81, 0, 0, 42])), format!("802.1Q vid 42 {rest}"));
    assert_eq!(
        summary(&tagged(&[0x88, 0xa8, 0, 7, 0x81, 0, 0x60, 42])),
        format!("802.1ad vid 7 802.1Q vid 42 priority 3 {rest}")
    );
    let mut offloaded = event(&tcp_frame(), DropReason::Vlan);
    offloaded.vlan_tci = [0, 42];
    let it = decode(&offloaded, false);
    assert_eq!((it.vlan, it.summary), (Some(42), format!("802.1Q vid 42 {rest}")));

    for (frame, want) in [
        (ethernet(38, &[0x42, 0x42, 3, 0, 0]), "LLC dsap 0x42 ssap 0x42 (STP)"),
        (
            ethernet(
                8,
                &[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &ipv4(1, 0, &[8, 0, 0, 0, 0, 1, 0, 2])].concat(),
            ),
            "LLC SNAP IPv4 10.0.0.9 > 10.0.0.1 ICMP echo request id 1 seq 2",
        ),
        (ethernet(8, &[0xaa, 0xaa, 3, 0, 0, 0xc, 0x20, 0]), "LLC SNAP oui 00000c protocol 0x2000"),
        (ethernet(0x88cc, &[0; 40]), "ethertype 0x88cc (LLDP)"),
        (ethernet(0xfeed, &[]), "ethertype 0xfeed"),
        (ethernet(2, &[1]), "LLC [truncated]"),
        (B.to_vec(), "Ethernet [truncated]"),
        (vec![], "Ethernet [truncated]"),
    ] {
        assert_eq!(summary(&frame), want);
    }
}

#[test]
fn what_is_wrong_with_an_ip_header_is_said() {
    let address = "IPv4 10.0.0.9 > 10.0.0.1";
    let changed = |at: usize, value: u8| {
        let mut packet = ipv4(17, 0, &[0, 1, 0, 2, 0, 8, 0, 0]);
        packet[at] = value;
        summary(&ethernet(0x0800, &packet))
    };
    assert_eq!(changed(0, 0x65), format!("{address} [bad version 6, header length 20]"));
    assert_eq!(changed(0, 0x44), format!("{address} [bad version 4, header length 16]"));
    assert_eq!(changed(3, 19), format!("{address} [bad total length 19]"));
    assert_eq!(changed(2, 1), format!("{address} [total length 284 is beyond the frame] UDP 1 > 2"));
    assert_eq!(changed(3, 24), format!("{address} UDP 1 > 2 [truncated]"));
    assert_eq!(changed(3, 22), format!("{address} UDP [truncated]"));
    let fragment = |offset| summary(&ethernet(0x0800, &ipv4(17, offset, &[0, 1, 0, 2, 0, 8, 0, 0])));
    assert_eq!(fragment(185), format!("{address} UDP fragment at 1480"));
    assert_eq!(fragment(0x2000), format!("{address} UDP 1 > 2 [first fragment]"));
    let mut routed = ipv4(17, 0, &[131, 7, 4, 1, 2, 3, 4, 0, 0, 1, 0, 2, 0, 8, 0, 0]);
    routed[0] = 0x47;
    assert_eq!(summary(&ethernet(0x0800, &routed)), format!("{address} [source route] UDP 1 > 2"));
    assert_eq!(summary(&ethernet(0x0800, &ipv4(253, 0, &[]))), format!("{address} protocol 253"));
}

#[test]
fn extension_headers_and_their_end() {
    let udp = [0, 1, 0, 2, 0, 8, 0, 0];
    let say = |next: u8, payload: &[u8]| summary(&ethernet(0x86dd, &ipv6(next, payload)));
    let address = "IPv6 fe80::2 > fe80::1";
    let hop_by_hop = [17, 0, 5, 2, 0, 0, 0, 0];
    assert_eq!(say(0, &[hop_by_hop, udp].concat()), format!("{address} hop-by-hop UDP 1 > 2"));
    assert_eq!(
        say(43, &[[17, 0, 0, 1, 0, 0, 0, 0], udp].concat()),
        format!("{address} routing type 0 UDP 1 > 2")
    );
    assert_eq!(
        say(44, &[[17, 0, 0, 1, 0, 0, 0, 9], udp].concat()),
        format!("{address} UDP 1 > 2 [first fragment]")
    );
    assert_eq!(
        say(44, &[[17, 0, 5, 0xa8, 0, 0, 0, 9], udp].concat()),
        format!("{address} UDP fragment at 1448")
    );
    assert_eq!(
        say(44, &[[17, 0, 0, 0, 0, 0, 0, 9], udp].concat()),
        format!("{address} atomic fragment UDP 1 > 2")
    );
    assert_eq!(say(0, &[58, 0]), format!("{address} hop-by-hop [truncated]"));
    assert_eq!(say(59, &[]), format!("{address} no next header"));
    // The header goes on beyond what the kernel copied.
    let mut long = vec![58, 20];
    long.resize(8 * 21 + 40, 0);
    assert_eq!(say(60, &long), format!("{address} destination-options ICMPv6 [not captured]"));
}

#[test]
fn packets_in_packets_to_a_bound() {
    let inner = ipv4(6, 0, &[0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    let address = "IPv4 10.0.0.9 > 10.0.0.1";
    let say = |packet: &[u8]| summary(&ethernet(0x0800, packet));
    assert_eq!(say(&ipv4(4, 0, &inner)), format!("{address} tunnel {address} TCP 80 > 81 [S]"));
    let gre = [&[0x20, 0, 8, 0, 0, 0, 0, 7][..], &inner].concat();
    assert_eq!(say(&ipv4(47, 0, &gre)), format!("{address} GRE {address} TCP 80 > 81 [S]"));
    let frame = ethernet(0x0800, &inner);
    let vxlan = [&[0, 9, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 5, 0][..], &frame].concat();
    assert_eq!(
        say(&ipv4(17, 0, &vxlan)),
        format!("{address} UDP 9 > 4789 VXLAN vni 5 {address} TCP 80 > 81 [S]")
    );
    let unreachable = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &inner[..28]].concat();
    assert_eq!(
        say(&ipv4(1, 0, &unreachable)),
        format!("{address} ICMP unreachable (port), quoting {address} TCP 80 > 81 [truncated]")
    );
    let matryoshka = (0..8).fold(inner, |packet, _| ipv4(4, 0, &packet));
    let it = summary(&ethernet(0x0800, &matryoshka));
    assert!(it.ends_with("tunnel …") && it.matches("IPv4").count() == 4, "{it}");
    // What is claimed is what the outermost packet claims.
    assert_eq!(decoded(&ethernet(0x0800, &matryoshka)).claimed.address.as_deref(), Some("10.0.0.9"));
}

#[test]
fn without_an_ethernet_header() {
    let it = decode(&event(&ipv4(1, 0, &[8, 0, 0, 0, 0, 1, 0, 2]), DropReason::SpoofedIpv4), true);
    assert_eq!(it.summary, "IPv4 10.0.0.9 > 10.0.0.1 ICMP echo request id 1 seq 2");
    assert_eq!((it.claimed.mac, it.claimed.address.as_deref(), it.ethertype), (None, Some("10.0.0.9"), None));
    let it = decode(&event(&ipv6(58, &[143, 0, 0, 0, 0, 0, 0, 1]), DropReason::SpoofedIpv6), true);
    assert_eq!(it.summary, "IPv6 fe80::2 > fe80::1 ICMPv6 MLDv2 report");
    for (frame, want) in [(&[0x50][..], "IP version 5"), (&[], "IP [truncated]")] {
        assert_eq!(decode(&event(frame, DropReason::Malformed), true).summary, want);
    }
}

#[test]
fn multicast_membership() {
    let say = |bytes: &[u8]| summary(&ethernet(0x0800, &ipv4(2, 0, bytes)));
    assert!(say(&[0x11, 0, 0, 0, 0, 0, 0, 0]).ends_with("IGMP general query"));
    assert!(say(&[0x16, 0, 0, 0, 224, 0, 0, 251]).ends_with("IGMPv2 report 224.0.0.251"));
    assert!(say(&[0x22, 0, 0, 0, 0, 0, 0, 2]).ends_with("IGMPv3 report, 2 groups"));
}

#[test]
fn numbers_that_lie_do_no_harm() {
    let mut lying = event(&tcp_frame(), DropReason::Internal);
    lying.captured = u32::MAX;
    lying.len = 0;
    lying.reason = 255;
    assert!(decode(&lying, false).summary.starts_with("IPv4 10.0.0.9"));
}

fn check(event: &DropEvent, layer3: bool) -> Result<(), TestCaseError> {
    let it = decode(event, layer3);
    prop_assert!(!it.summary.is_empty());
    prop_assert!(it.summary.len() < 2000);
    prop_assert!(!it.summary.contains(char::is_control), "{:?}", it.summary);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_bytes_get_one_line(
        bytes in proptest::collection::vec(any::<u8>(), 0..=CAPTURE_LEN),
        captured in any::<u32>(), len in any::<u32>(), tci in any::<[u8; 2]>(),
        reason in any::<u8>(), layer3 in any::<bool>(),
    ) {
        let mut event = event(&bytes, DropReason::Malformed);
        (event.captured, event.len, event.vlan_tci, event.reason) = (captured, len, tci, reason);
        check(&event, layer3)?;
    }

    /// Bytes that get further in, since they look like something.
    #[test]
    fn anything_behind_a_plausible_start_gets_one_line(
        bytes in proptest::collection::vec(any::<u8>(), 100..200), cut in 0usize..200,
        kind in prop::sample::select(vec![0x0800u16, 0x86dd, 0x0806, 0x8100, 0x88a8, 8]),
        protocol in prop::sample::select(vec![0u8, 1, 2, 4, 6, 17, 41, 43, 44, 47, 51, 58, 60]),
        icmp in prop::sample::select(vec![1u8, 3, 5, 130, 133, 134, 135, 136, 137]),
    ) {
        let inner = match kind {
            0x0800 => ipv4(protocol, 0, &bytes),
            0x86dd => ipv6(protocol, &[&[icmp, 0][..], &bytes].concat()),
            8 => [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &ipv4(protocol, 0, &bytes)].concat(),
            _ => [&[0, 1, 8, 0][..], &ipv4(protocol, 0, &bytes)].concat(),
        };
        let frame = ethernet(kind, &inner);
        check(&event(&frame[..cut.min(frame.len())], DropReason::SpoofedNd), false)?;
    }

    /// An independent builder's packets are read as they were meant.
    #[test]
    fn agrees_with_etherparse(
        source in any::<[u8; 4]>(), destination in any::<[u8; 4]>(),
        source6 in any::<[u8; 16]>(), destination6 in any::<[u8; 16]>(),
        ports in any::<(u16, u16)>(), vid in 0u16..4096, v6 in any::<bool>(), tagged in any::<bool>(),
    ) {
        let start = PacketBuilder::ethernet2(A, B);
        let vlan = etherparse::VlanId::try_new(vid).unwrap();
        let mut frame = Vec::new();
        let packet = match (tagged, v6) {
            (true, true) => start.single_vlan(vlan).ipv6(source6, destination6, 9),
            (true, false) => start.single_vlan(vlan).ipv4(source, destination, 9),
            (false, true) => start.ipv6(source6, destination6, 9),
            (false, false) => start.ipv4(source, destination, 9),
        };
        packet.udp(ports.0, ports.1).write(&mut frame, b"xyz").unwrap();
        let it = decoded(&frame);
        let (from, to): (IpAddr, IpAddr) =
            if v6 { (source6.into(), destination6.into()) } else { (source.into(), destination.into()) };
        prop_assert_eq!(it.addresses, Some((from, to)));
        prop_assert_eq!(it.vlan, tagged.then_some(vid));
        let words = format!("UDP {} > {}", ports.0, ports.1);
        prop_assert!(it.summary.contains(&words), "{}", it.summary);
        // The shared words print an address as the standard library does.
        let text = if v6 { Ipv6Addr::from(source6).to_string() } else { from.to_string() };
        prop_assert_eq!(it.claimed.address, Some(text));
    }
}
