//! What mallory sends, and how it is known when it arrives.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use portcullis_abi::Ipv4;
use portcullis_probe::{Case, Identity, suite};
use portcullis_testkit::{BRIDGE_MAC, Lab, Listener, forge_udp4};

/// Bytes in frames that change on their way through a router.
const ROUTED: &[u8] = b"portcullis-demo-routed";

/// Cases of the published suite, and what they mean here.
const CASES: [(&str, &str); 11] = [
    ("ipv4-source-of-neighbour", "IPv4 in web's name"),
    ("mac-and-ipv4-of-neighbour", "web's MAC and IPv4, both"),
    ("ipv4-forged-reset", "a TCP reset in web's name"),
    ("arp-reply-for-gateway", "ARP: \"I am the gateway\""),
    ("arp-gratuitous-neighbour", "ARP: \"web's address is mine\""),
    ("ipv6-source-of-neighbour", "IPv6 in web's name"),
    ("na-for-gateway", "neighbour advertisement for the gateway"),
    ("ra", "router advertisement: \"route by me\""),
    ("dhcp4-offer", "DHCP offer, as a server of its own"),
    ("vlan-stacked-0-forged", "IPv4 in web's name behind two VLAN tags"),
    ("llc-snap-ipv4", "IPv4 hidden in an LLC/SNAP frame"),
];

/// One kind of forgery.
pub struct Kind {
    /// What it is, in a few words.
    pub title: &'static str,
    /// Frames of it.
    pub frames: Vec<Vec<u8>>,
    /// The reason it is to be dropped for.
    pub reason: &'static str,
}

/// All kinds, as container 3 sends them in the name of container 1 to container 2.
pub fn kinds(lab: &Lab) -> Result<Vec<Kind>> {
    let (web, db, mallory) = (lab.container(1), lab.container(2), lab.container(3));
    let identity = Identity { far_mac: db.mac(), ..mallory.identity(web) };
    let suite = suite(&identity);
    let mut kinds = CASES.iter().map(|(id, title)| kind(&suite, id, title)).collect::<Result<Vec<_>>>()?;
    let outside = Ipv4([192, 0, 2, 2]);
    kinds.push(Kind {
        title: "IPv4 in web's name, routed to the outside",
        frames: vec![forge_udp4((mallory.mac(), web.ipv4()), (BRIDGE_MAC, outside), ROUTED)],
        reason: "spoofed-ipv4",
    });
    Ok(kinds)
}

fn kind(suite: &[Case], id: &str, title: &'static str) -> Result<Kind> {
    let case = suite.iter().find(|case| case.id == id);
    let case = case.with_context(|| format!("the suite has no case {id} any more"))?;
    let reason = case.expect.reason().with_context(|| format!("the case {id} is honest"))?.name();
    Ok(Kind { title, frames: case.frames.clone(), reason })
}

/// All frames, one of each kind in turn.
pub fn frames(kinds: &[Kind]) -> Vec<Vec<u8>> {
    kinds.iter().flat_map(|kind| kind.frames.iter().cloned()).collect()
}

/// Watches every place where a forgery could arrive.
pub struct Watch {
    listeners: Vec<Listener>,
    counts: Vec<Arc<Vec<AtomicU64>>>,
}

impl Watch {
    /// Starts to listen in web, in db, on the host's bridge and outside.
    pub fn start(lab: &Lab, kinds: &[Kind]) -> Result<Self> {
        let places = [
            (lab.container(1).namespace(), "eth0"),
            (lab.container(2).namespace(), "eth0"),
            (lab.host(), "br0"),
            (lab.outside()?, "eth0"),
        ];
        let mut watch = Self { listeners: Vec::new(), counts: Vec::new() };
        for (namespace, interface) in places {
            let known: HashMap<Vec<u8>, usize> = kinds
                .iter()
                .enumerate()
                .flat_map(|(at, kind)| kind.frames.iter().map(move |frame| (frame.clone(), at)))
                .collect();
            let counts: Arc<Vec<AtomicU64>> = Arc::new(kinds.iter().map(|_| AtomicU64::new(0)).collect());
            let (counter, routed) = (Arc::clone(&counts), kinds.len() - 1);
            let matches = move |frame: &[u8]| {
                let marked = || frame.windows(ROUTED.len()).any(|w| w == ROUTED).then_some(routed);
                let kind = known.get(frame).copied().or_else(marked);
                kind.and_then(|at| counter.get(at)).map(|n| n.fetch_add(1, Ordering::AcqRel)).is_some()
            };
            watch.listeners.push(Listener::start(namespace, interface, matches)?);
            watch.counts.push(counts);
        }
        Ok(watch)
    }

    /// Frames of each kind that arrived; one that reached several places counts once.
    pub fn arrived(&self) -> Vec<u64> {
        let kinds = self.counts.first().map_or(0, |counts| counts.len());
        let at = |place: &Arc<Vec<AtomicU64>>, kind: usize| {
            place.get(kind).map_or(0, |count| count.load(Ordering::Acquire))
        };
        (0..kinds).map(|kind| self.counts.iter().map(|place| at(place, kind)).max().unwrap_or(0)).collect()
    }

    /// The same in all.
    pub fn total(&self) -> u64 {
        self.arrived().iter().sum()
    }

    /// Stops, after everything that had arrived was counted.
    pub fn stop(mut self) -> Result<Vec<u64>> {
        for listener in self.listeners.drain(..) {
            listener.stop()?;
        }
        Ok(self.arrived())
    }
}
