//! netkit devices (6.7), where the kernel has them: what the inventory reads of a pair, the gate on the
//! primary device in both modes, and the way in.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use portcullis_abi::{DropReason, Endpoint, Ipv6, Mac, Mode};
use portcullis_datapath::{Attachment, Gate, Hook, HookState, Method, Namespace, Settings, Site};
use portcullis_inventory::{Learned, Learner, LinkKind, Netns as Place};
use portcullis_policy::model::Direction;
use portcullis_probe::cases::Identity;
use portcullis_probe::live::{self, Options};

use crate::Report;
use crate::kernel::{BINDING, Kernel, base, endpoint};
use crate::live::{Link, guard, identity, probe};
use crate::net::{PairKind, attribute};

const IFLA_NETKIT_PEER_POLICY: u16 = 4;
const IFLA_NETKIT_MODE: u16 = 5;
const NETKIT_L2: u32 = 0;
const NETKIT_L3: u32 = 1;
/// What the kernel does with the peer's frames while no program is there.
const NETKIT_DROP: u32 = 2;

/// Both modes of a pair.
pub fn check(report: &mut Report) {
    match Link::new(&pair(NETKIT_L2, &[]), true) {
        Ok(link) => {
            report.check("netkit-inventory", || read_back(&link, false).map(drop));
            report.check("netkit", || layer2(&link));
            report.check("netkit-quarantine", || quarantine(&link, &identity()));
        }
        Err(error) if is_unknown_kind(&error) => return println!("this kernel has no netkit"),
        Err(error) => _ = report.check("netkit", || Err(error)),
    }
    report.check("netkit-adopt", adopted);
    report.check("netkit-blackhole", blackhole);
    report.check("netkit-l3", layer3);
}

fn pair(mode: u32, further: &[u8]) -> PairKind {
    let mut settings = attribute(IFLA_NETKIT_MODE, &mode.to_ne_bytes());
    settings.extend(further);
    PairKind { name: "netkit", further: settings }
}

fn is_unknown_kind(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) == Some(libc::EOPNOTSUPP)
}

/// What the agent decides by: the primary end, its header, and what it learns of the other end.
fn read_back(link: &Link, zero_mac: bool) -> Result<Learned> {
    let mut learner = Learner::new(&Place::current()?, &[])?;
    let read = learner.link_by_index(link.ifindex)?.context("the primary device")?;
    if read.kind != LinkKind::Netkit || read.netkit_primary != Some(true) || !read.has_ethernet {
        bail!("the primary device is read as {read:?}");
    }
    let learned = learner.learn(&read, Direction::Ingress)?;
    if learned.macs.first().is_none_or(|mac| (*mac == Mac::ZERO) != zero_mac) {
        bail!("the workload's MAC is read as {:?}", learned.macs);
    }
    Ok(learned)
}

fn expect_first(kernel: &Kernel, attachment: &Attachment) -> Result<()> {
    let states = kernel.opened.datapath.states(&Namespace::current()?, &[attachment])?;
    if states != [HookState::First] {
        bail!("the gate is not first: {states:?}");
    }
    Ok(())
}

fn layer2(link: &Link) -> Result<()> {
    let mut kernel = Kernel::open("netkit", Settings::default())?;
    let mut attachment = guard(&mut kernel, link, Method::Netkit)?;
    expect_first(&kernel, &attachment)?;
    probe(link)?;
    let counters = kernel.counters()?;
    let spoofed = counters.reasons[usize::from(DropReason::SpoofedIpv4.number())];
    if counters.dropped.packets == 0 || counters.allowed.packets == 0 || spoofed == 0 {
        bail!("the counters saw nothing of it: {counters:?}");
    }
    let host = Namespace::current()?;
    kernel.opened.datapath.put_first(&host, &mut attachment).context("putting it first again")?;
    expect_first(&kernel, &attachment)?;
    probe(link).context("after it was put first again")?;
    kernel.opened.datapath.detach(Some(&host), attachment)?;
    match probe(link) {
        Ok(()) => bail!("forgeries are stopped although the gate is detached: the probe sees nothing"),
        Err(_) => Ok(()),
    }
}

/// The pinned link of a driver's own hook is taken over like that of any other.
fn adopted() -> Result<()> {
    // A fresh pair: what got through without a gate, such as router advertisements, changed the other one.
    let link = &Link::new(&pair(NETKIT_L2, &[]), true)?;
    let base = base("netkit-adopt");
    let mut kernel = Kernel::at(&base, Settings::default())?;
    drop(guard(&mut kernel, link, Method::Netkit)?);
    kernel.keep();
    let orphaned = probe(link).context("with nothing but pins");
    let mut kernel = Kernel::at(&base, Settings::default())?;
    orphaned?;
    let site = Site { ifindex: link.ifindex, hook: Hook::Ingress, method: Method::Netkit };
    let (attachment, replaced) =
        kernel.opened.datapath.attach(&Namespace::current()?, site, Gate::Ethernet)?;
    if !replaced {
        bail!("there was nothing on the hook to take over");
    }
    expect_first(&kernel, &attachment)?;
    probe(link).context("after it was taken over")
}

/// A pair whose peer may send nothing until a program is there: our `next` is a program's word.
fn blackhole() -> Result<()> {
    let drops = attribute(IFLA_NETKIT_PEER_POLICY, &NETKIT_DROP.to_ne_bytes());
    let link = Link::new(&pair(NETKIT_L2, &drops), true)?;
    let mut kernel = Kernel::open("netkit-blackhole", Settings::default())?;
    let attachment = guard(&mut kernel, &link, Method::Netkit)?;
    probe(&link)?;
    kernel.opened.datapath.detach(None, attachment)?;
    Ok(())
}

/// Frames of an L3 pair have an Ethernet header too, of zeros: the Ethernet gate is the one for them.
fn layer3() -> Result<()> {
    let link = Link::new(&pair(NETKIT_L3, &[]), false)?;
    let learned = read_back(&link, true)?;
    let link_local = learned.link_local.first().copied().map(Ipv6::from).unwrap_or_default();
    let identity = Identity { mac: Mac::ZERO, link_local, ..identity() };
    let mut kernel = Kernel::open("netkit-l3", Settings::default())?;
    let entry: Endpoint = endpoint(&identity, Mode::Enforce);
    let nodes: Vec<_> =
        [identity.node4.map(|node| node.mapped()), identity.node6].into_iter().flatten().collect();
    kernel.opened.tables.set_nodes(&nodes)?;
    kernel.bind_interface(link.ifindex, &entry, &[], &[])?;
    let host = Namespace::current()?;
    let site = Site { ifindex: link.ifindex, hook: Hook::Ingress, method: Method::Netkit };
    let (attachment, _) = kernel.opened.datapath.attach(&host, site, Gate::Ethernet)?;
    expect_first(&kernel, &attachment)?;
    both_ways(&link)?;
    let counters = kernel.counters()?;
    if counters.dropped.packets != 0 || counters.allowed.packets == 0 {
        bail!("packets of the workload's own stack: {counters:?}");
    }
    suite(&link)?;
    kernel.opened.datapath.detach(Some(&host), attachment)?;
    drop(kernel);
    quarantine(&link, &identity)
}

/// The whole suite with a source of zeros.
fn suite(link: &Link) -> Result<()> {
    // Both ends have the link-local address that follows from a MAC of zeros: here it is the workload's own.
    const HONEST_HERE: &str = "na-for-link-local-gateway:";
    let options = Options {
        netns: Some(link.workload.path()),
        host_netns: Some("/proc/self/ns/net".into()),
        timeout: Duration::from_secs(10),
        ..Options::new("eth0")
    };
    let card = live::run(&options, &mut |_| {})?;
    println!("live suite, L3: {:?}", card.summary);
    let failures: Vec<String> = card.failures().into_iter().map(|row| row.join(" ")).collect();
    if let Some(failure) = failures.iter().find(|failure| !failure.starts_with(HONEST_HERE)) {
        bail!("{failure}");
    }
    Ok(())
}

/// A datagram to the host and one to the workload arrive.
fn both_ways(link: &Link) -> Result<()> {
    if !arrives(link, true)? {
        bail!("a datagram of the workload's own stack does not arrive");
    }
    if !arrives(link, false)? {
        bail!("a datagram to the workload does not arrive");
    }
    Ok(())
}

/// Whether a datagram arrives, from the workload (`out`) or to it.
fn arrives(link: &Link, out: bool) -> Result<bool> {
    let here = UdpSocket::bind("10.0.0.1:7000")?;
    let there = link.workload.within(|| Ok(UdpSocket::bind("10.0.0.2:7000")?))?;
    let (from, to) = if out { (&there, &here) } else { (&here, &there) };
    to.set_read_timeout(Some(Duration::from_millis(500)))?;
    // An error is another way of not arriving: netkit tells the sender of a drop.
    let _dropped = from.send_to(b"portcullis", to.local_addr()?);
    match to.recv(&mut [0; 16]) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Ok(false)
        }
        Err(error) => Err(error).context("receiving"),
    }
}

/// The second program that the agent attaches in quarantine, opposite to the gate.
fn quarantine(link: &Link, identity: &Identity) -> Result<()> {
    let mut kernel = Kernel::open("netkit-quarantine", Settings::default())?;
    kernel.bind_interface(link.ifindex, &endpoint(identity, Mode::Enforce), &[], &[])?;
    let host = Namespace::current()?;
    let site = Site { ifindex: link.ifindex, hook: Hook::Egress, method: Method::Netkit };
    let (attachment, _) = kernel.opened.datapath.attach(&host, site, Gate::Quarantine)?;
    expect_first(&kernel, &attachment)?;
    both_ways(link).context("before quarantine")?;
    if !kernel.opened.tables.set_quarantine(BINDING, true) {
        bail!("the binding is not there");
    }
    if arrives(link, false)? {
        bail!("a datagram to a workload in quarantine arrives");
    }
    if kernel.counters()?.reasons[usize::from(DropReason::Quarantined.number())] == 0 {
        bail!("it was not the quarantine that stopped it");
    }
    if !kernel.opened.tables.set_quarantine(BINDING, false) {
        bail!("the binding is not there");
    }
    both_ways(link).context("after quarantine")?;
    kernel.opened.datapath.detach(Some(&host), attachment)?;
    Ok(())
}
