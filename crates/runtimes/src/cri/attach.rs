//! Which of a sandbox's interfaces has which addresses.
//!
//! Names and MACs inside are the workload's to change, if it has CAP_NET_ADMIN; host sides are not. So:
//!
//! - What was found once is kept for as long as its host side belongs to the sandbox, whatever it is called
//!   inside by then.
//! - Only interfaces whose other end or lower device is outside count (or hardware): a workload can make
//!   all others itself.
//! - What the runtime tells is taken from the runtime. Addresses that it does not tell (Multus' further
//!   networks) are read from inside, but only at the sandbox's creation, when no process of the workload
//!   runs yet. Later nobody vouches for them.

use std::path::Path;

use portcullis_inventory::{LinkKind, NetnsId, Scope};
use portcullis_policy::address::AddressBinding;
use portcullis_policy::container::{Attachment, AttachmentPlace};

use super::info::{MOST_ADDRESSES, Told};
use crate::resolve::{HostSpaces, InsideLink};

/// What is known when a sandbox's attachments are sought.
pub(super) struct Search<'a> {
    /// What the runtime tells.
    pub told: &'a [Told],
    /// What was found before.
    pub kept: &'a [Attachment],
    /// No process of the workload runs yet.
    pub fresh: bool,
    /// The sandbox's namespace.
    pub netns: &'a Path,
    /// Where host sides are.
    pub hosts: &'a HostSpaces,
    /// Networks by the name of the interface inside.
    pub network: &'a dyn Fn(&str) -> Option<String>,
}

/// The attachments, and what is wrong if not all could be found.
pub(super) type Found = (Vec<Attachment>, Option<String>);

impl Search<'_> {
    /// Gives each interface its addresses.
    pub fn run(&self, links: &[InsideLink]) -> Found {
        let mut open: Vec<&InsideLink> = links.iter().filter(|link| comes_from_outside(link)).collect();
        let mut found = self.keep(&mut open);
        let mut told: Vec<&Told> = self.told.iter().filter(|told| !is_covered(told, &found)).collect();
        let by_name = |told: &Told, link: &InsideLink| link.name == told.name;
        let by_mac = |told: &Told, link: &InsideLink| told.mac.is_some_and(|mac| link.mac == Some(mac.mac()));
        for is_it in [&by_name as &dyn Fn(&Told, &InsideLink) -> bool, &by_mac] {
            told.retain(|told| {
                let Some(position) = open.iter().position(|link| is_it(told, link)) else { return true };
                let Some(attachment) = self.attach(open[position], told) else { return true };
                open.remove(position);
                found.push(attachment);
                false
            });
        }
        // Renamed inside: where only one is left on either side, they are the same.
        if let ([told_one], [link]) = (told.as_slice(), open.as_slice())
            && let Some(attachment) = self.attach(link, told_one)
        {
            found.push(attachment);
            told.clear();
            open.clear();
        }
        let missing = told.iter().find(|told| !told.addresses.is_empty());
        let mut trouble = missing.map(|told| {
            format!("the runtime tells of interface {}, whose host side was not found", told.name)
        });
        for link in open {
            match self.witness(link) {
                Witness::Attachment(attachment) => found.push(*attachment),
                Witness::Nobody => {
                    trouble.get_or_insert_with(|| {
                        format!(
                            "nobody tells which addresses interface {} has: what is bound for it stays; bind it by hand \
                             if nothing is",
                            link.name
                        )
                    });
                }
                Witness::NothingToBind => {}
            }
        }
        (found, trouble)
    }

    /// What was found before and is there still; takes it from `open`.
    fn keep(&self, open: &mut Vec<&InsideLink>) -> Vec<Attachment> {
        let mut kept = Vec::new();
        for attachment in self.kept {
            let Some(position) = open.iter().position(|link| self.is_same(attachment, link)) else {
                continue;
            };
            let link = open.remove(position);
            let Some(place) = link.place(self.netns) else { continue };
            kept.push(Attachment { place, ..attachment.clone() });
        }
        kept
    }

    fn is_same(&self, attachment: &Attachment, link: &InsideLink) -> bool {
        match (&attachment.place, &link.host) {
            (AttachmentPlace::Pair { host }, Some(side)) => {
                (host.netns, host.index) == (side.interface.netns, side.interface.index)
            }
            (AttachmentPlace::Inside { kind, interface, .. }, None) => {
                *kind == link.kind.to_string() && *interface == link.name
            }
            _ => false,
        }
    }

    fn attach(&self, link: &InsideLink, told: &Told) -> Option<Attachment> {
        // A plugin that changes the MAC afterwards (`tuning`) may not tell: then it is learned.
        let stale = self.fresh && link.mac.is_some_and(|mac| told.mac.is_some_and(|told| told.mac() != mac));
        Some(Attachment {
            network: (self.network)(&told.name),
            inside: Some(told.name.clone()),
            place: link.place(self.netns)?,
            addresses: told.addresses.clone(),
            macs: told.mac.filter(|_| !stale).into_iter().collect(),
        })
    }

    /// What can be said of an interface that the runtime does not tell of.
    fn witness(&self, link: &InsideLink) -> Witness {
        // Pairs into other workloads (a container in the container) are theirs.
        let in_host = |host: &crate::resolve::HostSide| self.hosts.is_host(NetnsId(host.interface.netns));
        if link.host.as_ref().map_or(link.kind.is_pair(), |host| !in_host(host)) {
            return Witness::NothingToBind;
        }
        let addresses: Vec<AddressBinding> = link
            .addresses
            .iter()
            .filter(|address| address.scope == Scope::Global && !address.dad_failed)
            .filter_map(|address| address.ip.try_into().ok())
            .take(MOST_ADDRESSES)
            .collect();
        if addresses.is_empty() {
            return Witness::NothingToBind;
        }
        if !self.fresh {
            return Witness::Nobody;
        }
        let Some(place) = link.place(self.netns) else { return Witness::NothingToBind };
        Witness::Attachment(Box::new(Attachment {
            network: None,
            inside: Some(link.name.clone()),
            place,
            addresses,
            macs: Vec::new(),
        }))
    }
}

/// Who vouches for the addresses of an interface.
enum Witness {
    /// The moment: this is what CNI plugins set up.
    Attachment(Box<Attachment>),
    /// Nobody.
    Nobody,
    /// Nobody has to: it has no addresses, or is nothing of ours.
    NothingToBind,
}

fn comes_from_outside(link: &InsideLink) -> bool {
    link.outside || matches!(link.kind, LinkKind::Physical)
}

fn is_covered(told: &Told, found: &[Attachment]) -> bool {
    found.iter().any(|attachment| attachment.inside.as_deref() == Some(told.name.as_str()))
}

#[cfg(test)]
mod tests;
