//! The API server: it takes what it is given, unless it is away or busy.

use std::sync::Arc;
use std::time::Duration;

use portcullis_kubernetes::crd::EndpointMapStatus;

use super::node::{Ask, Object};
use super::{Answer, Fleet};
use crate::content::{self, POLICIES};
use crate::ledger::{Bytes, Kind};

/// An object's metadata (`PartialObjectMetadata`).
const METADATA: u64 = 1700;
/// The object without its status, as it is applied first.
const SPEC: u64 = 400;
/// What a server that is too busy asks for.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const GET: Kind = Kind::agent("get", "endpointmaps");
const MAKE: Kind = Kind::agent("patch", "endpointmaps");
const WRITE: Kind = Kind::agent("patch", "endpointmaps/status");
const NODE: Kind = Kind::agent("get", "nodes");

impl Fleet<'_> {
    /// What a node asks: the answer, and how long it takes.
    pub(super) fn ask(&mut self, number: u32, ask: &Ask) -> (Answer, Duration) {
        if self.is_away() {
            self.told.ledger.failed(self.at());
            // Nobody listens there: that is told at once.
            return (Answer::Refused(None), Duration::from_millis(2));
        }
        let slow = match ask {
            Ask::Look => 10,
            Ask::Write(_) => 40,
        };
        let slow = Duration::from_millis(slow);
        let took = self.chance.between(slow / 2, slow * 2);
        let answer = match ask {
            Ask::Look => self.look(number),
            Ask::Write(status) => self.write(number, status),
        };
        (answer, took)
    }

    pub(super) fn is_away(&self) -> bool {
        let at = self.at();
        self.plan.away().is_some_and(|(from, to)| at.is_some_and(|at| at >= from && at < to))
    }

    fn is_busy(&mut self) -> bool {
        let Some(capacity) = self.plan.capacity else { return false };
        // Only whole seconds matter here.
        let second = self.at().map_or(0, |at| at.as_secs() + 1);
        if self.busy.0 != second {
            self.busy = (second, 0);
        }
        self.busy.1 += 1;
        second > 0 && self.busy.1 > capacity
    }

    /// `publish::Object::look`.
    fn look(&mut self, number: u32) -> Answer {
        let at = self.at();
        let node = &self.nodes[number as usize];
        let ledger = &mut self.told.ledger;
        if node.version.is_some() {
            ledger.request(at, GET);
            ledger.bytes(at, Bytes::Answered, METADATA);
            if node.object.as_ref().is_some_and(|object| node.version == Some(object.version)) {
                return Answer::Same;
            }
        }
        ledger.request(at, GET);
        if let Some(object) = &node.object {
            let size = self.sizes.object(object.rows, object.status.offenders.len());
            ledger.bytes(at, Bytes::Answered, size);
        }
        Answer::Present
    }

    /// `publish::Object::write`.
    fn write(&mut self, number: u32, status: &Arc<EndpointMapStatus>) -> Answer {
        if self.is_busy() {
            self.told.ledger.failed(self.at());
            return Answer::Refused(Some(RETRY_AFTER));
        }
        let at = self.at();
        let ledger = &mut self.told.ledger;
        let node = &mut self.nodes[number as usize];
        let rows = node.content.pods.len();
        let size = self.sizes.object(rows, status.offenders.len());
        let watchers = self.hub.watchers();
        if node.version.is_none() || node.object.is_none() {
            ledger.request(at, NODE);
            ledger.request(at, MAKE);
            ledger.bytes(at, Bytes::Received, SPEC);
            ledger.bytes(at, Bytes::Answered, 2 * METADATA);
            if node.object.is_none() {
                ledger.bytes(at, Bytes::Etcd, SPEC);
                ledger.heard(at, watchers);
            }
        }
        ledger.request(at, WRITE);
        ledger.bytes(at, Bytes::Received, size);
        ledger.bytes(at, Bytes::Answered, METADATA);
        ledger.bytes(at, Bytes::Etcd, size);
        ledger.bytes(at, Bytes::ToHubs, watchers * size);
        ledger.heard(at, watchers);
        self.versions += 1;
        let matched = (0..POLICIES.len()).map(|policy| content::matched(&node.content, policy)).collect();
        let before =
            node.object.replace(Object { status: Arc::clone(status), version: self.versions, matched, rows });
        let pressing = before.as_ref().is_none_or(|before| before.status.offenders != status.offenders);
        let since = (self.now + super::WARM_UP).saturating_duration_since(self.zero);
        self.told.writes[number as usize].push((since.as_secs_f64(), pressing));
        self.heard(number, before.as_ref());
        Answer::Written
    }
}
