//! Any bytes against the gate: it must not panic, and the independent judge of the differential test must
//! come to the same verdict, with and without an Ethernet header.
//!
//! The first twelve bytes of an input choose the binding and what the driver says of the frame.
#![no_main]

#[path = "../../crates/engine/tests/common/mod.rs"]
mod common;

use common::claims::Refusal;
use common::reference::{Frame, Judgement};
use common::{ETHERTYPES, MACS, OWN4, OWN6, PERMISSIONS, PREFIXES4, PREFIXES6, VLANS, World, v4, v6};
use libfuzzer_sys::fuzz_target;
use portcullis_engine::{Finding, SlicePacket};

/// Those of `all` whose bit is set.
fn chosen<T: Clone>(all: &[T], bits: u8) -> Vec<T> {
    all.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, item)| item.clone()).collect()
}

fn world(choice: [u8; 8]) -> World {
    World {
        macs: [vec![MACS[0]], chosen(&MACS[1..2], choice[0])].concat(),
        ipv4: chosen(&OWN4.map(v4), choice[1]),
        prefixes4: chosen(&PREFIXES4.map(|(a, len)| (v4(a), len)), choice[2]),
        ipv6: chosen(&OWN6.map(v6), choice[3]),
        prefixes6: chosen(&PREFIXES6.map(|(a, len)| (v6(a), len)), choice[4]),
        vlans: chosen(&VLANS, choice[5]),
        ethertypes: chosen(&ETHERTYPES, choice[6]),
        allow: chosen(&PERMISSIONS, choice[7]).iter().sum(),
        ..World::plain()
    }
}

fn judgement(finding: Finding) -> Judgement {
    match finding {
        Finding::Honest => Ok(None),
        Finding::Odd(reason) => Ok(Some(reason)),
        Finding::Mild(reason) => Err(Refusal { reason, evidence: false }),
        Finding::Violation(reason) => Err(Refusal { reason, evidence: finding.is_evidence() }),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, rest)) = input.split_first_chunk::<8>() else { return };
    let Some(([flags, tag @ .., _], bytes)) = rest.split_first_chunk::<4>() else { return };
    let (world, gso) = (world(*choice), flags & 1 == 1);
    let tag = (flags & 2 == 2).then_some(u16::from_be_bytes(*tag));
    let packet = if gso { SlicePacket::new(bytes).with_gso() } else { SlicePacket::new(bytes) };
    assert_eq!(judgement(world.layer3(&packet)), world.judge_layer3(bytes, gso));
    let packet = tag.map_or(packet, |tci| packet.with_tag(tci));
    assert_eq!(judgement(world.ethernet(&packet)), world.judge(Frame { bytes, tag, gso }));
});
