//! Reads what the map and the rules are made of, and follows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use portcullis_kubernetes::collection::{Change, Collection, follow};
use portcullis_kubernetes::crd::GatePolicy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};

use super::row::NodeMap;
use crate::troubles::Troubles;
use crate::world::{Part, World};

const ROLE: &str = "ClusterRole portcullis-hub";
const GROUP: &str = "/apis/portcullis.dev/v1alpha1";
/// Changes of policies that come together are worked out together.
const SETTLE: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
struct Object {
    metadata: Meta,
}

#[derive(Debug, Deserialize)]
struct Meta {
    name: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// Follows the nodes' maps, for ever.
pub async fn maps(client: Client, world: World, troubles: Troubles) {
    // A map takes 50 kB, and up to 1.5 MB.
    let collection = Collection {
        path: format!("{GROUP}/endpointmaps"),
        metadata_only: false,
        resource: "endpointmaps.portcullis.dev",
        role: ROLE,
        page: 50,
    };
    let known = world.clone();
    let hear = move |change: Change<NodeMap>| match change {
        Change::All(maps) => world.change(|store| store.replace(maps)),
        Change::Put(map) => world.put(map),
        Change::Gone(map) => world.change(|store| store.forget(&map.node)),
        Change::Back | Change::Failing(..) => {}
    };
    follow_part((client, collection, Part::Maps), known, troubles, hear).await;
}

/// Follows which nodes there are, for ever.
pub async fn nodes(client: Client, world: World, troubles: Troubles) {
    let collection = Collection {
        path: "/api/v1/nodes".to_owned(),
        metadata_only: true,
        resource: "nodes",
        role: ROLE,
        page: 500,
    };
    let known = world.clone();
    let hear = move |change: Change<Object>| match change {
        Change::All(nodes) => {
            let names = nodes.into_iter().map(|node| node.metadata.name).collect();
            world.change(|store| store.replace_nodes(&names));
        }
        // Nodes are written every few seconds: only the first time is news.
        Change::Put(node) => {
            let name = node.metadata.name;
            let known = world.map().get(&name).is_some_and(|entry| entry.exists);
            if !known {
                world.change(|store| store.node_exists(&name, true));
            }
        }
        Change::Gone(node) => world.change(|store| store.node_exists(&node.metadata.name, false)),
        Change::Back | Change::Failing(..) => {}
    };
    follow_part((client, collection, Part::Nodes), known, troubles, hear).await;
}

/// Follows the policies, for ever.
pub async fn policies(client: Client, world: World, troubles: Troubles) {
    let collection = Collection {
        path: format!("{GROUP}/gatepolicies"),
        metadata_only: false,
        resource: "gatepolicies.portcullis.dev",
        role: ROLE,
        page: 200,
    };
    let known = world.clone();
    let named = |policy: GatePolicy| (policy.metadata.name.clone().unwrap_or_default(), Arc::new(policy));
    let hear = move |change: Change<GatePolicy>| match change {
        Change::All(all) => {
            world.change_policies(|policies| *policies = all.into_iter().map(named).collect());
        }
        Change::Put(policy) => {
            let (name, policy) = named(policy);
            world.change_policies(|policies| _ = policies.insert(name, policy));
        }
        Change::Gone(policy) => {
            let (name, _) = named(policy);
            world.change_policies(|policies| _ = policies.remove(&name));
        }
        Change::Back | Change::Failing(..) => {}
    };
    follow_part((client, collection, Part::Policies), known, troubles, hear).await;
}

/// Follows the namespaces and their labels, for ever.
pub async fn namespaces(client: Client, world: World, troubles: Troubles) {
    let collection = Collection {
        path: "/api/v1/namespaces".to_owned(),
        metadata_only: true,
        resource: "namespaces",
        role: ROLE,
        page: 500,
    };
    let known = world.clone();
    let labelled = |object: Object| (object.metadata.name, object.metadata.labels.unwrap_or_default());
    let hear = move |change: Change<Object>| match change {
        Change::All(all) => {
            world.change_namespaces(|namespaces| *namespaces = all.into_iter().map(labelled).collect());
        }
        Change::Put(object) => {
            let (name, labels) = labelled(object);
            world.change_namespaces(|namespaces| _ = namespaces.insert(name, labels));
        }
        Change::Gone(object) => {
            world.change_namespaces(|namespaces| _ = namespaces.remove(&object.metadata.name));
        }
        Change::Back | Change::Failing(..) => {}
    };
    follow_part((client, collection, Part::Namespaces), known, troubles, hear).await;
}

/// Works out what policies come to whenever they, or namespaces that they ask for, change. For ever.
pub async fn rules(world: World, troubles: Troubles) {
    let mut drafts = world.drafts();
    loop {
        drafts.borrow_and_update();
        if world.is_read(Part::Policies) && world.is_read(Part::Namespaces) {
            let rules = world.renew_rules();
            troubles.say("policies", rules.trouble.clone(), false);
        }
        if drafts.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(SETTLE).await;
    }
}

/// Follows one collection, and says how that goes.
async fn follow_part<T: DeserializeOwned + Send + 'static>(
    (client, collection, part): (Client, Collection, Part),
    world: World,
    troubles: Troubles,
    mut hear: impl FnMut(Change<T>) + Send,
) {
    let name = format!("watch {}", collection.resource);
    let resource = collection.resource;
    let (sender, mut changes) = mpsc::channel(16);
    let anew = Notify::new();
    let hearing = async {
        while let Some(change) = changes.recv().await {
            match &change {
                Change::Failing(why, status) => {
                    let why = match status {
                        Some(404) if resource.ends_with("portcullis.dev") => format!(
                            "the cluster has no definition of {resource}: `portcullis kubernetes crds | kubectl apply --server-side -f -`"
                        ),
                        _ => why.clone(),
                    };
                    // What was read once is known, if no longer up to date.
                    troubles.set(&name, why, !world.is_read(part));
                    world.set_followed(part, false);
                }
                Change::All(_) | Change::Back => troubles.clear(&name),
                Change::Put(_) | Change::Gone(_) => {}
            }
            let all = matches!(change, Change::All(_));
            let followed = all || matches!(change, Change::Back);
            hear(change);
            // Not before: nobody is to go by what was known before.
            if followed {
                world.set_followed(part, true);
            }
            if all && !world.is_read(part) {
                world.set_read(part);
                // Whoever waited for it looks again.
                world.change(|_| ());
                world.change_policies(|_| ());
            }
        }
    };
    tokio::select! {
        () = follow(client, collection, &anew, sender) => {}
        () = hearing => {}
    }
}
