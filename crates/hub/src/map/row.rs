//! What a node's map comes to.

use std::sync::Arc;

use portcullis_kubernetes::crd::{
    AgentInfo, AppliedPolicy, EndpointMapStatus, EndpointRow, Offender, Summary,
};
use portcullis_policy::address::{AddressBinding, MacAddress};
use portcullis_policy::api::MapState;
use portcullis_policy::guard::Response;
use portcullis_policy::model::Mode;
use serde::Deserialize;

use super::compact::{ContainerId, Uid};
use super::digest::Digest;
use super::pool::Pool;

/// An address or prefix that is bound.
pub type Address = AddressBinding;

/// One attachment of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name of the endpoint, where it is not `namespace/pod`.
    pub name: Option<Box<str>>,
    /// Whether it has an endpoint.
    pub named: bool,
    /// The pod's namespace.
    pub namespace: Option<Arc<str>>,
    /// The pod's name.
    pub pod: Option<Box<str>>,
    /// The pod's UID.
    pub uid: Option<Uid>,
    /// Id of its sandbox or container.
    pub container: Option<ContainerId>,
    /// The host side of its interface.
    pub interface: Option<Box<str>>,
    /// Addresses that are bound.
    pub addresses: Box<[Address]>,
    /// MACs that are bound.
    pub macs: Box<[MacAddress]>,
    /// Mode of its endpoint.
    pub mode: Option<Mode>,
    /// How it stands.
    pub state: MapState,
    /// Why.
    pub message: Option<Arc<str>>,
    /// Policies that match it, the first to be asked first.
    pub policies: Arc<[Arc<str>]>,
    /// What becomes of it over its threshold.
    pub response: Option<Response>,
    /// Where sources contradict each other.
    pub conflicts: Box<[Arc<str>]>,
}

impl Row {
    fn new(row: EndpointRow, pool: &mut Pool) -> Self {
        let usual = match (&row.namespace, &row.pod) {
            (Some(namespace), Some(pod)) => Some(format!("{namespace}/{pod}")),
            _ => None,
        };
        let texts = |texts: &[String], pool: &mut Pool| -> Vec<Arc<str>> {
            texts.iter().map(|text| pool.text(text)).collect()
        };
        let policies = texts(&row.policies, pool);
        Self {
            named: row.name.is_some(),
            name: row.name.filter(|name| Some(name) != usual.as_ref()).map(Into::into),
            namespace: row.namespace.map(|namespace| pool.text(&namespace)),
            pod: row.pod.map(Into::into),
            uid: row.uid.map(|uid| Uid::new(&uid)),
            container: row.container.map(|container| ContainerId::new(&container)),
            interface: row.interface.map(Into::into),
            // What is none was never bound.
            addresses: row.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
            macs: row.macs.iter().filter_map(|mac| mac.parse().ok()).collect(),
            mode: row.mode,
            state: row.state,
            message: row.message.map(|message| pool.text(&message)),
            policies: pool.set(&policies),
            response: row.response,
            conflicts: texts(&row.conflicts, pool).into(),
        }
    }

    /// What people call it.
    #[must_use]
    pub fn title(&self) -> String {
        match (&self.namespace, &self.pod, &self.name, &self.interface) {
            (Some(namespace), Some(pod), ..) => format!("{namespace}/{pod}"),
            (_, _, Some(name), _) => name.to_string(),
            (_, _, _, Some(interface)) => format!("({interface})"),
            _ => "?".to_owned(),
        }
    }

    /// Name of its endpoint.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        let usual = || Some(format!("{}/{}", self.namespace.as_deref()?, self.pod.as_deref()?));
        self.named.then(|| self.name.as_deref().map(str::to_owned).or_else(usual)).flatten()
    }

    /// Whether its endpoint has this name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let usual = || {
            let (namespace, pod) = name.split_once('/')?;
            Some(self.namespace.as_deref() == Some(namespace) && self.pod.as_deref() == Some(pod))
        };
        self.named
            && match &self.name {
                Some(own) => **own == *name,
                None => usual().unwrap_or(false),
            }
    }

    /// Addresses that nobody else should have: whole ones, that go beyond their link, and are the pod's own.
    pub fn own_addresses(&self) -> impl Iterator<Item = std::net::IpAddr> {
        let hosts = self.state != MapState::HostNetwork && self.state != MapState::Shared;
        let own = |address: &&Address| {
            let beyond = match address.ip() {
                std::net::IpAddr::V4(ip) => !ip.is_link_local(),
                std::net::IpAddr::V6(_) => !address.is_link_local(),
            };
            address.is_host() && beyond && !address.is_loopback()
        };
        self.addresses.iter().filter(move |_| hosts).filter(own).map(Address::ip)
    }

    fn adopt(&mut self, pool: &mut Pool) {
        for text in [&mut self.namespace, &mut self.message].into_iter().flatten() {
            *text = pool.text(text);
        }
        for text in &mut self.conflicts {
            *text = pool.text(text);
        }
        self.policies = pool.set(&self.policies);
    }
}

/// What a node says.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub struct NodeMap {
    /// Name of the node.
    pub node: Arc<str>,
    /// Its agent.
    pub agent: AgentInfo,
    /// When it was published (RFC 3339).
    pub published: Option<String>,
    /// In numbers.
    pub summary: Summary,
    /// The pods' attachments.
    pub rows: Box<[Row]>,
    /// Pods over their threshold.
    pub offenders: Arc<[Offender]>,
    /// The policies that it applies.
    pub policies: Vec<AppliedPolicy>,
    /// What concerns all rows.
    pub digest: Digest,
    /// Whether there is anything in it. (Between its creation and its first status there is nothing.)
    pub told: bool,
}

impl NodeMap {
    /// Rows, with those that had no room.
    #[must_use]
    pub fn endpoints(&self) -> u32 {
        let left_out = u32::try_from(self.summary.left_out).unwrap_or(0);
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX).saturating_add(left_out)
    }

    /// Rows in quarantine.
    #[must_use]
    pub fn quarantined(&self) -> u32 {
        let standing = self.digest.standing.iter();
        standing.filter(|((_, state), _)| *state == MapState::Quarantined).map(|(_, count)| count).sum()
    }

    /// With the texts that others have already.
    pub(super) fn adopt(&mut self, pool: &mut Pool) {
        for row in &mut self.rows {
            row.adopt(pool);
        }
        self.digest.adopt(pool);
    }
}

/// As the API has it.
#[derive(Deserialize)]
struct Wire {
    metadata: Named,
    #[serde(default)]
    status: Option<EndpointMapStatus>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl From<Wire> for NodeMap {
    fn from(wire: Wire) -> Self {
        Self::new(&wire.metadata.name, wire.status)
    }
}

impl NodeMap {
    /// What the object of this name says.
    #[must_use]
    pub fn new(node: &str, status: Option<EndpointMapStatus>) -> Self {
        let told = status.is_some();
        let status = status.unwrap_or_default();
        let mut pool = Pool::default();
        let rows: Box<[Row]> = status.endpoints.into_iter().map(|row| Row::new(row, &mut pool)).collect();
        Self {
            node: node.into(),
            agent: status.agent,
            published: status.published,
            summary: status.summary,
            digest: Digest::new(&rows),
            rows,
            offenders: status.offenders.into(),
            policies: status.policies,
            told,
        }
    }
}
