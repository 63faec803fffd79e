//! A real pair of interfaces: the gate on the host's end, the suite sent from the other one.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use portcullis_abi::{DropReason, Endpoint, Ipv4, Ipv6, Mac, Mode};
use portcullis_datapath::{Attachment, Gate, Hook, HookState, Method, Namespace, Settings, Site};
use portcullis_probe::cases::Identity;
use portcullis_probe::live::{self, Options};

use crate::Report;
use crate::adopt;
use crate::kernel::{Kernel, base, endpoint};
use crate::net::{self, End, Netns, PairKind};

const HOST_MAC: Mac = Mac([0x02, 0x42, 0x0a, 0, 0, 1]);
const MAC: Mac = Mac([0x02, 0x42, 0x0a, 0, 0, 2]);

/// What attaching works with on this kernel, and how the program is taken off.
pub fn check(report: &mut Report) {
    report.check("veth", veth);
    report.check("adopt", adopted);
}

/// Two namespaces, joined.
pub struct Link {
    pub workload: Netns,
    /// The host's end.
    pub ifindex: u32,
}

impl Link {
    /// Makes the pair, gives both ends addresses (the default identity's) and sets them up.
    pub fn new(kind: &PairKind, with_macs: bool) -> Result<Self> {
        let workload = Netns::new()?;
        let here = End { name: "pc-host", mac: with_macs.then_some(HOST_MAC) };
        let there = End { name: "eth0", mac: with_macs.then_some(MAC) };
        net::pair(kind, &here, &there, &workload).with_context(|| format!("making a {} pair", kind.name))?;
        let ifindex = net::index_of(here.name)?;
        let link = Self { workload, ifindex };
        addressed(ifindex, 1)?;
        link.workload.within(|| addressed(net::index_of("eth0")?, 2))?;
        Ok(link)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The other end goes with it.
        let _already_gone = net::delete(self.ifindex);
    }
}

fn addressed(index: u32, last: u8) -> Result<()> {
    let v4 = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    let v6 = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)));
    net::add_address(index, v4, 24).context("an IPv4 address")?;
    net::add_address(index, v6, 64).context("an IPv6 address")?;
    net::up(index).context("setting an interface up")
}

/// The identity of the workload's end.
pub fn identity() -> Identity {
    Identity {
        far_mac: HOST_MAC,
        gateway_mac: HOST_MAC,
        ipv4: Some(Ipv4([10, 0, 0, 2])),
        ipv6: Some(Ipv6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2])),
        ..Identity::default()
    }
}

/// A veth pair.
pub fn veth_kind() -> PairKind {
    PairKind { name: "veth", further: Vec::new() }
}

/// How this kernel attaches to a veth.
pub fn method(kernel: &Kernel) -> Method {
    if kernel.opened.datapath.features().tcx { Method::Tcx } else { Method::Clsact }
}

/// Binds the host's end and attaches the gate.
pub fn guard(kernel: &mut Kernel, link: &Link, method: Method) -> Result<Attachment> {
    let identity = identity();
    let nodes: Vec<_> =
        [identity.node4.map(|node| node.mapped()), identity.node6].into_iter().flatten().collect();
    kernel.opened.tables.set_nodes(&nodes)?;
    let entry: Endpoint = endpoint(&identity, Mode::Enforce);
    kernel.bind_interface(link.ifindex, &entry, &[], &[])?;
    let site = Site { ifindex: link.ifindex, hook: Hook::Ingress, method };
    let host = Namespace::current()?;
    let (attachment, replaced) = kernel.opened.datapath.attach(&host, site, Gate::Ethernet)?;
    if replaced {
        bail!("something of ours was on a fresh interface");
    }
    Ok(attachment)
}

/// Sends the whole suite from inside and compares what arrives.
pub fn probe(link: &Link) -> Result<()> {
    let options = Options {
        netns: Some(link.workload.path()),
        host_netns: Some("/proc/self/ns/net".into()),
        timeout: Duration::from_secs(10),
        ..Options::new("eth0")
    };
    let card = live::run(&options, &mut |_| {})?;
    let summary = &card.summary;
    println!(
        "live suite: {} of {} forgeries stopped, {} of {} honest frames passed, {} not run",
        summary.forged_stopped,
        summary.forged_total,
        summary.honest_passed,
        summary.honest_total,
        summary.not_run
    );
    if !card.held() {
        let failures: Vec<String> = card.failures().into_iter().map(|row| row.join(" ")).collect();
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

fn states(kernel: &Kernel, attachment: &Attachment) -> Result<HookState> {
    let states = kernel.opened.datapath.states(&Namespace::current()?, &[attachment])?;
    states.into_iter().next().context("no state")
}

fn veth() -> Result<()> {
    let mut kernel = Kernel::open("veth", Settings::default())?;
    let link = Link::new(&veth_kind(), true)?;
    let method = method(&kernel);
    println!("attaching with {method:?}");
    let mut attachment = guard(&mut kernel, &link, method)?;
    if states(&kernel, &attachment)? != HookState::First {
        bail!("the gate is not first: {:?}", states(&kernel, &attachment)?);
    }
    probe(&link)?;
    let counters = kernel.counters()?;
    let spoofed = counters.reasons[usize::from(DropReason::SpoofedIpv4.number())];
    if counters.dropped.packets == 0 || counters.allowed.packets == 0 || spoofed == 0 {
        bail!("the counters saw nothing of it: {counters:?}");
    }
    let host = Namespace::current()?;
    kernel.opened.datapath.put_first(&host, &mut attachment).context("putting it first again")?;
    if states(&kernel, &attachment)? != HookState::First {
        bail!("not first after it was put first: {:?}", states(&kernel, &attachment)?);
    }
    probe(&link).context("after it was put first again")?;
    kernel.opened.datapath.detach(Some(&host), attachment)?;
    match probe(&link) {
        Ok(()) => bail!("forgeries are stopped although the gate is detached: the probe sees nothing"),
        Err(_) => Ok(()),
    }
}

/// A second process takes over what this one pinned, and the gate stays shut all the while.
fn adopted() -> Result<()> {
    let base = base("adopt");
    let mut kernel = Kernel::at(&base, Settings::default())?;
    let link = Link::new(&veth_kind(), true)?;
    let method = method(&kernel);
    guard(&mut kernel, &link, method)?;
    probe(&link)?;
    let before = kernel.counters()?;
    // What a killed agent leaves: pins, and no descriptor.
    kernel.keep();
    let orphaned = probe(&link).context("with no process behind the gate");
    let child = adopt::run(&base, link.ifindex);
    let kernel = Kernel::at(&base, Settings::default())?;
    orphaned?;
    child?;
    let after = kernel.counters()?;
    if after.dropped.packets <= before.dropped.packets {
        bail!("counters did not go on: {before:?}, then {after:?}");
    }
    probe(&link).context("after the second process")?;
    fs::metadata(&base).map(drop).context("the pins are gone")
}
