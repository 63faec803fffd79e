//! SYNs of a flood are answered, and who answers the answer has proved that it is real.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_abi::DropReason;
use portcullis_abi::shield::guard::GuardConfig;
use portcullis_abi::shield::rules::TICKS_PER_NS;
use portcullis_datapath::Features;
use portcullis_datapath::shield::{EventBudget, Program};

use crate::lab::{DROP, Lab, PASS};

const SEND: i32 = 3;
const SYN: u8 = 2;
const ACK: u8 = 16;
const SECOND: u64 = 1_000_000_000;
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Ten packets from each source, one SYN to each destination; the strict way.
fn guard() -> GuardConfig {
    GuardConfig {
        source_cost: 10 * SECOND * TICKS_PER_NS,
        source_burst: 100 * SECOND * TICKS_PER_NS,
        syn_cost: 1000 * SECOND * TICKS_PER_NS,
        syn_burst: 1000 * SECOND * TICKS_PER_NS,
        block_ns: 1000 * SECOND,
        block_max_ns: 1000 * SECOND,
        forget_ns: 1000 * SECOND,
        window_ns: SECOND,
        strikes: 1,
        strict: 1,
        cookies: 1,
        ..GuardConfig::default()
    }
}

fn lab(name: &str, guard: GuardConfig) -> Option<Lab> {
    if !Features::detect().syn_cookies {
        return None;
    }
    let lab = Lab::new(name);
    lab.shield.configure(lab.profile, EventBudget { per_second: 0, burst: 0 }, Some(guard)).unwrap();
    Some(lab)
}

#[derive(Clone, Copy)]
struct Segment {
    source: IpAddr,
    port: u16,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
}

impl Segment {
    fn syn(source: IpAddr, port: u16) -> Self {
        Self { source, port, sequence: 0x1234_5678, acknowledged: 0, flags: SYN }
    }

    fn server(self) -> IpAddr {
        match self.source {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
        }
    }

    /// With the options of Linux, and three bytes of data in SYNs.
    fn frame(self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.port.to_be_bytes());
        tcp.extend(80u16.to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledged.to_be_bytes());
        if self.flags == SYN {
            tcp.extend([0xa0, SYN, 0x72, 0x10, 0, 0, 0, 0, 2, 4, 5, 0xb4, 4, 2, 8, 10]);
            tcp.extend([1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]);
            tcp.extend(b"abc");
        } else {
            tcp.extend([0x50, self.flags, 0x72, 0x10, 0, 0, 0, 0]);
        }
        let mut frame = [SERVER_MAC, CLIENT_MAC].concat();
        match (self.source, self.server()) {
            (IpAddr::V4(source), IpAddr::V4(server)) => {
                frame.extend([8, 0, 0x45, 0x10, 0, 20 + tcp.len() as u8, 7, 7, 0x40, 0, 61, 6, 0, 0]);
                frame.extend([source.octets(), server.octets()].concat());
            }
            (IpAddr::V6(source), IpAddr::V6(server)) => {
                frame.extend([0x86, 0xdd, 0x60, 1, 2, 3, 0, tcp.len() as u8, 6, 61]);
                frame.extend([source.octets(), server.octets()].concat());
            }
            _ => unreachable!("both are of one family"),
        }
        frame.extend(tcp);
        frame
    }

    /// The ACK of an answer.
    fn answering(self, cookie: u32) -> Self {
        Self {
            sequence: self.sequence.wrapping_add(1),
            acknowledged: cookie.wrapping_add(1),
            flags: ACK,
            ..self
        }
    }
}

fn sum(bytes: &[u8]) -> u32 {
    let sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from)).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// Looks at a SYN-ACK; answers its cookie.
fn cookie_of(answer: &[u8], to: Segment) -> u32 {
    assert_eq!([&answer[..6], &answer[6..12]], [&CLIENT_MAC, &SERVER_MAC]);
    let (addresses, tcp) = match to.source {
        IpAddr::V4(_) => {
            assert_eq!(answer.len(), 58);
            assert_eq!(answer[12..24], [8, 0, 0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6]);
            assert_eq!(sum(&answer[14..34]), 0xffff, "the checksum of IPv4");
            (&answer[26..34], &answer[34..])
        }
        IpAddr::V6(_) => {
            assert_eq!(answer.len(), 78);
            assert_eq!(answer[12..22], [0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 6, 64]);
            (&answer[22..54], &answer[54..])
        }
    };
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    assert_eq!(addresses, [octets(to.server()), octets(to.source)].concat());
    assert_eq!(sum(&[addresses, &[0, 6, 0, 24], tcp].concat()), 0xffff, "the checksum of TCP");
    assert_eq!(tcp[..4], [80u16.to_be_bytes(), to.port.to_be_bytes()].concat());
    assert_eq!(tcp[8..12], to.sequence.wrapping_add(1).to_be_bytes());
    assert_eq!(tcp[12..14], [0x60, 0x12]);
    assert_eq!(tcp[20..22], [2, 4]);
    u32::from_be_bytes(tcp[4..8].try_into().unwrap())
}

/// How many sources are blocked after each of these has sent far too much.
fn blocked_of(lab: &mut Lab, sources: &[IpAddr]) -> usize {
    for source in sources {
        let bytes = Segment { flags: 4, ..Segment::syn(*source, 9) }.frame();
        for _ in 0..20 {
            lab.run(&bytes);
        }
    }
    lab.shield.blocks().unwrap().len()
}

fn sources() -> [[IpAddr; 2]; 2] {
    let v6 = |net| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, 7));
    [[IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), v6(1)], [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), v6(2)]]
}

#[test]
fn a_cookie_is_answered_and_proves_its_source() {
    let Some(mut lab) = lab("cookies", guard()) else { return };
    let [real, forged] = sources();
    for (real, forged) in real.into_iter().zip(forged) {
        assert_eq!(lab.run(&Segment::syn(real, 4000).frame()), PASS, "within the limit");
        let before = lab.dropped(DropReason::SynFlood);
        let answered = |lab: &mut Lab, segment: Segment| {
            let outcome = lab.shield.test(lab.profile, Program::Xdp, &segment.frame(), 1).unwrap();
            assert_eq!(outcome.action, SEND);
            cookie_of(&outcome.frame, segment)
        };
        let segment = Segment::syn(real, 4001);
        let cookie = answered(&mut lab, segment);
        assert_eq!(lab.run(&segment.answering(cookie).frame()), PASS);
        assert_eq!(lab.run(&Segment::syn(real, 4002).frame()), PASS, "it has proved that it is real");
        let segment = Segment::syn(forged, 4001);
        let cookie = answered(&mut lab, segment);
        assert_eq!(lab.run(&segment.answering(cookie ^ 0x100).frame()), PASS);
        answered(&mut lab, Segment::syn(forged, 4003));
        assert_eq!(lab.dropped(DropReason::SynFlood), before + 3);
    }
    assert_eq!(blocked_of(&mut lab, &forged), 0, "anybody can have sent that");
    assert_eq!(blocked_of(&mut lab, &real), 2);
}

#[test]
fn what_cannot_be_answered_stands_as_without_cookies() {
    let Some(mut lab) = lab("unanswered", guard()) else { return };
    let [[real, _], [forged, _]] = sources();
    assert_eq!(lab.run(&Segment::syn(real, 4000).frame()), PASS);
    let mut tagged = Segment::syn(forged, 4000).frame();
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    assert_eq!(lab.run(&tagged), DROP);
    // Without options there is no room for the answer.
    let bare = Segment { flags: ACK, ..Segment::syn(forged, 4000) };
    let mut frame = bare.frame();
    frame[47] = SYN;
    assert_eq!(lab.run(&frame), DROP);
    let mut multicast = Segment::syn(forged, 4000).frame();
    multicast[0] = 1;
    assert_eq!(lab.run(&multicast), DROP);
    assert_eq!(lab.run(&bare.frame()), PASS);
    assert_eq!(lab.run(&tagged), PASS, "it seems to have gone on with a handshake");
    assert_eq!(
        lab.shield.test(lab.profile, Program::Tc, &Segment::syn(real, 1).frame(), 1).unwrap().action,
        2
    );
}

#[test]
fn without_cookies_nothing_is_proved() {
    let Some(mut lab) = lab("uncooked", GuardConfig { cookies: 0, ..guard() }) else { return };
    let [real, forged] = sources();
    for real in real {
        let segment = Segment::syn(real, 4000);
        assert_eq!(lab.run(&segment.frame()), PASS);
        assert_eq!(lab.run(&segment.answering(7).frame()), PASS);
        assert_eq!(lab.run(&Segment::syn(real, 4001).frame()), PASS);
    }
    for forged in forged {
        assert_eq!(lab.run(&Segment::syn(forged, 4001).frame()), DROP);
    }
    assert_eq!(blocked_of(&mut lab, &real) + blocked_of(&mut lab, &forged), 0);
}
