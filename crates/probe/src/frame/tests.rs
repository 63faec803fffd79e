//! What is built is read by a parser that others wrote.

use etherparse::{
    ArpPacketSlice, IpNumber, NetSlice, SlicedPacket, TransportSlice, checksum::u64_16bit_word,
};
use portcullis_abi::{Ipv4, Ipv6, Mac};

use super::*;

const A: Mac = Mac([2, 0x42, 0x0a, 0, 0, 2]);
const B: Mac = Mac([2, 0x42, 0x0a, 0, 0, 1]);
const A4: Ipv4 = Ipv4([10, 0, 0, 2]);
const B4: Ipv4 = Ipv4([10, 0, 0, 1]);

fn v6(last: u8) -> Ipv6 {
    let mut a = [0; 16];
    a[0] = 0xfd;
    a[15] = last;
    Ipv6(a)
}

#[test]
fn ipv4_udp_reads_back_with_right_checksums() {
    let packet = Ipv4Packet::new(A4, B4, protocol::UDP, []);
    let payload = Udp::new(1000, 2000, *b"honest").to_bytes(packet.pseudo());
    let packet = Ipv4Packet { payload, options: vec![148, 4, 0, 0], id: 7, ..packet };
    let frame = ethernet(B, A, ethertype::IPV4, &packet.to_bytes());
    let read = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &read.net else { panic!("{read:?}") };
    let header = ip.header().to_header();
    assert_eq!(header.source, A4.0);
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(&*header.options, &[148, 4, 0, 0]);
    let Some(TransportSlice::Udp(udp)) = &read.transport else { panic!("{read:?}") };
    assert_eq!((udp.source_port(), udp.destination_port()), (1000, 2000));
    let want = udp.to_header().calc_checksum_ipv4_raw(A4.0, B4.0, udp.payload()).unwrap();
    assert_eq!(udp.checksum(), want);
}

#[test]
fn ipv6_tcp_behind_extensions_reads_back() {
    let packet = Ipv6Packet::new(v6(2), v6(1), protocol::TCP, []);
    let payload = Tcp::new(1000, 2000, Tcp::SYN, *b"odd").to_bytes(packet.pseudo());
    let extensions = vec![
        Extension::hop_by_hop(),
        Extension::destination(),
        Extension::routing(4, 0, v6(9)),
        Extension::authentication(),
    ];
    let packet = Ipv6Packet { payload, extensions, ..packet };
    let frame = ethernet(B, A, ethertype::IPV6, &packet.to_bytes());
    let read = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &read.transport else { panic!("{read:?}") };
    let want = tcp.to_header().calc_checksum_ipv6_raw(v6(2).0, v6(1).0, tcp.payload()).unwrap();
    assert_eq!(tcp.checksum(), want);
    assert!(tcp.syn() && !tcp.ack());
}

#[test]
fn icmp_checksums_are_right_in_both_families() {
    let packet = Ipv6Packet::new(v6(2), v6(1), protocol::ICMPV6, []);
    let message = nd::solicitation(v6(1), &[NdOption::Source(A)]).to_bytes(packet.pseudo());
    let frame = ethernet(B, A, ethertype::IPV6, &Ipv6Packet { payload: message, ..packet }.to_bytes());
    let read = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(TransportSlice::Icmpv6(icmp)) = &read.transport else { panic!("{read:?}") };
    assert!(icmp.is_checksum_valid(v6(2).0, v6(1).0));
    let echo = Icmp4::echo(8, 1, b"abc").to_bytes();
    let sum = u64_16bit_word::add_slice(0, &echo);
    assert_eq!(u64_16bit_word::ones_complement(sum), 0);
}

#[test]
fn fragments_carry_the_whole_payload_once() {
    let packet = Ipv4Packet::new(A4, B4, protocol::UDP, (0..64).collect::<Vec<u8>>());
    let all = packet.fragments(&[0, 2, 5]);
    assert_eq!(
        all.iter().map(|p| (p.offset, p.more_fragments, p.payload.len())).collect::<Vec<_>>(),
        [(0, true, 16), (2, true, 24), (5, false, 24)]
    );
    let frame = ethernet(B, A, ethertype::IPV4, &all[1].to_bytes());
    let read = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &read.net else { panic!("{read:?}") };
    assert!(ip.is_payload_fragmented());
    let packet = Ipv6Packet::new(v6(2), v6(1), protocol::UDP, (0..64).collect::<Vec<u8>>());
    let all = packet.fragments(&[0, 2], 9);
    let frame = ethernet(B, A, ethertype::IPV6, &all[0].to_bytes());
    let read = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(NetSlice::Ipv6(ip)) = &read.net else { panic!("{read:?}") };
    assert!(ip.is_payload_fragmented());
    assert_eq!(ip.payload().payload, &packet.payload[..16]);
    assert_eq!(ip.payload().ip_number, IpNumber::UDP);
}

#[test]
fn arp_and_tags_read_back() {
    let arp = Arp::request(A, A4, B4).to_bytes();
    let slice = ArpPacketSlice::from_slice(&arp).unwrap();
    assert_eq!((slice.sender_hw_addr(), slice.target_protocol_addr()), (&A.0[..], &B4.0[..]));
    let frame = tagged(B, A, &[Tag::service(42), Tag::vlan(7)], ethertype::ARP, &arp);
    let read = SlicedPacket::from_ethernet(&frame).unwrap();
    let vids: Vec<u16> = read.vlan_ids().iter().map(|v| v.value()).collect();
    assert_eq!(vids, [42, 7]);
    assert!(matches!(read.net, Some(NetSlice::Arp(_))));
}

#[test]
fn lengths_of_802_3_frames_are_those_of_their_body() {
    let frame = snap(B, A, [0; 3], ethertype::IPV4, &[1, 2, 3]);
    assert_eq!(frame.len(), 14 + 3 + 5 + 3);
    assert_eq!(&frame[12..22], &[0, 11, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]);
    assert_eq!(pad_to(frame, 60).len(), 60);
}

#[test]
fn an_untold_checksum_is_only_the_pseudo_headers() {
    let pseudo = Pseudo::V4(A4, B4);
    let honest = Tcp::new(1, 2, Tcp::ACK, *b"data").to_bytes(pseudo);
    let sum = pseudo.partial(protocol::TCP, honest.len());
    let untold = Tcp { checksum: Some(sum), ..Tcp::new(1, 2, Tcp::ACK, *b"data") }.to_bytes(pseudo);
    // Finishing it as a device does (sum from the header's start, complement) gives the honest one.
    assert_eq!(checksum(&untold), u16::from_be_bytes([honest[16], honest[17]]));
}
