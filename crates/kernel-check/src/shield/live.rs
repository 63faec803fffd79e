//! The shield on a pair of interfaces.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use portcullis_abi::DropReason;
use portcullis_datapath::shield::{Ground, Spot, XdpMode};
use portcullis_datapath::{Features, Hook, Namespace};
use portcullis_policy::shield::{Listing, Prefix4};

use super::Fort;
use crate::Report;
use crate::live::{Link, veth_kind};

const HOST: u32 = 0x0a00_0001;
const WORKLOAD: u32 = 0x0a00_0002;

pub fn check(report: &mut Report) {
    for (name, mode) in [("native", XdpMode::Native), ("generic", XdpMode::Generic)] {
        report.check(&format!("shield-xdp-{name}"), || stands(name, Ground::Xdp(Some(mode)), WORKLOAD));
    }
    report.check("shield-tc-ingress", || tc("in", Hook::Ingress, WORKLOAD));
    report.check("shield-tc-egress", || tc("out", Hook::Egress, HOST));
}

fn tc(name: &str, hook: Hook, source: u32) -> Result<()> {
    println!("tc by {}", if Features::detect().tcx { "TCX" } else { "clsact" });
    stands(name, Ground::Tc(hook), source)
}

/// On the host's end, whose program sees what comes from the workload, or goes there from the host.
fn stands(name: &str, ground: Ground, source: u32) -> Result<()> {
    let mut fort = Fort::open(&format!("shield-{name}"))?;
    let link = Link::new(&veth_kind(), true)?;
    let out = source == HOST;
    if !arrives(&link, out)? {
        bail!("nothing arrives without a shield");
    }
    let host = Namespace::current()?;
    let spot = Spot { ifindex: link.ifindex, ground };
    let placed = fort.shield.attach(&host, spot, fort.profile)?;
    if !placed.stands() {
        bail!("it does not stand");
    }
    if placed.spot().ground != ground {
        bail!("it stands on {:?}", placed.spot().ground);
    }
    if !arrives(&link, out).context("with an empty shield")? {
        bail!("an empty shield lets nothing pass");
    }
    fort.block4(&[(Prefix4::of(source, 32), Listing::BLOCK)].into_iter().collect())?;
    if arrives(&link, out)? {
        bail!("what is blocked arrives");
    }
    if fort.dropped(DropReason::Blocklisted)? == 0 {
        bail!("the drop was not counted");
    }
    // As after a restart: what stands is taken over.
    drop(placed);
    let placed = fort.shield.attach(&host, spot, fort.profile).context("taking it over")?;
    if arrives(&link, out)? {
        bail!("what is blocked arrives after it was taken over");
    }
    fort.shield.detach(placed);
    if !arrives(&link, out)? {
        bail!("nothing arrives after it was taken off");
    }
    Ok(())
}

/// Whether a datagram arrives at the workload (`out`), or from it.
fn arrives(link: &Link, out: bool) -> Result<bool> {
    let here = UdpSocket::bind("10.0.0.1:7001")?;
    let there = link.workload.within(|| Ok(UdpSocket::bind("10.0.0.2:7001")?))?;
    let (from, to) = if out { (&here, &there) } else { (&there, &here) };
    to.set_read_timeout(Some(Duration::from_millis(500)))?;
    let _dropped = from.send_to(b"portcullis", to.local_addr()?);
    match to.recv(&mut [0; 16]) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Ok(false)
        }
        Err(error) => Err(error).context("receiving"),
    }
}
