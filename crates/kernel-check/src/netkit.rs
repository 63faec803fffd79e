//! netkit devices (6.7), where the kernel has them.

use std::io;

use anyhow::{Result, bail};
use portcullis_datapath::{HookState, Method, Namespace, Settings};

use crate::Report;
use crate::kernel::Kernel;
use crate::live::{Link, guard, probe};
use crate::net::{PairKind, attribute};

/// The gate on the primary device of a pair in L2 mode.
pub fn check(report: &mut Report) {
    match Link::new(&layer2(), true) {
        Ok(link) => _ = report.check("netkit", || netkit(&link)),
        Err(error) if is_unknown_kind(&error) => println!("this kernel has no netkit"),
        Err(error) => _ = report.check("netkit", || Err(error)),
    }
}

fn layer2() -> PairKind {
    const IFLA_NETKIT_MODE: u16 = 5;
    const NETKIT_L2: u32 = 0;
    PairKind { name: "netkit", further: attribute(IFLA_NETKIT_MODE, &NETKIT_L2.to_ne_bytes()) }
}

fn is_unknown_kind(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) == Some(libc::EOPNOTSUPP)
}

fn netkit(link: &Link) -> Result<()> {
    let mut kernel = Kernel::open("netkit", Settings::default())?;
    let attachment = guard(&mut kernel, link, Method::Netkit)?;
    let host = Namespace::current()?;
    let states = kernel.opened.datapath.states(&host, &[&attachment])?;
    if states != [HookState::First] {
        bail!("the gate is not first: {states:?}");
    }
    probe(link)
}
