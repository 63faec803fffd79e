//! A slow and obvious judge: etherparse reads the frame, the table decides.
//!
//! It shares no code with the engine but the address types and the reasons. Where etherparse reads
//! otherwise than the gate must, the bytes are read here by hand, and a comment that begins with
//! "etherparse:" says so.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{
    ArpHardwareId, ArpPacketSlice, EtherType, Ethernet2HeaderSlice, Ipv4HeaderSlice, Ipv6HeaderSlice,
    SingleVlanHeaderSlice, UdpHeaderSlice, ether_type, ip_number,
};
use portcullis_abi::{Allow, DropReason, Mac};

use super::World;
use super::chain::{Chain, has_source_route, nd_options, solicited_node, walk};
use super::claims::Refusal;

/// `Ok(None)`: honest. `Ok(Some(reason))`: passes, with a report. `Err`: dropped.
pub type Judgement = Result<Option<DropReason>, Refusal>;

/// A frame as the driver hands it over.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    pub bytes: &'a [u8],
    /// Tag control information that the driver took out.
    pub tag: Option<u16>,
    pub gso: bool,
}

const HONEST: Judgement = Ok(None);

fn honest_if(condition: bool, otherwise: impl Into<Refusal>) -> Judgement {
    if condition { HONEST } else { Err(otherwise.into()) }
}

impl World {
    /// What the table says of a frame that begins with an Ethernet header.
    pub fn judge(&self, frame: Frame<'_>) -> Judgement {
        let ethernet = Ethernet2HeaderSlice::from_slice(frame.bytes).map_err(|_| DropReason::Malformed)?;
        let source = Mac(ethernet.source());
        if !self.macs.contains(&source) {
            return Err(DropReason::SpoofedMac.into());
        }
        let rest = &frame.bytes[14..];
        let in_frame = is_tag(ethernet.ether_type());
        let (vid, inner, payload) = match frame.tag {
            None if !in_frame => return self.judge_network(source, ethernet.ether_type(), rest, frame.gso),
            Some(tci) => (tci & 0xfff, ethernet.ether_type(), rest),
            None => {
                let tag = SingleVlanHeaderSlice::from_slice(rest).map_err(|_| DropReason::Malformed)?;
                (tag.vlan_identifier().value(), tag.ether_type(), &rest[4..])
            }
        };
        if is_tag(inner) {
            return Err(DropReason::Vlan.into());
        }
        let allowed = self.allow & Allow::ANY_VLAN != 0 || self.vlans.contains(&vid);
        match (allowed, vid) {
            (true, _) => self.judge_network(source, inner, payload, frame.gso),
            // A priority tag hides nothing: what is forged under it is told as what it is.
            (false, 0) => {
                self.judge_network(source, inner, payload, frame.gso).and(Err(DropReason::Vlan.into()))
            }
            (false, _) => Err(DropReason::Vlan.into()),
        }
    }

    /// What the table says of a packet of a device without an Ethernet header.
    pub fn judge_layer3(&self, packet: &[u8], gso: bool) -> Judgement {
        match packet.first().map(|first| first >> 4) {
            Some(4) => self.judge_ipv4(packet, gso),
            Some(6) => self.judge_ipv6(None, packet, gso),
            _ => Err(DropReason::Malformed.into()),
        }
    }

    fn judge_network(&self, source: Mac, kind: EtherType, packet: &[u8], gso: bool) -> Judgement {
        match kind {
            ether_type::IPV4 => self.judge_ipv4(packet, gso),
            ether_type::IPV6 => self.judge_ipv6(Some(source), packet, gso),
            ether_type::ARP => self.judge_arp(source, packet),
            // An 802.3 length: of LLC only a spanning tree's message may ever pass.
            EtherType(..0x0600) => {
                let is_stp = packet.starts_with(&[0x42, 0x42, 3]) && packet.len() >= 4;
                honest_if(self.allow & Allow::ANY_ETHERTYPE != 0 && is_stp, DropReason::Ethertype)
            }
            EtherType(other) => honest_if(
                self.allow & Allow::ANY_ETHERTYPE != 0 || self.ethertypes.contains(&other),
                DropReason::Ethertype,
            ),
        }
    }

    fn judge_arp(&self, source: Mac, packet: &[u8]) -> Judgement {
        // etherparse: its packet is as long as its length fields say; for Ethernet and IPv4 that is 28.
        if packet.len() < 28 {
            return Err(DropReason::Malformed.into());
        }
        let spoofed = Refusal::when(self.arp_claims_another(source, packet), DropReason::SpoofedArp);
        let arp = ArpPacketSlice::from_slice(packet).map_err(|_| spoofed)?;
        let well_formed = arp.hw_addr_type() == ArpHardwareId::ETHERNET
            && arp.proto_addr_type() == ether_type::IPV4
            && arp.hw_addr_size() == 6
            && arp.proto_addr_size() == 4
            && [1, 2].contains(&arp.operation().0);
        if !well_formed || arp.sender_hw_addr() != source.0.as_slice() {
            return Err(spoofed);
        }
        let address = |bytes: &[u8]| Ipv4Addr::from(<[u8; 4]>::try_from(bytes).unwrap());
        let (sender, target) = (address(arp.sender_protocol_addr()), address(arp.target_protocol_addr()));
        let is_probe = sender.is_unspecified() && arp.operation().0 == 1;
        honest_if(self.binds4(if is_probe { target } else { sender }), spoofed)
    }

    fn judge_ipv4(&self, packet: &[u8], gso: bool) -> Judgement {
        let header = Ipv4HeaderSlice::from_slice(packet).map_err(|_| DropReason::Malformed)?;
        let header_len = header.slice().len();
        let total_len = match usize::from(header.total_len()) {
            0 if gso => packet.len(),
            len => len,
        };
        let payload = packet.get(header_len..total_len).ok_or(DropReason::Malformed)?;
        let source = header.source_addr();
        if !self.binds4(source) {
            let early = source.is_unspecified() && !header.is_fragmenting_payload();
            let serves = header.protocol() == ip_number::UDP
                && header.fragments_offset().value() == 0
                && self.is_rogue_dhcp(payload);
            let spoofed = Refusal::when(serves || self.foreign4(source), DropReason::SpoofedIpv4);
            return honest_if(early && self.may_lack_address(&header, payload), spoofed);
        }
        if self.allow & Allow::NO_SOURCE_ROUTE != 0 && has_source_route(header.options()) {
            return Err(DropReason::SourceRoute.into());
        }
        let to_node = self.nodes4.contains(&header.destination_addr());
        let is_later = header.fragments_offset().value() != 0;
        match header.protocol() {
            // etherparse: reads no TCP header from a fragment, however much of one is in it.
            ip_number::TCP => {
                honest_if(header.is_fragmenting_payload() || payload.len() >= 20, DropReason::Malformed)
            }
            ip_number::UDP if !is_later => self.judge_udp(payload, to_node),
            ip_number::ICMP if !is_later => self.judge_icmp(payload),
            ip_number::IPV4 | ip_number::IPV6 | ip_number::GRE => self.judge_tunnel(to_node),
            _ => HONEST,
        }
    }

    /// DHCP clients and IGMP listeners speak before they have an address.
    fn may_lack_address(&self, header: &Ipv4HeaderSlice<'_>, payload: &[u8]) -> bool {
        match header.protocol() {
            ip_number::UDP => {
                let ports =
                    UdpHeaderSlice::from_slice(payload).map(|u| (u.source_port(), u.destination_port()));
                self.allow & Allow::DHCP_CLIENT != 0
                    && header.destination_addr().is_broadcast()
                    && ports == Ok((68, 67))
            }
            ip_number::IGMP => {
                let is_report = payload.len() >= 8 && [0x12, 0x16, 0x17, 0x22].contains(&payload[0]);
                header.ttl() == 1 && header.destination_addr().is_multicast() && is_report
            }
            _ => false,
        }
    }

    fn judge_udp(&self, segment: &[u8], to_node: bool) -> Judgement {
        // etherparse: the header alone; whether the datagram's own length fits is its receiver's matter.
        let udp = UdpHeaderSlice::from_slice(segment).map_err(|_| DropReason::Malformed)?;
        if [67, 547].contains(&udp.source_port()) && self.allow & Allow::DHCP_SERVER == 0 {
            return Err(DropReason::RogueDhcp.into());
        }
        match udp.destination_port() {
            4789 | 8472 | 6081 | 51820 => self.judge_tunnel(to_node),
            _ => HONEST,
        }
    }

    fn judge_tunnel(&self, to_node: bool) -> Judgement {
        honest_if(!to_node || self.allow & Allow::TUNNEL != 0, DropReason::Tunnel)
    }

    fn judge_icmp(&self, message: &[u8]) -> Judgement {
        // etherparse: wants eight bytes at least, and twenty in a timestamp; the gate only tells errors
        // from the rest.
        if message.len() < 4 {
            return Err(DropReason::Malformed.into());
        }
        let is_error = [3, 4, 5, 11, 12].contains(&message[0]);
        // etherparse: refuses a quote whose version or header length was mangled on the way.
        match message.get(8 + 16..8 + 20).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()) {
            Some(quoted) if is_error && !self.is_router() && !self.binds4(quoted.into()) => {
                Ok(Some(DropReason::IcmpQuote))
            }
            _ => HONEST,
        }
    }

    fn judge_ipv6(&self, link: Option<Mac>, packet: &[u8], gso: bool) -> Judgement {
        let header = Ipv6HeaderSlice::from_slice(packet).map_err(|_| DropReason::Malformed)?;
        let body = &packet[40..];
        let len = match usize::from(header.payload_length()) {
            0 if gso => body.len(),
            len => len,
        };
        let payload = body.get(..len).ok_or(DropReason::Malformed)?;
        let chain = walk(header.next_header(), payload, body)?;
        if chain.upper == ip_number::IPV6_ICMP && !chain.headless {
            return self.judge_icmpv6(link, &header, &chain);
        }
        let mut spoofed = self.spoofed6(header.source_addr());
        spoofed.evidence |=
            chain.upper == ip_number::UDP && !chain.headless && self.is_rogue_dhcp(chain.rest);
        honest_if(self.binds6(header.source_addr()), spoofed)?;
        let to_node = self.nodes6.contains(&header.destination_addr());
        match chain.upper {
            _ if chain.headless => HONEST,
            ip_number::TCP => honest_if(chain.rest.len() >= 20, DropReason::Malformed),
            ip_number::UDP => self.judge_udp(chain.rest, to_node),
            ip_number::IPV4 | ip_number::IPV6 | ip_number::GRE => self.judge_tunnel(to_node),
            _ => HONEST,
        }
    }

    fn judge_icmpv6(&self, link: Option<Mac>, header: &Ipv6HeaderSlice<'_>, chain: &Chain<'_>) -> Judgement {
        let source = header.source_addr();
        // etherparse: wants eight bytes; a message without a body is legal.
        let message = chain.rest;
        if message.len() < 4 {
            return Err(DropReason::Malformed.into());
        }
        let (kind, code) = (message[0], message[1]);
        if (133..=137).contains(&kind) {
            let is_rogue = (kind == 134 || kind == 137) && self.allow & Allow::ROUTER == 0;
            let spoofed = Refusal::when(self.nd_claims_another(source, message), DropReason::SpoofedNd);
            if chain.fragmented {
                return Err(Refusal { evidence: is_rogue || spoofed.evidence, ..spoofed });
            }
            if is_rogue {
                return Err(DropReason::RogueRa.into());
            }
            if header.hop_limit() != 255 || code != 0 {
                return Err(spoofed);
            }
            return self.judge_nd(link, source, header.destination_addr(), message);
        }
        if source.is_unspecified() {
            let group = header.destination();
            let is_report = [131, 132, 143].contains(&kind)
                && header.hop_limit() == 1
                && group.starts_with(&[0xff, 0x02]);
            return honest_if(is_report, self.spoofed6(source));
        }
        honest_if(self.binds6(source), self.spoofed6(source))?;
        match message.get(8 + 24..8 + 40).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()) {
            Some(quoted) if kind < 128 && !self.is_router() => {
                let quoted = Ipv6Addr::from(quoted);
                let ours = quoted.is_multicast() || self.binds6(quoted);
                Ok((!ours).then_some(DropReason::IcmpQuote))
            }
            _ => HONEST,
        }
    }

    fn judge_nd(&self, link: Option<Mac>, source: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Judgement {
        let spoofed = Refusal::when(self.nd_claims_another(source, message), DropReason::SpoofedNd);
        let kind = message[0];
        let fixed_len = match kind {
            133 => 8,
            134 => 16,
            135 | 136 => 24,
            _ => 40,
        };
        let (options, ends_well) = nd_options(message.get(fixed_len..).ok_or(DropReason::Malformed)?);
        let of_sender = |option: u8| option == 1 || (option == 2 && kind != 137);
        let told = options.iter().filter(|(option, _)| of_sender(*option)).map(|(_, data)| data);
        // Without an Ethernet header a link-layer address means nothing.
        if link.is_some() && told.clone().any(|data| self.foreign_mac(&data[..6])) {
            return Err(DropReason::SpoofedNd.into());
        }
        honest_if(ends_well, DropReason::Malformed)?;
        if told.clone().any(|data| data.len() != 6) {
            return Err(spoofed);
        }
        let target = match kind {
            135 | 136 => Ipv6Addr::from(<[u8; 16]>::try_from(&message[8..24]).unwrap()),
            _ => Ipv6Addr::UNSPECIFIED,
        };
        if source.is_unspecified() {
            let honest = match kind {
                133 => to == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2),
                135 => self.binds6(target) && to == solicited_node(target),
                _ => false,
            };
            let tells_mac = options.iter().any(|(option, _)| *option == 1);
            return honest_if(honest && !tells_mac, spoofed);
        }
        if kind == 136 && !self.binds6(target) {
            return Err(spoofed);
        }
        honest_if(self.binds6(source), self.spoofed6(source))
    }

    fn spoofed6(&self, source: Ipv6Addr) -> Refusal {
        Refusal::when(self.foreign6(source), DropReason::SpoofedIpv6)
    }

    /// Whether an IPv4 address is bound.
    pub fn binds4(&self, address: Ipv4Addr) -> bool {
        if address.is_unspecified() || self.ipv4.contains(&address) {
            return !address.is_unspecified();
        }
        let n = u32::from(address);
        let under = |len: u8| u32::MAX.checked_shr(len.into()).unwrap_or(0);
        let longest = self
            .prefixes4
            .iter()
            .filter(|(prefix, len)| n & !under(*len) == u32::from(*prefix))
            .map(|(_, len)| *len)
            .max();
        let never = address.octets()[0] == 0 || address.octets()[0] >= 224;
        longest.is_some_and(|len| !never && (len >= 31 || n & under(len) != under(len)))
    }

    /// Whether an IPv6 address is bound.
    pub fn binds6(&self, address: Ipv6Addr) -> bool {
        if address.is_unspecified() || address.is_multicast() {
            return false;
        }
        let under = |len: u8| u128::MAX.checked_shr(len.into()).unwrap_or(0);
        self.ipv6.contains(&address)
            || self.link_local == Some(address)
            || self
                .prefixes6
                .iter()
                .any(|(prefix, len)| u128::from(address) & !under(*len) == u128::from(*prefix))
    }
}

fn is_tag(kind: EtherType) -> bool {
    // etherparse: knows 0x9100 as a tag too; Linux does not, so it is any other ethertype here.
    [ether_type::VLAN_TAGGED_FRAME, ether_type::PROVIDER_BRIDGING].contains(&kind)
}
