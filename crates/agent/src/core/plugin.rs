//! What the CNI plugin asks for. It waits for the answer: its pod starts when the binding is in the kernel.

use std::path::Path;

use portcullis_inventory::{Netns, discover};
use portcullis_policy::api::{CniAttachment, CniGarbage, Endpoint, SourceState};
use portcullis_policy::container::{Attachment, AttachmentPlace, Container, HostInterface, Networking};
use portcullis_policy::model::{Direction, EndpointSpec, InterfaceRef, Mode, Owner, Workload};

use super::Core;
use crate::control::Fault;
use crate::fleet::{Source, Treatment};

/// Name of the source that the plugin is.
pub(super) const CNI: &str = "cni";

impl Core {
    /// The plugin is a source that is always there.
    pub(super) fn add_plugin(&mut self) {
        let mut source =
            Source::new(CNI, Owner::Cni, None, Treatment { inside: true, ..Treatment::default() });
        source.enter(SourceState::Connected, None);
        self.fleet.add(source);
    }

    /// Binds an attachment.
    pub(super) fn cni_attach(
        &mut self,
        interface: &str,
        attachment: CniAttachment,
    ) -> Result<Endpoint, Fault> {
        let Some(id) = attachment.workload.container.clone().filter(|id| !id.is_empty()) else {
            return Err(Fault::Invalid("the attachment names no container".to_owned()));
        };
        check(interface, &attachment)?;
        let place = self.cni_place(interface, &attachment)?;
        let netns = attachment.netns;
        let new = Attachment {
            network: Some(attachment.network),
            inside: Some(interface.to_owned()),
            place,
            addresses: attachment.addresses,
            macs: attachment.macs,
        };
        let mut container = self.plugged(&id).cloned().unwrap_or_else(|| Container {
            name: name_of(&attachment.workload, &id),
            id: id.clone(),
            workload: attachment.workload,
            netns: Some(netns),
            networking: Networking::Own,
            attachments: Vec::new(),
            since: Some(jiff::Timestamp::now().to_string()),
            trouble: None,
        });
        container.attachments.retain(|there| there.inside.as_deref() != Some(interface));
        container.attachments.push(new);
        let touched = self.know(CNI, container);
        self.settle_all(touched);
        let bound = self.cni_get(&id, interface);
        if bound.is_err() {
            self.cni_detach(&id, interface);
        }
        bound
    }

    fn cni_place(&self, interface: &str, attachment: &CniAttachment) -> Result<AttachmentPlace, Fault> {
        let Some(host) = &attachment.host else {
            let (netns, interface) = (attachment.netns.clone(), interface.to_owned());
            return Ok(AttachmentPlace::Inside { kind: "inside".to_owned(), netns, interface });
        };
        if host.netns == self.spaces.own().inode() {
            let host = HostInterface { netns_path: None, ..host.clone() };
            return Ok(AttachmentPlace::Pair { host });
        }
        let path = host.netns_path.clone().filter(|path| is_namespace(path, host.netns));
        let path = path.or_else(|| {
            let all = discover().ok()?;
            let found = all.into_iter().find(|netns| netns.id.0 == host.netns)?;
            found.path.map(|path| path.display().to_string())
        });
        match path {
            Some(path) => {
                Ok(AttachmentPlace::Pair { host: HostInterface { netns_path: Some(path), ..host.clone() } })
            }
            None => Err(Fault::Failed(format!(
                "interface {} is in a network namespace (net:[{}]) that the agent cannot see: run the agent in the runtime's own network and PID namespace",
                host.name, host.netns
            ))),
        }
    }

    fn plugged(&self, id: &str) -> Option<&Container> {
        Some(&self.fleet.source(CNI)?.containers.get(id)?.container)
    }

    /// What is bound for a container's interface.
    pub(super) fn cni_get(&self, id: &str, interface: &str) -> Result<Endpoint, Fault> {
        let nothing =
            || Fault::NotFound(format!("nothing is bound for interface {interface} of container {id}"));
        let known =
            self.fleet.source(CNI).and_then(|source| source.containers.get(id)).ok_or_else(nothing)?;
        let mut attachments = known.container.attachments.iter().zip(&known.anchors);
        let (_, anchor) = attachments
            .rfind(|(attachment, _)| attachment.inside.as_deref() == Some(interface))
            .ok_or_else(nothing)?;
        let name = anchor.and_then(|anchor| {
            self.names_by_anchor.get(&anchor).or_else(|| self.sourced.get(&anchor)).cloned()
        });
        let endpoint = self.view_by_name(&name.ok_or_else(nothing)?)?;
        match &endpoint.message {
            Some(why) if endpoint.interface.index.is_none() => Err(Fault::Conflict(why.clone())),
            _ => Ok(endpoint),
        }
    }

    /// Takes an attachment away; whether it was there.
    pub(super) fn cni_detach(&mut self, id: &str, interface: &str) -> bool {
        let Some(mut container) = self.plugged(id).cloned() else { return false };
        let before = container.attachments.len();
        container.attachments.retain(|there| there.inside.as_deref() != Some(interface));
        if container.attachments.len() == before {
            return false;
        }
        let touched = if container.attachments.is_empty() {
            self.fleet.take(CNI, id)
        } else {
            self.know(CNI, container)
        };
        self.settle_all(touched);
        true
    }

    /// Takes away what is not in use any more.
    pub(super) fn cni_collect(&mut self, garbage: &CniGarbage) -> u32 {
        let Some(source) = self.fleet.source(CNI) else { return 0 };
        let valid = |id: &str, interface: &str| {
            garbage.valid.iter().any(|valid| valid.container == id && valid.interface == interface)
        };
        let stale: Vec<(String, String)> = source
            .containers
            .values()
            .flat_map(|known| known.container.attachments.iter().map(|there| (&known.container.id, there)))
            .filter(|(_, there)| there.network.as_deref() == Some(&garbage.network))
            .filter_map(|(id, there)| Some((id.clone(), there.inside.clone()?)))
            .filter(|(id, interface)| !valid(id, interface))
            .collect();
        stale.iter().filter(|(id, interface)| self.cni_detach(id, interface)).count() as u32
    }

    /// The plugin has no list that could be asked for: what ends with its interface is taken out here.
    pub(super) fn cni_lost(&mut self, id: &str) {
        let Some(known) = self.fleet.source(CNI).and_then(|source| source.containers.get(id)) else { return };
        let mut container = known.container.clone();
        let mut anchors = known.anchors.iter();
        container.attachments.retain(|_| anchors.next().is_some_and(Option::is_some));
        let touched = if container.attachments.is_empty() {
            self.fleet.take(CNI, id)
        } else {
            self.know(CNI, container)
        };
        self.settle_all(touched);
    }
}

pub(super) fn name_of(workload: &Workload, id: &str) -> String {
    match (&workload.namespace, &workload.pod) {
        (Some(namespace), Some(pod)) => format!("{namespace}/{pod}"),
        (None, Some(pod)) => pod.clone(),
        _ => workload.name.clone().unwrap_or_else(|| id.chars().take(12).collect()),
    }
}

/// What no endpoint may be is refused with the reason: the plugin's caller sees no events.
fn check(interface: &str, attachment: &CniAttachment) -> Result<(), Fault> {
    let interface = match &attachment.host {
        Some(host) => InterfaceRef { name: host.name.clone(), netns: None },
        None => InterfaceRef { name: interface.to_owned(), netns: Some(attachment.netns.clone()) },
    };
    let spec = EndpointSpec {
        name: CNI.to_owned(),
        interface,
        direction: Direction::default(),
        addresses: attachment.addresses.clone(),
        macs: attachment.macs.clone(),
        mode: Mode::default(),
        allow: Vec::new(),
        vlans: Vec::new(),
        ethertypes: Vec::new(),
        quarantined: false,
        network: None,
        inside: None,
        workload: Workload::default(),
    };
    spec.validate().map(drop).map_err(|wrong| {
        let each: Vec<String> = wrong.errors.iter().map(ToString::to_string).collect();
        Fault::Invalid(each.join("; "))
    })
}

fn is_namespace(path: &str, inode: u32) -> bool {
    Netns::open(Path::new(path)).is_ok_and(|netns| netns.id.0 == inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_bound_is_refused_with_the_reason() {
        let attachment = |address: &str| CniAttachment {
            workload: Workload::default(),
            netns: "/run/netns/web".to_owned(),
            network: "pods".to_owned(),
            host: None,
            addresses: vec![address.parse().unwrap()],
            macs: Vec::new(),
        };
        assert!(check("eth0", &attachment("10.0.0.2")).is_ok());
        let refused = check("eth0", &attachment("127.0.0.1")).unwrap_err();
        assert!(matches!(&refused, Fault::Invalid(why) if why.contains("127.0.0.1")), "{refused}");
    }
}
