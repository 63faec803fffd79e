//! The state as the API shows it.

use std::collections::{BTreeMap, HashMap};

use portcullis_abi::{Counters as KernelCounters, DropReason};
use portcullis_datapath::{Anchor, HookState};
use portcullis_inventory::{Candidate, Protectability, classify, hostnet, survey};
use portcullis_policy::api::{
    Count, Counters, Coverage, CoverageRow, Endpoint, EndpointState, EndpointTotals, Interface, State, Status,
};
use portcullis_policy::compile::effective;
use portcullis_policy::container::Networking;
use portcullis_policy::model::{Direction, Mode, Owner};

use super::{Core, Entry, Trouble};
use crate::control::Fault;

/// Warnings that `status` shows at the most.
const MOST_WARNINGS: usize = 50;

impl Core {
    pub(super) fn view_by_name(&self, name: &str) -> Result<Endpoint, Fault> {
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| Fault::NotFound(format!("there is no endpoint \"{name}\"")))?;
        Ok(self.view(entry))
    }

    pub(super) fn views(&self) -> Vec<Endpoint> {
        self.entries.values().map(|entry| self.view(entry)).collect()
    }

    fn view(&self, entry: &Entry) -> Endpoint {
        let spec = &entry.record.spec;
        let conduct = self.tables.conduct(entry.record.slot).unwrap_or_default();
        let effective = effective(spec, &entry.learned);
        let declared: Vec<String> = spec.addresses.iter().map(ToString::to_string).collect();
        let learned = effective
            .link_local
            .iter()
            .chain(&effective.ipv6)
            .map(|address| address.to_ip().to_string())
            .chain(effective.ipv4.iter().map(ToString::to_string))
            .filter(|address| !declared.contains(address))
            .collect();
        Endpoint {
            id: entry.record.id.clone(),
            name: spec.name.clone(),
            workload: spec.workload.clone(),
            interface: Interface {
                name: spec.interface.name.clone(),
                index: entry.bound.as_ref().map(|bound| bound.anchor.ifindex),
                netns: spec.interface.netns.clone(),
            },
            direction: spec.direction,
            addresses: declared,
            macs: effective.macs.iter().map(ToString::to_string).collect(),
            learned,
            mode: spec.mode,
            state: match entry.state() {
                // The kernel did it, and we have not heard of it yet.
                EndpointState::Active if conduct.is_quarantined() => EndpointState::Quarantined,
                state => state,
            },
            message: message(entry).or_else(|| self.why_quarantined(entry)),
            allow: spec.allow.clone(),
            vlans: spec.vlans.iter().map(|vlan| vlan.number()).collect(),
            ethertypes: spec.ethertypes.iter().map(ToString::to_string).collect(),
            owner: entry.record.owner,
            sources: self.sources_of(entry),
            conflicts: entry.conflicts.clone(),
            network: spec.network.clone(),
            inside: spec.inside.clone(),
            policies: entry.terms.policies.clone(),
            answer: entry.terms.answer,
            attempts: self.attempts(entry.record.slot),
            since: entry.record.since.to_string(),
            counters: self.counters(entry.record.slot),
        }
    }

    /// Why an endpoint is in quarantine, and until when.
    fn why_quarantined(&self, entry: &Entry) -> Option<String> {
        if !entry.record.spec.quarantined {
            return None;
        }
        let sentence = self.sentences.of(&entry.record.spec)?;
        let until = sentence.until.map(|until| format!("; it ends at {until:.0}"));
        Some(format!("{}{}", sentence.message, until.unwrap_or_default()))
    }

    fn attempts(&self, slot: u32) -> u64 {
        self.tables.counters(slot).map_or(0, |counters| counters.attempts())
    }

    /// Everyone who describes an endpoint, its owner first.
    fn sources_of(&self, entry: &Entry) -> Vec<Owner> {
        let mut owners = vec![entry.record.owner];
        if let Some(bound) = &entry.bound {
            for claim in self.fleet.claims(bound.anchor) {
                if !owners.contains(&claim.source.kind) {
                    owners.push(claim.source.kind);
                }
            }
        }
        owners
    }

    fn counters(&self, slot: u32) -> Counters {
        match self.tables.counters(slot) {
            Ok(counters) => counted(&counters),
            Err(error) => {
                tracing::warn!(%error, slot, "cannot read counters");
                Counters::default()
            }
        }
    }

    pub(super) fn state(&self) -> State {
        let by_hand = self.entries.values().filter(|entry| entry.record.origin.is_none());
        let endpoints = by_hand.map(|entry| entry.record.spec.clone()).collect();
        let policies = self
            .policies
            .iter()
            .filter(|policy| self.policy_owner(&policy.name) == Owner::Api)
            .cloned()
            .collect();
        State { endpoints, policies, ..State::default() }
    }

    pub(super) fn status(&self) -> Status {
        Status { warnings: self.all_warnings(), coverage: self.coverage(), ..self.summary() }
    }

    /// The status without a look at every namespace and process of the host, which takes a while.
    pub(super) fn summary(&self) -> Status {
        let mut sum = KernelCounters::default();
        let slots =
            self.entries.values().map(|entry| entry.record.slot).chain([portcullis_abi::UNBOUND_SLOT]);
        for counters in slots.filter_map(|slot| self.tables.counters(slot).ok()) {
            sum.add(&counters);
        }
        let attachment = if self.datapath.features().tcx { "tcx" } else { "clsact" };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started.to_string(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            attachment: attachment.to_owned(),
            bpffs: self.config.bpffs.display().to_string(),
            state_file: self.store.path().display().to_string(),
            unbound: self.config.unbound,
            endpoints: self.totals(),
            counters: counted(&sum),
            events_lost: sum.lost,
            repairs: self.repairs,
            warnings: Vec::new(),
            coverage: Vec::new(),
            sources: self.source_statuses(),
        }
    }

    fn totals(&self) -> EndpointTotals {
        let mut totals = EndpointTotals {
            total: self.entries.len() as u32,
            capacity: self.tables.slots().saturating_sub(1),
            ..EndpointTotals::default()
        };
        for entry in self.entries.values() {
            match entry.state() {
                EndpointState::Active => totals.active += 1,
                EndpointState::Waiting => totals.waiting += 1,
                EndpointState::Quarantined => totals.quarantined += 1,
                EndpointState::Bypassed | EndpointState::Failed => totals.failed += 1,
            }
        }
        totals
    }

    /// Every interface that a workload could send from, and how it stands.
    fn coverage(&self) -> Vec<CoverageRow> {
        let views = match survey() {
            Ok(views) => views,
            Err(error) => {
                tracing::warn!(%error, "cannot survey the network namespaces");
                return self.entries.values().filter_map(|entry| own_row(entry, None)).collect();
            }
        };
        let xdp: HashMap<Anchor, u32> = views
            .iter()
            .flat_map(|view| view.links.iter().map(|link| (view.id.0, link)))
            .filter_map(|(netns, link)| Some((Anchor { netns, ifindex: link.index }, link.xdp_prog?)))
            .collect();
        let mut host = hostnet::host_network_processes().unwrap_or_default();
        for process in &mut host {
            if let Some(name) = self.host_container(process.pid) {
                process.command = name;
            }
        }
        let mut rows: BTreeMap<(u32, u32, String), CoverageRow> = BTreeMap::new();
        for candidate in classify(&views, &host) {
            let row = self.candidate_row(&candidate, &xdp);
            let netns = if candidate.in_agent_netns { 0 } else { candidate.netns.0 };
            // What has no interface is told apart by what is said of it.
            let name = if row.index == 0 { row.reason.clone() } else { row.interface.clone() };
            rows.insert((netns, row.index, name), row);
        }
        let own = self.spaces.own().inode();
        for entry in self.entries.values() {
            let Some(anchor) = entry.bound.as_ref().map(|bound| bound.anchor) else { continue };
            let netns = if anchor.netns == own { 0 } else { anchor.netns };
            let key = (netns, anchor.ifindex, entry.record.spec.interface.name.clone());
            if !rows.contains_key(&key)
                && let Some(row) = own_row(entry, xdp.get(&anchor).copied())
            {
                rows.insert(key, row);
            }
        }
        rows.into_values().collect()
    }

    /// The container on the host's network that a process belongs to: its cgroup is named after it.
    fn host_container(&self, pid: u32) -> Option<String> {
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let all = self.fleet.sources().flat_map(|source| source.containers.values());
        let mut on_host = all.filter(|known| known.container.networking == Networking::Host);
        on_host.find(|known| cgroup.contains(&known.container.id)).map(|known| known.container.name.clone())
    }

    fn candidate_row(&self, candidate: &Candidate, xdp: &HashMap<Anchor, u32>) -> CoverageRow {
        let netns = (!candidate.in_agent_netns).then(|| {
            candidate
                .netns_path
                .as_ref()
                .map_or_else(|| format!("net:[{}]", candidate.netns.0), |path| path.display().to_string())
        });
        let index = candidate.link.as_ref().map_or(0, |link| link.index);
        let anchor = Anchor { netns: candidate.netns.0, ifindex: index };
        let entry = self.names_by_anchor.get(&anchor).and_then(|name| self.entries.get(name));
        let (coverage, reason) = match (entry, &candidate.protectability) {
            (Some(entry), _) => judged(entry, xdp.get(&anchor).copied()),
            (None, Protectability::NotProtectable(why)) => (Coverage::NotProtectable, why.clone()),
            (None, Protectability::HostSide) => (Coverage::Unbound, self.unbound_reason(anchor)),
        };
        CoverageRow {
            interface: candidate.link.as_ref().map_or_else(|| "-".to_owned(), |link| link.name.clone()),
            index,
            netns,
            kind: candidate
                .link
                .as_ref()
                .map_or_else(|| "host".to_owned(), |link| link.kind.as_str().to_owned()),
            peer: candidate.peer.clone(),
            endpoint: entry.map(|entry| entry.record.spec.name.clone()),
            coverage,
            reason,
        }
    }

    /// What an operator should know of, the most important first.
    fn all_warnings(&self) -> Vec<String> {
        let conflicts = self.entries.iter().flat_map(|(name, entry)| {
            entry.conflicts.iter().map(move |conflict| format!("endpoint \"{name}\": {conflict}"))
        });
        let mut all: Vec<String> =
            self.warnings.iter().cloned().chain(conflicts).chain(self.held_warnings()).collect();
        if all.len() > MOST_WARNINGS {
            let more = all.len() - MOST_WARNINGS;
            all.truncate(MOST_WARNINGS);
            all.push(format!("… and {more} more"));
        }
        all
    }

    fn unbound_reason(&self, anchor: Anchor) -> String {
        use portcullis_policy::model::UnboundPolicy::{Allow, Audit, Drop};
        if self.is_held(anchor) {
            return "held: everything that it sends is dropped until its container is known".to_owned();
        }
        match (self.config.unbound, self.unbound.contains_key(&anchor)) {
            (Audit, true) => "no binding: its frames are counted".to_owned(),
            (Drop, true) => "no binding: its frames are dropped".to_owned(),
            (Audit | Drop, false) => "no binding, and exempt from the rule for such interfaces".to_owned(),
            (Allow, _) => "no binding: it may send anything".to_owned(),
        }
    }
}

/// The row of an endpoint that the survey does not list: a workload's own interface, loopback.
fn own_row(entry: &Entry, xdp: Option<u32>) -> Option<CoverageRow> {
    let bound = entry.bound.as_ref()?;
    let spec = &entry.record.spec;
    let (coverage, reason) = judged(entry, xdp);
    Some(CoverageRow {
        interface: spec.interface.name.clone(),
        index: bound.anchor.ifindex,
        netns: spec.interface.netns.clone(),
        kind: if spec.interface.is_loopback() { "loopback" } else { "own" }.to_owned(),
        peer: None,
        endpoint: Some(spec.name.clone()),
        coverage,
        reason,
    })
}

fn judged(entry: &Entry, xdp: Option<u32>) -> (Coverage, String) {
    let spec = &entry.record.spec;
    let Some(bound) = &entry.bound else {
        return (Coverage::Unbound, "not bound yet".to_owned());
    };
    match &bound.hook {
        HookState::First => {}
        HookState::Behind(others) => {
            let ids: Vec<String> = others.iter().map(ToString::to_string).collect();
            return (
                Coverage::Bypassed,
                format!("program {} runs before ours and may end the chain", ids.join(", ")),
            );
        }
        HookState::Missing | HookState::NoInterface => {
            return (Coverage::Bypassed, "our program is not on its hook; it is being put back".to_owned());
        }
    }
    if let (Some(program), Direction::Ingress) = (xdp, spec.direction) {
        return (
            Coverage::Bypassed,
            format!("XDP program {program} runs before ours and may redirect frames past it"),
        );
    }
    match spec.mode {
        Mode::Enforce if spec.direction == Direction::Egress => (
            Coverage::Protected,
            "bound from inside: a workload with CAP_NET_ADMIN can take it off, and PACKET_QDISC_BYPASS goes round it".to_owned(),
        ),
        Mode::Enforce => (Coverage::Protected, "bound, first on its hook".to_owned()),
        Mode::Audit => (Coverage::Audited, "violations are counted and passed".to_owned()),
        Mode::Off => (Coverage::Unbound, "bound, but its mode is off".to_owned()),
    }
}

fn message(entry: &Entry) -> Option<String> {
    match (&entry.trouble, entry.bound.as_ref().map(|bound| &bound.hook)) {
        (Some(Trouble::Waiting(why) | Trouble::Failed(why)), _) => Some(why.clone()),
        (None, Some(HookState::Behind(_))) => Some(judged(entry, None).1),
        _ => None,
    }
}

pub(crate) fn counted(counters: &KernelCounters) -> Counters {
    let count = |count: &portcullis_abi::Count| Count { packets: count.packets, bytes: count.bytes };
    Counters {
        allowed: count(&counters.allowed),
        dropped: count(&counters.dropped),
        audited: count(&counters.audited),
        reasons: DropReason::ALL
            .iter()
            .filter_map(|reason| {
                let packets = *counters.reasons.get(usize::from(reason.number()))?;
                (packets > 0).then(|| (reason.name().to_owned(), packets))
            })
            .collect(),
        unreported: counters.unsampled.wrapping_add(counters.lost),
    }
}
