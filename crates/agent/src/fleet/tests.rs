use portcullis_policy::container::{AttachmentPlace, HostInterface, Networking};
use portcullis_policy::model::Workload;

use super::*;

fn anchor(ifindex: u32) -> Anchor {
    Anchor { netns: 1, ifindex }
}

fn attachment(network: &str, ifindex: u32) -> Attachment {
    let host = HostInterface { netns: 1, netns_path: None, index: ifindex, name: format!("veth{ifindex}") };
    Attachment {
        network: Some(network.to_owned()),
        inside: Some(format!("in-{network}")),
        place: AttachmentPlace::Pair { host },
        addresses: Vec::new(),
        macs: Vec::new(),
    }
}

fn known(id: &str, attachments: &[(&str, u32)]) -> Known {
    Known {
        container: Container {
            id: id.to_owned(),
            name: format!("name-{id}"),
            workload: Workload::default(),
            netns: None,
            networking: Networking::Own,
            attachments: attachments.iter().map(|(network, index)| attachment(network, *index)).collect(),
            since: None,
            trouble: None,
        },
        anchors: attachments.iter().map(|(_, index)| Some(anchor(*index))).collect(),
    }
}

fn troubled(id: &str, attachments: &[(&str, u32)]) -> Known {
    let mut known = known(id, attachments);
    known.container.trouble = Some("not all was found".to_owned());
    known
}

fn fleet() -> Fleet {
    let mut fleet = Fleet::default();
    for (name, kind) in [("docker", Owner::Docker), ("cri", Owner::Cri), ("cni", Owner::Cni)] {
        fleet.add(Source::new(name, kind, None, Treatment::default()));
    }
    fleet
}

fn claimed_by(fleet: &Fleet, index: u32) -> Vec<(String, String)> {
    let claims = fleet.claims(anchor(index));
    claims.iter().map(|claim| (claim.source.name.clone(), claim.container.id.clone())).collect()
}

fn said(source: &str, container: &str) -> (String, String) {
    (source.to_owned(), container.to_owned())
}

#[test]
fn claims_come_in_order_of_precedence_whoever_spoke_first() {
    let mut fleet = fleet();
    assert_eq!(fleet.put("docker", known("a", &[("n", 7)])), [anchor(7)].into());
    assert_eq!(fleet.put("cri", known("a", &[("n", 7)])), [anchor(7)].into());
    assert_eq!(fleet.put("cni", known("a", &[("n", 7)])), [anchor(7)].into());
    assert_eq!(claimed_by(&fleet, 7), [said("cni", "a"), said("cri", "a"), said("docker", "a")]);
    assert_eq!(fleet.take("cni", "a"), [anchor(7)].into());
    assert_eq!(claimed_by(&fleet, 7), [said("cri", "a"), said("docker", "a")]);
}

#[test]
fn what_moves_is_told_of_both_interfaces() {
    let mut fleet = fleet();
    fleet.put("docker", known("a", &[("n", 7), ("m", 8)]));
    assert_eq!(
        fleet.put("docker", known("a", &[("m", 8), ("n", 9)])),
        [anchor(7), anchor(8), anchor(9)].into()
    );
    assert_eq!(claimed_by(&fleet, 7), []);
    let claims = fleet.claims(anchor(9));
    assert_eq!(claims.first().and_then(|claim| claim.attachment.network.as_deref()), Some("n"));
}

#[test]
fn nothing_is_left_of_what_went() {
    let mut fleet = fleet();
    fleet.put("docker", known("a", &[("n", 7)]));
    fleet.put("docker", known("b", &[("n", 7)]));
    assert_eq!(fleet.lose(anchor(7)), [said("docker", "a"), said("docker", "b")]);
    assert!(fleet.lose(anchor(7)).is_empty() && fleet.by_anchor.is_empty());
    assert_eq!(fleet.source("docker").unwrap().containers["a"].anchors, [None]);
    assert!(fleet.take("docker", "a").is_empty() && fleet.take("docker", "nobody").is_empty());
    assert!(fleet.put("nobody", known("a", &[("n", 7)])).is_empty() && fleet.by_anchor.is_empty());
}

#[test]
fn what_a_source_could_not_see_stays() {
    let mut fleet = fleet();
    fleet.put("cri", known("a", &[("n", 7), ("m", 8)]));
    fleet.put("cri", troubled("a", &[]));
    assert_eq!(
        (claimed_by(&fleet, 7), claimed_by(&fleet, 8)),
        (vec![said("cri", "a")], vec![said("cri", "a")])
    );
    // A part of it was seen, and elsewhere.
    fleet.put("cri", troubled("a", &[("n", 9)]));
    assert_eq!((claimed_by(&fleet, 7), claimed_by(&fleet, 8)), (vec![], vec![said("cri", "a")]));
    assert_eq!(claimed_by(&fleet, 9), [said("cri", "a")]);
    // What is gone does not come back.
    fleet.lose(anchor(8));
    fleet.put("cri", troubled("a", &[]));
    assert_eq!((claimed_by(&fleet, 8), claimed_by(&fleet, 9)), (vec![], vec![said("cri", "a")]));
    // And without trouble, what is not said is not so.
    fleet.put("cri", known("a", &[]));
    assert!(fleet.by_anchor.is_empty());
}

#[test]
fn a_state_is_news_once() {
    let mut source = Source::new("docker", Owner::Docker, None, Treatment::default());
    assert!(!source.enter(SourceState::Connecting, None));
    assert!(source.enter(SourceState::Failing, Some("no".to_owned())));
    let since = source.since;
    assert!(source.enter(SourceState::Failing, Some("still no".to_owned())) && source.since == since);
    assert!(!source.enter(SourceState::Failing, Some("still no".to_owned())));
}
