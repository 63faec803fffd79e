//! Places and standings.

use super::*;

fn bpf(priority: u16, handle: u32, name: &[u8], program_id: u32) -> Filter {
    let name = name.to_vec();
    Filter { priority, protocol: PROTOCOL_ALL, handle, bpf: true, name, direct: true, program_id }
}

fn other(priority: u16) -> Filter {
    Filter { priority, protocol: PROTOCOL_ALL, ..Filter::default() }
}

fn at(priority: u16, handle: u32, replace: bool) -> Option<Place> {
    Some(Place { priority, handle, replace })
}

#[test]
fn the_best_place() {
    let [a, b] = GATE.handles;
    let ours = |priority, handle| bpf(priority, handle, GATE.name, 7);
    assert_eq!(place(GATE, &[]), at(1, a, false));
    assert_eq!(place(GATE, &[ours(1, b), bpf(1, 1, b"x", 9)]), at(1, b, true), "first already");
    assert_eq!(place(GATE, &[bpf(1, 1, b"x", 9), ours(1, a)]), at(1, b, false), "to the front");
    assert_eq!(place(GATE, &[other(1)]), at(2, a, false), "another kind holds priority 1");
    assert_eq!(place(GATE, &[other(1), ours(2, a)]), at(2, a, true), "already as far as we can get");
    assert_eq!(place(GATE, &[ours(2, a)]), at(1, a, false), "priority 1 has become free");
    assert_eq!(place(GATE, &[bpf(1, a, b"x", 9), bpf(1, b, b"x", 9)]), at(2, a, false), "foreign handles");
    let ip_only = Filter { protocol: 8, ..ours(1, a) };
    assert_eq!(place(GATE, &[ip_only]), at(2, a, false), "a priority has one protocol");
}

#[test]
fn standings() {
    let ours = bpf(1, GATE.handles[0], GATE.name, 7);
    let foreign = bpf(1, 1, b"x", 9);
    assert_eq!(standing(GATE, &[ours.clone(), foreign.clone()], 7), HookState::First);
    assert_eq!(standing(GATE, &[other(1), foreign.clone(), ours.clone()], 7), HookState::Behind(vec![0, 9]));
    assert_eq!(standing(GATE, std::slice::from_ref(&ours), 8), HookState::Missing, "another program");
    let advisory = Filter { direct: false, ..ours.clone() };
    assert_eq!(standing(GATE, &[advisory], 7), HookState::Missing, "its verdict is not the action");
    assert_eq!(standing(GATE, &[Filter { protocol: 8, ..ours }], 7), HookState::Missing, "one protocol only");
    assert_eq!(standing(GATE, &[foreign], 9), HookState::Missing, "not ours");
}

#[test]
fn the_shield_stands_behind_others() {
    let [a, b] = SHIELD.handles;
    let there = |filters: &[Filter]| {
        place(SHIELD, filters).map(|place| (place.priority, place.handle, place.replace))
    };
    let ours = bpf(0xd000, a, SHIELD.name, 7);
    assert_eq!(there(&[]), Some((0xd000, a, false)));
    assert_eq!(there(&[bpf(1, GATE.handles[0], GATE.name, 9), other(0xc000)]), Some((0xd000, a, false)));
    assert_eq!(there(std::slice::from_ref(&ours)), Some((0xd000, a, true)));
    assert_eq!(
        there(&[bpf(0xd000, 1, b"x", 9), ours.clone()]),
        Some((0xd000, b, false)),
        "somebody before us"
    );
    assert_eq!(there(&[other(0xd000)]), Some((0xd001, a, false)));
    assert!(!ours.of(GATE) && ours.of(SHIELD));
    assert_eq!(standing(SHIELD, &[other(1), ours], 7), HookState::Behind(vec![0]));
}
