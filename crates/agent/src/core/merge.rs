//! What several sources say of one interface, made one.

use portcullis_policy::address::AddressBinding;
use portcullis_policy::container::AttachmentPlace;
use portcullis_policy::model::{Direction, InterfaceRef, Workload};

use crate::fleet::Claim;

/// The addresses that hold, and where the sources contradict each other. What all of them say is safe; where
/// they have nothing in common, the first is believed.
pub(super) fn agreed(first: &Claim<'_>, others: &[Claim<'_>]) -> (Vec<AddressBinding>, Vec<String>) {
    let mut addresses = first.attachment.addresses.clone();
    let mut conflicts = Vec::new();
    for other in others.iter().filter(|other| !other.attachment.addresses.is_empty()) {
        let theirs = &other.attachment.addresses;
        let same = theirs.len() == addresses.len() && addresses.iter().all(|mine| theirs.contains(mine));
        if same || addresses.is_empty() {
            if addresses.is_empty() {
                addresses.clone_from(theirs);
            }
            continue;
        }
        let common: Vec<AddressBinding> =
            addresses.iter().filter(|mine| theirs.contains(mine)).copied().collect();
        let holds = if common.is_empty() { &addresses } else { &common };
        conflicts.push(format!(
            "{} says {}, {} says {}: {} holds",
            first.source.name,
            list(&first.attachment.addresses),
            other.source.name,
            list(theirs),
            list(holds),
        ));
        if !common.is_empty() {
            addresses = common;
        }
    }
    (addresses, conflicts)
}

fn list(addresses: &[AddressBinding]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What one source does not know, another may.
pub(super) fn fill(workload: &mut Workload, other: &Workload) {
    let take = |mine: &mut Option<String>, theirs: &Option<String>| {
        if mine.is_none() {
            mine.clone_from(theirs);
        }
    };
    take(&mut workload.name, &other.name);
    take(&mut workload.image, &other.image);
    take(&mut workload.pod, &other.pod);
    take(&mut workload.namespace, &other.namespace);
    take(&mut workload.uid, &other.uid);
    for (key, value) in &other.labels {
        workload.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

/// The container's name for its first interface; the others have their network's behind it.
pub(super) fn wished_name(claim: &Claim<'_>) -> String {
    let Claim { container, attachment, .. } = claim;
    let first = match attachment.inside.as_deref() {
        Some(inside) => inside == "eth0" || container.attachments.len() == 1 && !inside.starts_with("eth"),
        None => container.attachments.first().is_some_and(|first| first == *attachment),
    };
    let further = attachment.network.as_deref().or(attachment.inside.as_deref());
    let whole = match further {
        Some(further) if !first => format!("{}/{further}", container.name),
        _ => container.name.clone(),
    };
    acceptable(&whole)
}

/// Endpoint names have a small alphabet; runtimes are more liberal.
fn acceptable(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    let name: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).take(200).collect();
    match name.chars().next() {
        Some(first) if first.is_ascii_alphanumeric() => name,
        _ => format!("c{name}"),
    }
}

impl Claim<'_> {
    /// Where it can be bound.
    pub(super) fn place(&self) -> Option<(InterfaceRef, Direction)> {
        match &self.attachment.place {
            AttachmentPlace::Pair { host } => {
                let interface = InterfaceRef { name: host.name.clone(), netns: host.netns_path.clone() };
                Some((interface, Direction::Ingress))
            }
            AttachmentPlace::Inside { netns, interface, .. } => {
                let interface = InterfaceRef { name: interface.clone(), netns: Some(netns.clone()) };
                Some((interface, Direction::Egress))
            }
            AttachmentPlace::Expected { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::acceptable;

    #[test]
    fn names_are_made_acceptable() {
        assert_eq!(acceptable("web-1"), "web-1");
        assert_eq!(acceptable("kube-system/dns"), "kube-system/dns");
        assert_eq!(acceptable("my net/ü"), "my-net/-");
        assert_eq!(acceptable("_x"), "c_x");
    }
}
