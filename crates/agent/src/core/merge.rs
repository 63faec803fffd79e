//! What several sources say of one interface, made one.

use portcullis_policy::address::{AddressBinding, MacAddress};
use portcullis_policy::container::AttachmentPlace;
use portcullis_policy::model::{Direction, InterfaceRef, Owner, Workload};

use crate::fleet::Claim;

/// The addresses that hold, and where the sources contradict each other. What all of them say is safe; where
/// they have nothing in common, the first is believed.
///
/// What the Kubernetes API says is old by its nature: it is written after the fact, and after a restored backup it may be of
/// another day. It is told where it differs, but narrows nothing; it counts where nobody else knows an address.
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
        let lags = other.source.kind == Owner::Kubernetes;
        let holds = if common.is_empty() || lags { &addresses } else { &common };
        conflicts.push(format!(
            "{} says {}, {} says {}: {} holds",
            first.source.name,
            list(&first.attachment.addresses),
            other.source.name,
            list(theirs),
            list(holds),
        ));
        if !common.is_empty() && !lags {
            addresses = common;
        }
    }
    (addresses, conflicts)
}

/// The MACs that hold, those of the first that knows any, and who says otherwise.
pub(super) fn agreed_macs(first: &Claim<'_>, others: &[Claim<'_>]) -> (Vec<MacAddress>, Vec<String>) {
    let mut telling = std::iter::once(first).chain(others).filter(|claim| !claim.attachment.macs.is_empty());
    let Some(believed) = telling.next() else { return (Vec::new(), Vec::new()) };
    let macs = &believed.attachment.macs;
    let conflicts = telling
        .filter(|other| !other.attachment.macs.iter().any(|theirs| macs.contains(theirs)))
        .map(|other| {
            format!(
                "{} says MAC {}, {} says {}: {} holds",
                believed.source.name,
                list(macs),
                other.source.name,
                list(&other.attachment.macs),
                list(macs),
            )
        })
        .collect();
    (macs.clone(), conflicts)
}

fn list(all: &[impl ToString]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
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

/// The label by which runtimes tell the UID that a kubelet has for a pod.
const KUBELETS_UID: &str = "io.kubernetes.pod.uid";

/// What the Kubernetes API says of a pod that runtimes keep as it was when the pod was made.
pub(super) fn renew(workload: &mut Workload, claims: &[Claim<'_>]) {
    let pod = claims.iter().find(|claim| claim.source.kind == Owner::Kubernetes);
    let Some(theirs) = pod.map(|claim| &claim.container.workload) else { return };
    // A static pod has two UIDs: the kubelet's, which runtimes know, and the API's.
    let kubelets = theirs.labels.get(KUBELETS_UID);
    if theirs.uid.is_none()
        || workload.uid == theirs.uid
        || kubelets.is_some_and(|uid| workload.uid.as_ref() == Some(uid))
    {
        // Events and the hub speak of what the API knows.
        if theirs.uid.is_some() {
            workload.uid.clone_from(&theirs.uid);
        }
        // Labels of the runtime's own (`io.kubernetes.…`) are not the API's to take away.
        workload.labels.retain(|key, _| key.starts_with("io.kubernetes."));
        workload.labels.extend(theirs.labels.clone());
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
    use super::*;
    use crate::fleet::{Source, Treatment};
    use portcullis_policy::container::{Attachment, Container, Networking};

    fn attachment(inside: &str, addresses: &[&str], macs: &[&str]) -> Attachment {
        Attachment {
            network: Some("backend".to_owned()),
            inside: Some(inside.to_owned()),
            place: AttachmentPlace::Inside {
                kind: "macvlan".to_owned(),
                netns: "/run/netns/x".to_owned(),
                interface: inside.to_owned(),
            },
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            macs: macs.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    fn container(attachments: Vec<Attachment>) -> Container {
        Container {
            id: "0123".to_owned(),
            name: "web".to_owned(),
            workload: Workload::default(),
            netns: None,
            networking: Networking::Own,
            attachments,
            since: None,
            trouble: None,
        }
    }

    /// What CNI, CRI and Docker say of one interface.
    fn with_claims<T>(said: [Attachment; 3], then: impl FnOnce(&Claim<'_>, &[Claim<'_>]) -> T) -> T {
        let kinds = [("cni", Owner::Cni), ("cri", Owner::Cri), ("docker", Owner::Docker)];
        let sources = kinds.map(|(name, kind)| Source::new(name, kind, None, Treatment::default()));
        let containers = said.map(|attachment| container(vec![attachment]));
        let claims: Vec<Claim<'_>> = sources
            .iter()
            .zip(&containers)
            .map(|(source, container)| Claim { source, container, attachment: &container.attachments[0] })
            .collect();
        then(&claims[0], &claims[1..])
    }

    fn addresses(said: [&[&str]; 3]) -> (Vec<String>, Vec<String>) {
        with_claims(said.map(|addresses| attachment("eth0", addresses, &[])), |first, others| {
            let (addresses, conflicts) = agreed(first, others);
            (addresses.iter().map(ToString::to_string).collect(), conflicts)
        })
    }

    #[test]
    fn what_all_say_holds_and_nobody_is_overruled_in_silence() {
        let (both, fewer, other): (&[&str], &[&str], &[&str]) =
            (&["10.0.0.2", "fd00::2"], &["10.0.0.2"], &["10.0.0.9"]);
        let agreed = |said| {
            let (addresses, conflicts) = addresses(said);
            (addresses.join(" "), conflicts.len())
        };
        assert_eq!(agreed([both, &["fd00::2", "10.0.0.2"], &[]]), ("10.0.0.2 fd00::2".to_owned(), 0));
        assert_eq!(agreed([both, fewer, both]), ("10.0.0.2".to_owned(), 2));
        assert_eq!(agreed([both, other, fewer]), ("10.0.0.2".to_owned(), 2));
        assert_eq!(agreed([other, both, both]), ("10.0.0.9".to_owned(), 2));
        assert_eq!(agreed([&[], fewer, both]), ("10.0.0.2".to_owned(), 1));
        assert_eq!(agreed([&[], &[], &[]]), (String::new(), 0));
        let (_, conflicts) = addresses([other, fewer, &[]]);
        assert_eq!(conflicts, ["cni says 10.0.0.9, cri says 10.0.0.2: 10.0.0.9 holds"]);
    }

    #[test]
    fn the_first_that_knows_a_mac_is_believed() {
        let (a, b) = ("02:00:00:00:00:0a", "02:00:00:00:00:0b");
        let macs = |said: [&[&str]; 3]| {
            with_claims(said.map(|macs| attachment("eth0", &[], macs)), |first, others| {
                let (macs, conflicts) = agreed_macs(first, others);
                (list(&macs), conflicts)
            })
        };
        assert_eq!(macs([&[], &[a], &[a]]), (a.to_owned(), vec![]));
        assert_eq!(macs([&[a], &[], &[b, a]]), (a.to_owned(), vec![]));
        let conflict = format!("cni says MAC {a}, docker says {b}: {a} holds");
        assert_eq!(macs([&[a], &[], &[b]]), (a.to_owned(), vec![conflict]));
        assert_eq!(macs([&[], &[], &[]]), (String::new(), vec![]));
    }

    #[test]
    fn what_one_source_does_not_know_another_tells() {
        let workload = |image: Option<&str>, app: &str| Workload {
            image: image.map(str::to_owned),
            labels: [("app".to_owned(), app.to_owned())].into(),
            ..Workload::default()
        };
        let mut mine = workload(None, "mine");
        fill(&mut mine, &workload(Some("nginx"), "theirs"));
        assert_eq!(mine, workload(Some("nginx"), "mine"));
    }

    #[test]
    fn the_api_is_believed_about_labels_and_about_the_uid_of_a_static_pod() {
        let workload = |uid: &str, kubelets: &str, app: &str| Workload {
            uid: Some(uid.to_owned()),
            labels: [("app", app), (KUBELETS_UID, kubelets)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..Workload::default()
        };
        let renewed = |theirs: Workload| {
            let source = Source::new("pods", Owner::Kubernetes, None, Treatment::default());
            let pod = Container { workload: theirs, ..container(vec![attachment("eth0", &[], &[])]) };
            let mut mine = workload("hash", "hash", "old");
            renew(&mut mine, &[Claim { source: &source, container: &pod, attachment: &pod.attachments[0] }]);
            (mine.uid.unwrap_or_default(), mine.labels["app"].clone())
        };
        let said = |uid: &str, app: &str| (uid.to_owned(), app.to_owned());
        assert_eq!(renewed(workload("hash", "", "new")), said("hash", "new"));
        assert_eq!(renewed(workload("mirror", "hash", "new")), said("mirror", "new"));
        // Another pod's, whose interface had this number before.
        assert_eq!(renewed(workload("other", "", "new")), said("hash", "old"));
    }

    #[test]
    fn the_first_interface_has_the_name_of_its_container() {
        let source = Source::new("docker", Owner::Docker, None, Treatment::default());
        let name = |container: &Container, index: usize| {
            wished_name(&Claim { source: &source, container, attachment: &container.attachments[index] })
        };
        let two = container(vec![attachment("eth1", &[], &[]), attachment("eth0", &[], &[])]);
        assert_eq!((name(&two, 0), name(&two, 1)), ("web/backend".to_owned(), "web".to_owned()));
        let one = container(vec![attachment("net1", &[], &[])]);
        assert_eq!(name(&one, 0), "web");
    }

    #[test]
    fn names_are_made_acceptable() {
        assert_eq!(acceptable("web-1"), "web-1");
        assert_eq!(acceptable("kube-system/dns"), "kube-system/dns");
        assert_eq!(acceptable("my net/ü"), "my-net/-");
        assert_eq!(acceptable("_x"), "c_x");
    }
}
