//! What the API server says of a pod just now.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

/// The label that pods and namespaces have that are never to be ended.
pub const EXEMPT: &str = "portcullis.dev/exempt";
const MIRROR: &str = "kubernetes.io/config.mirror";
const NAME: &str = "app.kubernetes.io/name";

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its UID.
    pub uid: String,
    /// Where it runs.
    pub node: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// It is being deleted already.
    pub ending: bool,
    /// It has ended by itself, and will not go on.
    pub over: bool,
    /// It is the image of what a kubelet runs by itself: deleting it ends nothing.
    pub mirror: bool,
    /// Who makes a new one in its place.
    pub controller: Option<Controller>,
    /// How old it is, by the API server's clock.
    pub age: Option<Duration>,
}

/// Who makes a new pod in place of one that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// `ReplicaSet`, ….
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Facts {
    /// From an object; `now` as the API server has it.
    #[must_use]
    pub fn new(pod: &Pod, now: Option<Timestamp>) -> Self {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let owners = pod.metadata.owner_references.iter().flatten();
        let controller = owners.filter(|owner| owner.controller == Some(true)).map(|owner| Controller {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        });
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let age = |(now, created): (Timestamp, Timestamp)| {
            Duration::try_from(now.duration_since(created)).unwrap_or_default()
        };
        Self {
            uid: pod.uid().unwrap_or_default(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            labels: pod.labels().clone(),
            ending: pod.metadata.deletion_timestamp.is_some(),
            over: matches!(phase, Some("Succeeded" | "Failed")),
            mirror: pod.annotations().contains_key(MIRROR),
            // A mirror's "controller" is its node.
            controller: controller.into_iter().find(|controller| controller.kind != "Node"),
            age: now.zip(created).map(age),
        }
    }

    /// Whether its labels say that it is exempt.
    #[must_use]
    pub fn is_exempt(labels: &BTreeMap<String, String>) -> bool {
        labels.get(EXEMPT).is_some_and(|value| value == "true")
    }
}

/// What is ours, and never ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Our namespace.
    pub namespace: String,
    /// This hub's pod.
    pub pod: String,
}

impl Own {
    /// Whether this pod is the hub's or an agent's.
    #[must_use]
    pub fn is(&self, namespace: &str, pod: &str, labels: &BTreeMap<String, String>) -> bool {
        namespace == self.namespace
            && (pod == self.pod || labels.get(NAME).is_some_and(|name| name == "portcullis"))
    }
}
