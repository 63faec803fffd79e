//! The gate against an independent judge: etherparse reads the same frames, and a slow evaluator decides
//! by the table. Both must agree on what becomes of a frame and on the reason.

mod common;

use std::collections::BTreeMap;
use std::sync::Mutex;

use common::World;
use common::claims::Refusal;
use common::frames::{SUITE, any_frame};
use common::reference::{Frame, Judgement};
use portcullis_engine::{DropReason, Finding, SlicePacket};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

fn as_judgement(finding: Finding) -> Judgement {
    match finding {
        Finding::Honest => Ok(None),
        Finding::Odd(reason) => Ok(Some(reason)),
        Finding::Mild(reason) => Err(Refusal { reason, evidence: false }),
        Finding::Violation(reason) => Err(Refusal { reason, evidence: finding.is_evidence() }),
    }
}

fn packet<'a>(frame: Frame<'a>) -> SlicePacket<'a> {
    let packet = SlicePacket::new(frame.bytes);
    let packet = frame.tag.map_or(packet, |tci| packet.with_tag(tci));
    if frame.gso { packet.with_gso() } else { packet }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Judges a frame twice, and what is behind its Ethernet header once more as a packet without one.
fn compare(world: &World, frame: Frame<'_>) -> Result<Judgement, TestCaseError> {
    let expected = world.judge(frame);
    let found = as_judgement(world.ethernet(&packet(frame)));
    prop_assert_eq!(found, expected, "frame {} tag {:?}", hex(frame.bytes), frame.tag);
    if let Some(bytes) = frame.bytes.get(14..) {
        let expected = world.judge_layer3(bytes, frame.gso);
        let found = as_judgement(world.layer3(&packet(Frame { bytes, tag: None, ..frame })));
        prop_assert_eq!(found, expected, "packet {}", hex(bytes));
    }
    Ok(expected)
}

#[test]
fn the_engine_and_the_independent_judge_agree() {
    let tally = Mutex::new(BTreeMap::new());
    let tags = prop::option::weighted(0.1, prop_oneof![Just(0u16), Just(42), any::<u16>()]);
    let cases = (World::any(), any_frame(), tags, prop::bool::weighted(0.1));
    let result =
        TestRunner::new(ProptestConfig::with_cases(20_000)).run(&cases, |(world, bytes, tag, gso)| {
            let judgement = compare(&world, Frame { bytes: &bytes, tag, gso })?;
            *tally.lock().unwrap().entry(judgement).or_insert(0u32) += 1;
            Ok(())
        });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    // A generator that never reaches a verdict proves nothing about it.
    let tally = tally.into_inner().unwrap();
    let reasons = [
        DropReason::SpoofedIpv4,
        DropReason::SpoofedIpv6,
        DropReason::SpoofedMac,
        DropReason::SpoofedArp,
        DropReason::SpoofedNd,
        DropReason::RogueRa,
        DropReason::RogueDhcp,
        DropReason::Malformed,
        DropReason::Vlan,
        DropReason::Ethertype,
        DropReason::Tunnel,
        DropReason::SourceRoute,
    ];
    let noise =
        [DropReason::SpoofedIpv4, DropReason::SpoofedIpv6, DropReason::SpoofedArp, DropReason::SpoofedNd]
            .map(|reason| Refusal::when(false, reason));
    let refusals = reasons.map(Refusal::from).into_iter().chain(noise).map(Err);
    let verdicts = refusals.chain([Ok(None), Ok(Some(DropReason::IcmpQuote))]);
    for verdict in verdicts {
        assert!(tally.get(&verdict).is_some_and(|count| *count >= 10), "{verdict:?} is rare: {tally:?}");
    }
}

/// Options at the end of the header, where one byte more is the payload's: rare among frames of every kind.
#[test]
fn ipv4_options_are_read_alike() {
    let kind = prop_oneof![Just(0u8), Just(1), Just(2), Just(131), Just(137), any::<u8>()];
    let options = (1usize..=10).prop_flat_map(move |words| prop::collection::vec(kind.clone(), words * 4));
    let cases = (options, prop::collection::vec(0u8..4, 0..3));
    let world = World { allow: portcullis_abi::Allow::NO_SOURCE_ROUTE, ..World::plain() };
    let result = TestRunner::new(ProptestConfig::with_cases(20_000)).run(&cases, |(options, payload)| {
        let header_len = 20 + options.len();
        let mut frame = [[0xff; 6], world.macs[0].0].concat();
        frame.extend([0x08, 0x00, 0x40 | (header_len / 4) as u8, 0]);
        frame.extend(((header_len + payload.len()) as u16).to_be_bytes());
        // Protocol 253 is for experiments (RFC 3692): only the header matters.
        frame.extend([0, 0, 0, 0, 64, 253, 0, 0]);
        frame.extend(world.ipv4[0].octets().into_iter().chain([10, 0, 0, 9]).chain(options).chain(payload));
        let _ = compare(&world, Frame { bytes: &frame, tag: None, gso: false })?;
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn the_suite_is_judged_alike_by_many_bindings() {
    let result = TestRunner::new(ProptestConfig::with_cases(60)).run(&World::any(), |world| {
        for bytes in SUITE.iter() {
            let _ = compare(&world, Frame { bytes, tag: None, gso: false })?;
            let _ = compare(&world, Frame { bytes, tag: Some(0), gso: true })?;
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
