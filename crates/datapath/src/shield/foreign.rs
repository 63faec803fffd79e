//! Whose XDP program is on an interface.

use std::io;
use std::os::fd::AsFd as _;

use crate::clsact::wire::{self, Connection, LINK_LENGTH, Request};
use crate::namespace::Namespace;
use crate::sys;

const IFLA_XDP: u16 = 43;
/// The one program's id; where there is one in the driver and one in hardware, theirs, and that of the generic path.
const PROGRAM_IDS: [u16; 4] = [4, 5, 6, 7];

/// Id and name of the XDP program on an interface, where the kernel tells. Without a name: it is gone already, or its
/// owner gave it none.
pub fn xdp_program(namespace: &Namespace, ifindex: u32) -> Option<(u32, String)> {
    let id = namespace.within(|| program_id(ifindex)).ok()?.ok()??;
    let name = sys::program_by_id(id).and_then(|program| sys::program_info(program.as_fd()));
    Some((id, name.map(|info| info.name()).unwrap_or_default()))
}

fn program_id(ifindex: u32) -> io::Result<Option<u32>> {
    let answers = Connection::open()?.ask(Request::about_link(ifindex))?;
    let links = answers.iter().filter(|answer| answer.kind == libc::RTM_NEWLINK);
    let mut xdp = links
        .filter_map(|answer| answer.payload.get(LINK_LENGTH..))
        .flat_map(wire::attributes)
        .filter(|(kind, _)| *kind == IFLA_XDP);
    Ok(xdp.next().and_then(|(_, about)| {
        let ids = || wire::attributes(about).filter(|(kind, _)| PROGRAM_IDS.contains(kind));
        ids().find_map(|(_, value)| wire::number(value).filter(|id| *id != 0))
    }))
}
