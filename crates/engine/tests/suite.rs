//! The published adversarial suite, case by case, through the very code that runs in the kernel.

use portcullis_abi::{Endpoint, FurtherKey, Ipv6, Mode, PrefixKey};
use portcullis_engine::gate::{Binding, verify_ethernet};
use portcullis_engine::{Finding, SlicePacket, Tables};
use portcullis_probe::cases::{Expect, Identity, SendVia, suite};

struct NodeOnly<'a>(&'a Identity);

impl Tables for NodeOnly<'_> {
    fn has_further(&self, _: &FurtherKey) -> bool {
        false
    }
    fn prefix_len(&self, _: &PrefixKey) -> Option<u32> {
        None
    }
    fn is_node(&self, address: &Ipv6) -> bool {
        Some(*address) == self.0.node4.map(|node| node.mapped()) || Some(*address) == self.0.node6
    }
    fn is_known(&self, address: &Ipv6) -> bool {
        self.is_node(address)
    }
}

#[test]
fn every_case_gets_the_verdict_it_is_owed() {
    let identity = Identity::default();
    let endpoint = Endpoint {
        mac: identity.mac,
        mode: Mode::Enforce as u8,
        ipv4: identity.ipv4.unwrap(),
        slot: 1,
        ipv6: identity.ipv6.unwrap(),
        link_local: identity.link_local,
        ..Endpoint::default()
    };
    let tables = NodeOnly(&identity);
    let binding = Binding { endpoint: &endpoint, index: 1, tables: &tables };
    let cases = suite(&identity);
    assert!(cases.len() >= 90);
    let mut wrong = Vec::new();
    for case in &cases {
        for frame in &case.frames {
            let mut packet = SlicePacket::new(frame);
            if matches!(case.via, SendVia::Gso { .. }) {
                packet = packet.with_gso();
            }
            let found = verify_ethernet(&packet, &binding);
            let right = match case.expect {
                Expect::Pass => matches!(found, Finding::Honest | Finding::Odd(_)),
                Expect::Drop(reason) => [Finding::Violation(reason), Finding::Mild(reason)].contains(&found),
            };
            if !right {
                wrong.push(format!(
                    "{}: {} — expected {:?}, found {found:?}",
                    case.id, case.title, case.expect
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
