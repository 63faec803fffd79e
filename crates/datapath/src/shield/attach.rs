//! Where the shield stands: on an interface's XDP or tc hook, in any network namespace.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{Loaded, Profile, Program, Shield, filter, foreign};
use crate::attach::Hook;
use crate::error::{Error, Result};
use crate::expedite::Expedited;
use crate::namespace::Namespace;
use crate::pins::Pins;
use crate::sys::{self, XdpMode};

/// What the shield stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ground {
    /// Frames that come in, before the kernel has built anything for them. In the driver or the generic path as is
    /// said, else in the driver where that is possible.
    Xdp(Option<XdpMode>),
    /// The interface's tc hook, behind all programs that are there. Before 6.6 that is a filter on the clsact qdisc, and
    /// in this process's own network namespace only. On the host side of a pair
    /// [`Hook::Egress`] is what goes to the workload.
    Tc(Hook),
}

/// A place for the shield.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spot {
    /// Interface index in its namespace.
    pub ifindex: u32,
    /// What to stand on.
    pub ground: Ground,
}

impl Spot {
    fn pin_name(self, netns: u32) -> String {
        let hook = match self.ground {
            Ground::Xdp(_) => "xdp",
            Ground::Tc(Hook::Ingress) => "ingress",
            Ground::Tc(Hook::Egress) => "egress",
        };
        format!("{netns}-{}-{hook}", self.ifindex)
    }

    pub(super) const fn program(self) -> Program {
        match self.ground {
            Ground::Xdp(_) => Program::Xdp,
            Ground::Tc(_) => Program::Tc,
        }
    }
}

/// A shield at its place. Dropping it detaches nothing: the pin stays.
#[derive(Debug)]
pub struct Placed {
    pub(super) spot: Spot,
    pub(super) native_refused: Option<String>,
    pub(super) netns: u32,
    pub(super) profile: Profile,
    pub(super) program_id: u32,
    pub(super) stand: Stand,
}

/// What holds a program at its place.
#[derive(Debug)]
pub(super) enum Stand {
    /// A link, and where it is pinned.
    Link(OwnedFd, PathBuf),
    /// A filter, which stays by itself.
    Filter(Hook),
}

impl Placed {
    /// Its place. Of XDP the mode is the one that it runs in, unless its link was taken over without asking for one.
    #[must_use]
    pub const fn spot(&self) -> Spot {
        self.spot
    }

    /// Inode number of its namespace.
    #[must_use]
    pub const fn netns(&self) -> u32 {
        self.netns
    }

    /// The firewall that protects it.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Why it does not run in the driver, where it was to be tried.
    #[must_use]
    pub fn native_refused(&self) -> Option<&str> {
        self.native_refused.as_deref()
    }

    /// Whether it still stands: the interface is there, and the program on it is ours.
    #[must_use]
    pub fn stands(&self) -> bool {
        match &self.stand {
            Stand::Link(link, _) => sys::link_info(link.as_fd())
                .is_ok_and(|info| info.ifindex == self.spot.ifindex && info.program_id == self.program_id),
            Stand::Filter(hook) => filter::stands(self.spot.ifindex, *hook, self.program_id),
        }
    }

    fn pin(&self) -> Option<&Path> {
        match &self.stand {
            Stand::Link(_, pin) => Some(pin),
            Stand::Filter(_) => None,
        }
    }
}

impl Shield {
    /// Protects an interface by a firewall, or takes over the pinned link that is there, exchanging its program in
    /// one step. An XDP program of somebody else's is an error.
    pub fn attach(&mut self, namespace: &Namespace, spot: Spot, profile: Profile) -> Result<Placed> {
        self.attach_program(namespace, spot, profile, spot.program())
    }

    /// The same with one of the programs that measurements are taken with.
    pub fn attach_program(
        &mut self,
        namespace: &Namespace,
        spot: Spot,
        profile: Profile,
        program: Program,
    ) -> Result<Placed> {
        if let Ground::Tc(hook) = spot.ground
            && !self.features.tcx
        {
            return self.attach_filter(namespace, spot, hook, profile);
        }
        let netns = namespace.inode();
        let pin = self.pins.link(&spot.pin_name(netns));
        let loaded = self.program(profile, netns, program)?;
        let program_id = loaded.id;
        let placed = |spot, native_refused, link, pin| Placed {
            spot,
            native_refused,
            netns,
            profile,
            program_id,
            stand: Stand::Link(link, pin),
        };
        if let Some(link) = adopt(&pin, spot, loaded)? {
            return Ok(placed(spot, None, link, pin));
        }
        let _expedited = Expedited::for_attachments(1);
        let (made, native_refused) = match (spot.ground, create(namespace, spot, loaded)) {
            // Anything else would be the same in the generic path.
            (Ground::Xdp(None), Err(Error::System { source, .. })) => {
                let generic = Spot { ground: Ground::Xdp(Some(XdpMode::Generic)), ..spot };
                (create(namespace, generic, loaded)?, Some(source.to_string()))
            }
            (_, made) => (made?, None),
        };
        let (link, spot) = made;
        Pins::put(link.as_fd(), &pin)?;
        Ok(placed(spot, native_refused, link, pin))
    }

    /// Takes the shield off its interface.
    pub fn detach(&self, placed: Placed) {
        let _expedited = Expedited::for_attachments(1);
        match placed.stand {
            Stand::Link(link, pin) => {
                let _interface_is_gone = sys::link_detach(link.as_fd());
                Pins::remove(&pin);
            }
            Stand::Filter(hook) => {
                if let Err(error) = filter::take_off(placed.spot.ifindex, hook) {
                    tracing::warn!(ifindex = placed.spot.ifindex, %error, "cannot take the shield off");
                }
            }
        }
    }

    /// Removes pinned links that belong to none of these, and filters: what an earlier agent left. Answers how many
    /// links.
    pub fn sweep<'a>(&self, keep: impl Iterator<Item = &'a Placed>) -> usize {
        let keep: Vec<&Placed> = keep.collect();
        if let Err(error) = self.sweep_filters(&keep) {
            tracing::warn!(%error, "cannot take old filters of the shield off");
        }
        let mut stale: Vec<PathBuf> =
            Pins::names(&self.pins.links()).iter().map(|name| self.pins.link(name)).collect();
        stale.retain(|pin| keep.iter().all(|placed| placed.pin() != Some(pin.as_path())));
        let _expedited = Expedited::for_attachments(stale.len());
        for pin in &stale {
            if let Ok(Some(link)) = Pins::get(pin) {
                let _interface_is_gone = sys::link_detach(link.as_fd());
            }
            Pins::remove(pin);
        }
        stale.len()
    }
}

/// Takes over a pinned link, if it is of the same interface, and exchanges its program.
fn adopt(pin: &Path, spot: Spot, program: &Loaded) -> Result<Option<OwnedFd>> {
    let Some(link) = Pins::get(pin)? else {
        return Ok(None);
    };
    let error = |source| Error::system(format!("adopting link {}", pin.display()), source);
    if sys::link_info(link.as_fd()).map_err(error)?.ifindex != spot.ifindex {
        // Its interface is gone, and the index belongs to another one now.
        Pins::remove_link(pin);
        return Ok(None);
    }
    sys::link_update(link.as_fd(), program.fd.as_fd()).map_err(error)?;
    Ok(Some(link))
}

/// Makes a link; answers where it is.
fn create(namespace: &Namespace, spot: Spot, program: &Loaded) -> Result<(OwnedFd, Spot)> {
    let ground = preferred(spot.ground);
    let program = program.fd.as_fd();
    let made = namespace.within(|| match ground {
        Ground::Xdp(mode) => sys::link_create_xdp(program, spot.ifindex, mode.unwrap_or(XdpMode::Native)),
        Ground::Tc(Hook::Ingress) => sys::link_create_last(program, spot.ifindex, sys::TCX_INGRESS),
        Ground::Tc(Hook::Egress) => sys::link_create_last(program, spot.ifindex, sys::TCX_EGRESS),
    })?;
    made.map(|link| (link, Spot { ground, ..spot })).map_err(|source| attach_error(namespace, spot, source))
}

const fn preferred(ground: Ground) -> Ground {
    match ground {
        Ground::Xdp(None) => Ground::Xdp(Some(XdpMode::Native)),
        other => other,
    }
}

fn has_interface(namespace: &Namespace, ifindex: u32) -> bool {
    namespace.interfaces().is_ok_and(|all| all.contains(&ifindex))
}

pub(super) fn attach_error(namespace: &Namespace, spot: Spot, source: std::io::Error) -> Error {
    let ifindex = spot.ifindex;
    match (source.raw_os_error(), spot.ground) {
        (Some(libc::ENODEV), _) => Error::NoInterface { ifindex },
        // Of a device that is not there, XDP says no more than of anything that it does not like.
        (Some(libc::EINVAL), _) if !has_interface(namespace, ifindex) => Error::NoInterface { ifindex },
        (Some(libc::EBUSY | libc::EEXIST), Ground::Xdp(_)) => {
            Error::XdpBusy { ifindex, program: foreign::xdp_program(namespace, ifindex) }
        }
        _ => Error::system(format!("attaching the shield to interface index {ifindex}"), source),
    }
}
