//! What a node says, as real agents say it (`crates/agent/src/kubernetes/content.rs`), and how large that is.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use portcullis_kubernetes::crd::{
    AgentInfo, AppliedPolicy, EndpointMapStatus, EndpointRow, Offender, Peer, Summary,
};
use portcullis_kubernetes::peer::Identity;
use portcullis_policy::api::MapState;
use portcullis_policy::model::Mode;
use serde_json::{Value, json};

use crate::chance::mix;

/// Policies of the cluster.
pub const POLICIES: [&str; 5] =
    ["default-enforce", "payments-terminate", "batch-audit", "ingress-shared-address", "legacy-allow-dhcp"];
const APPS: [&str; 8] = [
    "checkout",
    "frontend-web",
    "inventory-api",
    "payment-gateway",
    "search-indexer",
    "user-profile-service",
    "recommendation-worker",
    "redis-cache",
];

/// What a node says.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Which pods it has.
    pub pods: Vec<u64>,
    /// Pods of which little is known yet: as the plugin told of them.
    pub young: Vec<u64>,
    /// The policies' generation.
    pub generation: i64,
    /// How often its agent was started.
    pub starts: u32,
    /// Pods over their threshold.
    pub offenders: Vec<u64>,
    /// The API cannot be followed.
    pub cut_off: bool,
}

/// How much of it is made: times do not depend on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// One row that stands for all of them.
    Slim,
    /// All rows.
    Whole,
}

/// What the node of this number publishes.
#[must_use]
pub fn status(node: u32, content: &Content, detail: Detail) -> EndpointMapStatus {
    let endpoints: Vec<EndpointRow> = match detail {
        Detail::Whole => content.pods.iter().map(|pod| row_of(*pod, content)).collect(),
        Detail::Slim => vec![stand_in(content)],
    };
    let count = i32::try_from(content.pods.len()).unwrap_or(i32::MAX);
    let quarantined = i32::try_from(content.offenders.len()).unwrap_or(i32::MAX);
    EndpointMapStatus {
        agent: agent(node, content.starts),
        published: None,
        summary: Summary {
            endpoints: count,
            bound: count - quarantined,
            quarantined,
            offenders: quarantined,
            ..Summary::default()
        },
        endpoints,
        offenders: content.offenders.iter().map(|pod| offender(*pod)).collect(),
        policies: POLICIES.iter().map(|name| applied(name, content.generation)).collect(),
        conditions: conditions(content.cut_off),
    }
}

fn applied(name: &str, generation: i64) -> AppliedPolicy {
    AppliedPolicy { name: name.to_owned(), generation, trouble: None }
}

/// A row that differs if any of the rows differs.
fn stand_in(content: &Content) -> EndpointRow {
    let all = content.pods.iter().map(|pod| mix(*pod)).fold(0, std::ops::BitXor::bitxor);
    let young = content.young.iter().map(|pod| mix(!*pod)).fold(0, std::ops::BitXor::bitxor);
    EndpointRow { uid: Some(format!("{all:x}-{young:x}")), ..blank() }
}

fn blank() -> EndpointRow {
    EndpointRow {
        name: None,
        namespace: None,
        pod: None,
        uid: None,
        container: None,
        interface: None,
        addresses: Vec::new(),
        macs: Vec::new(),
        mode: None,
        state: MapState::Bound,
        message: None,
        policies: Vec::new(),
        response: None,
        conflicts: Vec::new(),
    }
}

fn row_of(pod: u64, content: &Content) -> EndpointRow {
    let mut row = row(pod);
    if content.young.contains(&pod) {
        row.policies.clear();
    }
    if content.offenders.contains(&pod) {
        row.state = MapState::Quarantined;
    }
    row
}

/// How many pods a policy matches.
#[must_use]
pub fn matched(content: &Content, policy: usize) -> u32 {
    let known = content.pods.iter().filter(|pod| !content.young.contains(pod));
    let count = known.filter(|pod| policy == 0 || second_policy(**pod) == Some(policy)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn second_policy(pod: u64) -> Option<usize> {
    let [a, b, ..] = mix(pod).to_be_bytes();
    a.is_multiple_of(4).then(|| 1 + usize::from(b % 4))
}

/// The row of a pod.
#[must_use]
pub fn row(pod: u64) -> EndpointRow {
    let dice = mix(pod);
    let [a, b, c, d, ..] = dice.to_be_bytes();
    let (namespace, name) = (namespace(pod), pod_name(pod));
    let mut policies = vec![POLICIES[0].to_owned()];
    if let Some(second) = second_policy(pod) {
        policies.insert(0, POLICIES[second].to_owned());
    }
    // Whole numbers: no two pods have one address.
    let [.., x, y, z] = pod.to_be_bytes();
    EndpointRow {
        name: Some(format!("{namespace}/{name}")),
        namespace: Some(namespace),
        pod: Some(name),
        uid: Some(uid(pod)),
        container: Some(format!("{:016x}{:016x}{:016x}{dice:016x}", mix(dice), mix(!dice), mix(dice ^ 7))),
        interface: Some(format!("veth{c:02x}{d:02x}{:04x}", dice & 0xffff)),
        addresses: vec![format!("10.{x}.{y}.{z}"), format!("fd00:10:244:{x:x}::{y:x}{z:02x}")],
        macs: vec![format!("{:02x}:{b:02x}:{c:02x}:{x:02x}:{y:02x}:{z:02x}", a & 0xfe | 2)],
        mode: Some(Mode::Enforce),
        policies,
        ..blank()
    }
}

fn namespace(pod: u64) -> String {
    let number = mix(pod ^ 0x5eed) % 120;
    format!("team-{number:02}-production")
}

fn pod_name(pod: u64) -> String {
    let dice = mix(pod ^ 0xa11);
    let app = usize::try_from(dice % 8).map_or(APPS[0], |at| APPS[at]);
    format!("{app}-{:010x}-{:05x}", dice >> 24, dice & 0xf_ffff)
}

fn uid(pod: u64) -> String {
    let (high, low) = (mix(pod ^ 0x1d), mix(pod ^ 0x2d));
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0xfff,
        low & 0xffff_ffff_ffff
    )
}

fn offender(pod: u64) -> Offender {
    let row = row(pod);
    Offender {
        namespace: row.namespace.unwrap_or_default(),
        pod: row.pod.unwrap_or_default(),
        uid: row.uid.unwrap_or_default(),
        endpoint: row.name.unwrap_or_default(),
        attempts: 10,
        threshold: 10,
        window: "60s".to_owned(),
        reasons: BTreeMap::from([("spoofed-ipv4".to_owned(), 8), ("spoofed-mac".to_owned(), 2)]),
        policy: POLICIES[1].to_owned(),
        time: "2026-01-01T00:00:00.123456789Z".to_owned(),
    }
}

fn agent(node: u32, starts: u32) -> AgentInfo {
    // A key for each of thousands of nodes would take longer than all the rest. They are of one length.
    static CERTIFICATE: OnceLock<String> = OnceLock::new();
    let certificate = CERTIFICATE.get_or_init(|| {
        Identity::generate("ip-10-0-0-0.internal").map_or_else(|_| String::new(), |it| it.pem().to_owned())
    });
    let [.., a, b] = node.to_be_bytes();
    AgentInfo {
        version: "0.1.0".to_owned(),
        pod: Some(format!(
            "portcullis-agent-{:05x}",
            mix(u64::from(node) << 32 | u64::from(starts)) & 0xf_ffff
        )),
        started: Some(format!("2026-01-01T00:00:00.{starts:09}Z")),
        peer: Some(Peer { address: format!("172.16.{a}.{b}:8475"), certificate: certificate.clone() }),
    }
}

fn conditions(cut_off: bool) -> Vec<Condition> {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: None,
    };
    let access = if cut_off {
        condition(
            "ApiAccess",
            "False",
            "Failing",
            "the API server cannot be asked to watch pods: connection refused",
        )
    } else {
        condition("ApiAccess", "True", "Following", "pods and gate policies are followed")
    };
    vec![
        condition("Ready", "True", "GateInPlace", "the gate is in place"),
        access,
        condition("Runtimes", "True", "Connected", "the node's container runtime is followed"),
    ]
}

/// The name of a node.
#[must_use]
pub fn node_name(node: u32) -> String {
    let [.., a, b] = node.to_be_bytes();
    format!("ip-10-0-{a}-{b}.eu-central-1.compute.internal")
}

/// The object as the API server keeps it, with its bookkeeping.
#[must_use]
pub fn object(node: u32, status: &EndpointMapStatus) -> Value {
    let name = node_name(node);
    let mut status = status.clone();
    status.published = Some("2026-01-01T00:00:00Z".to_owned());
    json!({
        "apiVersion": "portcullis.dev/v1alpha1",
        "kind": "EndpointMap",
        "metadata": {
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "generation": 1,
            "labels": {"app.kubernetes.io/name": "portcullis"},
            "managedFields": managed_fields(&uid(u64::from(node))),
            "name": name,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid(u64::from(node))}],
            "resourceVersion": "123456789",
            "uid": uid(u64::from(node) + 1),
        },
        "spec": {"node": name},
        "status": status,
    })
}

/// As server-side apply keeps them: lists that are atomic are one entry, whatever is in them.
fn managed_fields(owner: &str) -> Value {
    let entry = |subresource: Option<&str>, fields: Value| {
        let mut entry = json!({
            "apiVersion": "portcullis.dev/v1alpha1",
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
            "manager": "portcullis-agent",
            "operation": "Apply",
            "time": "2026-01-01T00:00:00Z",
        });
        if let Some(subresource) = subresource {
            entry["subresource"] = subresource.into();
        }
        entry
    };
    let owned = format!("k:{{\"uid\":\"{owner}\"}}");
    let condition = json!({
        ".": {}, "f:lastTransitionTime": {}, "f:message": {}, "f:reason": {}, "f:status": {}, "f:type": {},
    });
    json!([
        entry(
            None,
            json!({
                "f:metadata": {
                    "f:labels": {"f:app.kubernetes.io/name": {}},
                    "f:ownerReferences": {owned: {}},
                },
                "f:spec": {"f:node": {}},
            })
        ),
        entry(
            Some("status"),
            json!({
                "f:status": {
                    "f:agent": {
                        "f:peer": {"f:address": {}, "f:certificate": {}},
                        "f:pod": {}, "f:started": {}, "f:version": {},
                    },
                    "f:conditions": {
                        "k:{\"type\":\"ApiAccess\"}": condition,
                        "k:{\"type\":\"Ready\"}": condition,
                        "k:{\"type\":\"Runtimes\"}": condition,
                    },
                    "f:endpoints": {},
                    "f:policies": {},
                    "f:published": {},
                    "f:summary": {
                        "f:bound": {}, "f:conflicts": {}, "f:endpoints": {}, "f:held": {},
                        "f:offenders": {}, "f:quarantined": {}, "f:unverified": {},
                    },
                },
            })
        ),
    ])
}

/// How large objects are, in bytes of JSON: measured on real ones.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Without rows.
    pub base: u64,
    /// Each row.
    pub row: f64,
    /// Each offender.
    pub offender: u64,
}

impl Sizes {
    /// Measures.
    #[must_use]
    pub fn measured() -> Self {
        const SAMPLE: u64 = 500;
        let size = |pods: u64, offenders: u64| {
            let content = Content {
                pods: (0..pods).map(mix).map(|pod| pod >> 40).collect(),
                offenders: (0..offenders).collect(),
                ..Content::default()
            };
            let object = object(17, &status(17, &content, Detail::Whole));
            object.to_string().len() as u64
        };
        let base = size(0, 0);
        let offenders = size(0, 64) - base;
        Self {
            base,
            row: crate::ledger::number(size(SAMPLE, 0) - base) / crate::ledger::number(SAMPLE),
            offender: offenders / 64,
        }
    }

    /// An object with so many rows and offenders.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of objects")]
    pub fn object(&self, rows: usize, offenders: usize) -> u64 {
        self.base + (self.row * crate::ledger::number(rows as u64)) as u64 + self.offender * offenders as u64
    }
}

#[cfg(test)]
mod tests;
