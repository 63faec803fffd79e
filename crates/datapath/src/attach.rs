//! Programs on hooks: attached first, pinned, adopted, watched.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use crate::clsact;
use crate::error::{Error, Result};
use crate::expedite::Expedited;
use crate::namespace::Namespace;
use crate::object::{Datapath, Gate};
use crate::pins::Pins;
use crate::sys;

/// Where on an interface a program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Frames that come in: on the host side of a pair, from the workload.
    Ingress,
    /// Frames that go out.
    Egress,
}

/// What kind of device it is, as far as hooks are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Multi-program hooks with links (6.6).
    Tcx,
    /// The netkit driver's own hook: the peer's frames, seen from the primary device (6.7). What goes
    /// out of that device passes its TCX hook.
    Netkit,
    /// A `cls_bpf` filter on the clsact qdisc. It cannot be pinned; it stays by itself.
    Clsact,
}

/// Whether frames begin with an Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkLayer {
    /// They do.
    Ethernet,
    /// They begin with an IP header.
    None,
}

/// A place for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// Interface index in its namespace.
    pub ifindex: u32,
    /// Hook.
    pub hook: Hook,
    /// How to attach.
    pub method: Method,
}

/// A program at its place. Dropping it detaches nothing: the pin (or the filter) stays.
#[derive(Debug)]
pub struct Attachment {
    site: Site,
    gate: Gate,
    netns: u32,
    program_id: u32,
    copy: u8,
    link: Option<Link>,
}

#[derive(Debug)]
struct Link {
    fd: OwnedFd,
    pin: PathBuf,
    pin_name: String,
}

/// How an attachment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookState {
    /// First on its hook.
    First,
    /// Others run before it: their program ids.
    Behind(Vec<u32>),
    /// Not on its hook any more, or with another program.
    Missing,
    /// The interface is gone.
    NoInterface,
}

impl Hook {
    const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl Site {
    const fn attach_type(self) -> u32 {
        match (self.method, self.hook) {
            (Method::Tcx | Method::Clsact, Hook::Ingress) => sys::TCX_INGRESS,
            // Seen from the primary device, what comes in is what its peer sends.
            (Method::Netkit, Hook::Ingress) => sys::NETKIT_PEER,
            // For netkit too: programs on its own hook see the peer's index on this side.
            (_, Hook::Egress) => sys::TCX_EGRESS,
        }
    }

    /// Whether a link is on this interface, in the calling thread's namespace.
    fn holds(self, link: &sys::LinkInfo) -> bool {
        if self.attach_type() != sys::NETKIT_PEER {
            return link.ifindex == self.ifindex;
        }
        // Such a link tells the peer's index, so the hook itself is asked.
        sys::query_links(self.ifindex, sys::NETKIT_PEER).is_ok_and(|links| links.contains(&link.id))
    }

    fn pin_name(self, netns: u32) -> String {
        format!("{netns}-{}-{}", self.ifindex, self.hook.name())
    }
}

impl Attachment {
    /// Its place.
    #[must_use]
    pub const fn site(&self) -> Site {
        self.site
    }

    /// Its program.
    #[must_use]
    pub const fn gate(&self) -> Gate {
        self.gate
    }

    /// Inode number of its namespace.
    #[must_use]
    pub const fn netns(&self) -> u32 {
        self.netns
    }
}

impl Datapath {
    /// Puts a program first at a place, or takes over the pinned link that is there, exchanging its
    /// program in one step. `true`: there was such a link.
    pub fn attach(&mut self, namespace: &Namespace, site: Site, gate: Gate) -> Result<(Attachment, bool)> {
        let netns = namespace.inode();
        if site.method == Method::Clsact {
            return self.attach_filter(namespace, site, gate);
        }
        let pin_name = site.pin_name(netns);
        let pin = self.pins().link(&pin_name);
        if let Some(fd) = Pins::get(&pin)? {
            if let Some(attachment) = self.adopt(namespace, site, gate, fd, &pin, &pin_name)? {
                return Ok((attachment, true));
            }
            Pins::remove(&pin);
        }
        let attachment = self.attach_link(namespace, site, gate, 0)?;
        Ok((attachment, false))
    }

    /// Takes over a link whose interface is still there.
    fn adopt(
        &mut self,
        namespace: &Namespace,
        site: Site,
        gate: Gate,
        fd: OwnedFd,
        pin: &std::path::Path,
        pin_name: &str,
    ) -> Result<Option<Attachment>> {
        let error = |source| Error::system(format!("adopting link {}", pin.display()), source);
        let info = sys::link_info(fd.as_fd()).map_err(error)?;
        if info.attach_type != site.attach_type() || !namespace.within(|| site.holds(&info))? {
            return Ok(None);
        }
        let netns = namespace.inode();
        let program = self.program(netns, gate, 0)?;
        let program_id = program.id;
        sys::link_update(fd.as_fd(), program.fd.as_fd()).map_err(error)?;
        let link = Link { fd, pin: pin.to_owned(), pin_name: pin_name.to_owned() };
        Ok(Some(Attachment { site, gate, netns, program_id, copy: 0, link: Some(link) }))
    }

    fn attach_link(&mut self, namespace: &Namespace, site: Site, gate: Gate, copy: u8) -> Result<Attachment> {
        let netns = namespace.inode();
        let pin_name = site.pin_name(netns);
        let pin = self.pins().link(&pin_name);
        let program = self.program(netns, gate, copy)?;
        let program_id = program.id;
        let _expedited = Expedited::for_attachments(1);
        let fd = namespace
            .within(|| sys::link_create_first(program.fd.as_fd(), site.ifindex, site.attach_type()))?
            .map_err(|source| attach_error(site, source))?;
        Pins::put(fd.as_fd(), &pin)?;
        let link = Link { fd, pin, pin_name };
        Ok(Attachment { site, gate, netns, program_id, copy, link: Some(link) })
    }

    /// Puts an attachment first on its hook again: a second copy goes in front, then the old one
    /// goes. At no moment is the hook without a gate.
    pub fn put_first(&mut self, namespace: &Namespace, attachment: &mut Attachment) -> Result<()> {
        let site = attachment.site;
        // For the old link, too, which goes when the new one is in its place.
        let _expedited = Expedited::for_attachments(1);
        *attachment = if site.method == Method::Clsact {
            self.attach_filter(namespace, site, attachment.gate)?.0
        } else {
            self.attach_link(namespace, site, attachment.gate, attachment.copy ^ 1)?
        };
        Ok(())
    }

    fn attach_filter(&mut self, namespace: &Namespace, site: Site, gate: Gate) -> Result<(Attachment, bool)> {
        let netns = namespace.inode();
        let program = self.program(netns, gate, 0)?;
        let program_id = program.id;
        let replaced = namespace
            .within(|| clsact::attach(clsact::GATE, site.ifindex, site.hook, program.fd.as_fd()))?
            .map_err(|source| attach_error(site, source))?;
        Ok((Attachment { site, gate, netns, program_id, copy: 0, link: None }, replaced))
    }

    /// Takes an attachment off its hook.
    pub fn detach(&self, namespace: Option<&Namespace>, attachment: Attachment) -> Result<()> {
        match (attachment.link, namespace) {
            (Some(link), _) => {
                let _expedited = Expedited::for_attachments(1);
                Pins::remove(&link.pin);
                drop(link.fd);
                Ok(())
            }
            (None, Some(namespace)) => {
                let site = attachment.site;
                namespace
                    .within(|| clsact::detach(clsact::GATE, site.ifindex, site.hook))?
                    .map_err(|source| attach_error(site, source))
            }
            (None, None) => Ok(()),
        }
    }

    /// How attachments of one namespace stand.
    pub fn states(&self, namespace: &Namespace, attachments: &[&Attachment]) -> Result<Vec<HookState>> {
        namespace.within(|| attachments.iter().map(|attachment| attachment.state()).collect())
    }

    /// Programs on a hook in the order in which they run, by id, whosever they are. Filters on clsact are not
    /// among them.
    pub fn programs_on(&self, namespace: &Namespace, site: Site) -> Result<Vec<u32>> {
        namespace
            .within(|| sys::query(site.ifindex, site.attach_type()))?
            .map_err(|source| attach_error(site, source))
    }

    /// Puts back pins of links that somebody removed; answers how many.
    pub fn repair_link_pins<'a>(&self, attachments: impl Iterator<Item = &'a Attachment>) -> Result<u32> {
        let there: std::collections::HashSet<String> =
            Pins::names(&self.pins().links()).into_iter().collect();
        let mut repaired = 0;
        for link in attachments.filter_map(|attachment| attachment.link.as_ref()) {
            if !there.contains(&link.pin_name) {
                Pins::put(link.fd.as_fd(), &link.pin)?;
                repaired += 1;
            }
        }
        Ok(repaired)
    }

    /// Removes pinned links that belong to none of these attachments: what an earlier agent left
    /// on interfaces that are not ours any more. Answers how many.
    pub fn sweep_links<'a>(&self, keep: impl Iterator<Item = &'a Attachment>) -> usize {
        let keep: std::collections::HashSet<&str> = keep
            .filter_map(|attachment| attachment.link.as_ref().map(|link| link.pin_name.as_str()))
            .collect();
        let stale: Vec<String> = Pins::names(&self.pins().links())
            .into_iter()
            .filter(|name| !keep.contains(name.as_str()))
            .collect();
        let _expedited = Expedited::for_attachments(stale.len());
        stale.iter().for_each(|name| Pins::remove_link(&self.pins().link(name)));
        stale.len()
    }
}

impl Attachment {
    /// In the calling thread's namespace.
    fn state(&self) -> HookState {
        if self.link.is_none() {
            return clsact::state(clsact::GATE, self.site.ifindex, self.site.hook, self.program_id);
        }
        let Ok(programs) = sys::query(self.site.ifindex, self.site.attach_type()) else {
            return HookState::NoInterface;
        };
        // A hook holds a program once at the most, so the id alone tells ours.
        match programs.iter().position(|id| *id == self.program_id) {
            Some(0) => HookState::First,
            Some(position) => HookState::Behind(programs.into_iter().take(position).collect()),
            None => HookState::Missing,
        }
    }
}

fn attach_error(site: Site, source: std::io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::ENODEV) => Error::NoInterface { ifindex: site.ifindex },
        _ => Error::system(
            format!("attaching to interface index {} ({})", site.ifindex, site.hook.name()),
            source,
        ),
    }
}
