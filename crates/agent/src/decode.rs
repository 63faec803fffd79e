//! What a reported frame says, on one line, in the manner of tcpdump.
//!
//! Reads only what was captured and believes nothing: any bytes get an answer. Decides nothing
//! either; the verdict was the kernel's. Every address in a summary is what the frame *claims*.

use std::fmt::Write;
use std::net::IpAddr;

use portcullis_abi::{DropEvent, DropReason, Mac};
use portcullis_engine::header::{Arp, Ethernet, VlanTag, be16, ethertype};
use portcullis_policy::api::Claimed;

mod icmp;
mod network;
mod reader;
#[cfg(test)]
mod tests;
mod transport;

use reader::Reader;

/// Packets within packets that are told of; what lies deeper is not looked at.
const MAX_DEPTH: u8 = 3;
/// Tags that are told of.
const MAX_TAGS: usize = 4;

/// A frame in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// What it claimed to be, where that can be read.
    pub claimed: Claimed,
    /// Ethernet source and destination.
    pub macs: Option<(Mac, Mac)>,
    /// Source and destination of the outermost packet; of ARP, sender and target.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// VLAN id of the outermost tag, in the frame or taken out by the kernel.
    pub vlan: Option<u16>,
    /// Ethertype of what is inside all tags; a length, where it is below 1536.
    pub ethertype: Option<u16>,
    /// IP protocol of the outermost packet, behind all extension headers.
    pub protocol: Option<u8>,
    /// Its source and destination port, where it has them.
    pub ports: Option<(u16, u16)>,
    /// One line.
    pub summary: String,
}

/// What is being found out about one frame.
struct Decoding<'a> {
    rest: Reader<'a>,
    /// The target of a neighbour message, if there is one.
    target: Option<IpAddr>,
    /// How many packets this one is inside of.
    depth: u8,
    decoded: Decoded,
}

/// Decodes a reported frame. `layer3`: it comes from a device without an Ethernet header (tun, L3
/// netkit) and begins with an IP header.
#[must_use]
pub fn decode(event: &DropEvent, layer3: bool) -> Decoded {
    let captured = usize::try_from(event.captured).unwrap_or(usize::MAX).min(event.frame.len());
    let reader = Reader::new(&event.frame[..captured], event.len);
    let mut decoding = Decoding { rest: reader, target: None, depth: 0, decoded: Decoded::default() };
    if event.vlan_tci != [0; 2] {
        decoding.say_tag("802.1Q", event.vlan_tci);
    }
    if layer3 {
        decoding.layer3()
    } else {
        decoding.ethernet()
    }
    decoding.finish(DropReason::from_number(event.reason))
}

impl Decoding<'_> {
    fn finish(self, reason: Option<DropReason>) -> Decoded {
        let Decoding { target, mut decoded, .. } = self;
        let source = decoded.addresses.map(|(source, _)| source);
        // A forged neighbour message speaks for its target; that of one with a forged source for
        // its source, unless that is :: (duplicate address detection).
        let claimed = match (reason, target) {
            (Some(DropReason::SpoofedNd), Some(target)) => Some(target),
            (_, Some(target)) if source.is_none_or(|s| s.is_unspecified()) => Some(target),
            _ => source,
        };
        decoded.claimed.mac = decoded.macs.map(|(source, _)| source.to_string());
        decoded.claimed.address = claimed.map(|address| address.to_string());
        decoded
    }

    /// Appends words, apart from those before.
    fn say(&mut self, words: std::fmt::Arguments<'_>) {
        let summary = &mut self.decoded.summary;
        if !summary.is_empty() {
            summary.push(' ');
        }
        // Writing to a string does not fail.
        let _infallible = summary.write_fmt(words);
    }

    /// Reads the next header, or says that the frame ends in it.
    fn take<T: zerocopy::FromBytes + Copy>(&mut self, name: &str) -> Option<T> {
        let header = self.rest.take();
        if header.is_none() {
            self.say_end(name);
        }
        header
    }

    /// Says that `name` is not whole: because the frame ends there, or because the capture does.
    fn say_end(&mut self, name: &str) {
        if self.rest.is_cut() {
            self.say(format_args!("{name} [not captured]"));
        } else {
            self.say(format_args!("{name} [truncated]"));
        }
    }

    fn say_tag(&mut self, name: &str, tci: [u8; 2]) {
        let tci = be16(tci);
        let (vid, priority) = (tci & 0x0fff, tci >> 13);
        self.decoded.vlan.get_or_insert(vid);
        if priority == 0 {
            self.say(format_args!("{name} vid {vid}"));
        } else {
            self.say(format_args!("{name} vid {vid} priority {priority}"));
        }
    }

    fn layer3(&mut self) {
        match self.rest.peek().map(|first| first >> 4) {
            Some(4) => self.ipv4(),
            Some(6) => self.ipv6(),
            Some(version) => self.say(format_args!("IP version {version}")),
            None => self.say_end("IP"),
        }
    }

    fn ethernet(&mut self) {
        let Some(header) = self.take::<Ethernet>("Ethernet") else { return };
        if self.depth == 0 {
            self.decoded.macs = Some((header.source, header.destination));
        }
        let mut kind = header.ethertype;
        for _ in 0..MAX_TAGS {
            let name = match kind {
                ethertype::VLAN => "802.1Q",
                ethertype::QINQ => "802.1ad",
                [0x91, 0x00] => "QinQ",
                _ => break,
            };
            let Some(tag) = self.take::<VlanTag>(name) else { return };
            self.say_tag(name, tag.tci);
            kind = tag.ethertype;
        }
        if self.depth == 0 {
            self.decoded.ethertype = Some(be16(kind));
        }
        if be16(kind) < 1536 { self.llc() } else { self.by_ethertype(kind) }
    }

    fn by_ethertype(&mut self, kind: [u8; 2]) {
        match kind {
            ethertype::IPV4 => self.ipv4(),
            ethertype::IPV6 => self.ipv6(),
            ethertype::ARP => self.arp("ARP"),
            [0x80, 0x35] => self.arp("RARP"),
            _ => {
                let number = be16(kind);
                match ethertype_name(number) {
                    Some(name) => self.say(format_args!("ethertype {number:#06x} ({name})")),
                    None => self.say(format_args!("ethertype {number:#06x}")),
                }
            }
        }
    }

    /// IEEE 802.2: a length stood in the ethertype's place. SNAP may hide any ethertype in it.
    fn llc(&mut self) {
        let Some([dsap, ssap, control]) = self.take::<[u8; 3]>("LLC") else { return };
        if (dsap, ssap, control) != (0xaa, 0xaa, 3) {
            let name = match dsap {
                0x42 => " (STP)",
                0xf0 => " (NetBIOS)",
                0xfe => " (IS-IS)",
                0xe0 => " (IPX)",
                _ => "",
            };
            return self.say(format_args!("LLC dsap {dsap:#04x} ssap {ssap:#04x}{name}"));
        }
        let Some([a, b, c, high, low]) = self.take::<[u8; 5]>("LLC SNAP") else { return };
        if [a, b, c] == [0; 3] {
            self.say(format_args!("LLC SNAP"));
            self.by_ethertype([high, low]);
        } else {
            self.say(format_args!("LLC SNAP oui {a:02x}{b:02x}{c:02x} protocol 0x{high:02x}{low:02x}"));
        }
    }

    fn arp(&mut self, name: &str) {
        let Some(arp) = self.take::<Arp>(name) else { return };
        let (hardware, protocol) = (be16(arp.hardware), be16(arp.protocol));
        let lens = (arp.hardware_len, arp.protocol_len);
        if (hardware, protocol, lens) != (1, 0x0800, (6, 4)) {
            return self.say(format_args!(
                "{name} hardware {hardware} protocol {protocol:#06x} lengths {}/{}",
                lens.0, lens.1
            ));
        }
        if self.depth == 0 {
            let [sender, target] = [arp.sender.0, arp.target.0].map(IpAddr::from);
            self.decoded.addresses = Some((sender, target));
        }
        let (sender, target, mac) = (arp.sender, arp.target, arp.sender_mac);
        match be16(arp.operation) {
            1 if sender.0 == [0; 4] => self.say(format_args!("{name} probe who-has {target}")),
            1 if sender == target => self.say(format_args!("{name} announcement {sender} is-at {mac}")),
            1 => self.say(format_args!("{name} request who-has {target} tell {sender}")),
            2 => self.say(format_args!("{name} reply {sender} is-at {mac}")),
            3 => self.say(format_args!("{name} reverse request who-is {} tell {mac}", arp.target_mac)),
            4 => self.say(format_args!("{name} reverse reply {} at {target}", arp.target_mac)),
            other => self.say(format_args!("{name} operation {other} sender {sender} target {target}")),
        }
        // Where the two differ, that is the forgery.
        let ethernet = self.decoded.macs.map(|(source, _)| source);
        if self.depth == 0 && ethernet.is_some_and(|source| source != mac) {
            self.say(format_args!("(sender MAC {mac})"));
        }
    }
}

/// The better-known ethertypes (IEEE registry).
const fn ethertype_name(number: u16) -> Option<&'static str> {
    Some(match number {
        0x0842 => "wake-on-LAN",
        0x6558 => "Ethernet bridging",
        0x8847 | 0x8848 => "MPLS",
        0x8863 => "PPPoE discovery",
        0x8864 => "PPPoE session",
        0x888e => "EAPOL",
        0x8899 => "Realtek",
        0x88a2 => "ATA over Ethernet",
        0x88cc => "LLDP",
        0x88e5 => "MACsec",
        0x88f7 => "PTP",
        0x8906 => "FCoE",
        0x8915 => "RoCE",
        0x9000 => "loopback test",
        _ => return None,
    })
}
