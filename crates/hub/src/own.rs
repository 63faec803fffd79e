//! Our own pods: by which it is seen that a policy means us, and whose certificates are to be kept.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::{Client, ResourceExt};
use portcullis_kubernetes::peer::certificates;
use tokio::sync::watch;

use crate::clock::now;
use crate::election::Leadership;
use crate::reaper::Own;
use crate::status::OwnPod;
use crate::troubles::{Asking, Troubles};

const EVERY: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(10);
/// More replicas than this there never are.
const MOST: u32 = 64;

/// Keeps `told` up to date and this hub's certificate published, for ever. The leader takes away certificates of hubs
/// that are gone.
pub async fn run(
    client: Client,
    own: Own,
    certificate: String,
    leadership: Leadership,
    told: watch::Sender<Vec<OwnPod>>,
    troubles: Troubles,
) {
    let api: Api<Pod> = Api::namespaced(client.clone(), &own.namespace);
    let mut suspects = BTreeSet::new();
    let mut published = false;
    loop {
        let publishing = certificates::publish(&client, &own.namespace, &own.pod, &certificate);
        let why = within(publishing, "the ConfigMap portcullis-hub was not written").await;
        published |= why.is_none();
        // Without it no agent lets us in, and nobody finds us; but what the map says is known all the same.
        troubles.say("certificate", why, !published);
        let (hubs, agents) = (list(&api, "hub", MOST).await, list(&api, "agent", 1).await);
        match (hubs, agents) {
            (Ok(hubs), Ok(agents)) => {
                troubles.clear("own pods");
                let alive: BTreeSet<String> =
                    hubs.iter().map(ResourceExt::name_any).chain([own.pod.clone()]).collect();
                told.send_if_modified(|known| {
                    let pods = examples(&own, &hubs, &agents);
                    let changed = *known != pods;
                    *known = pods;
                    changed
                });
                if leadership.is_certain(now()) {
                    prune(&client, &own.namespace, &alive, &mut suspects, &troubles).await;
                }
            }
            (Err(why), _) | (_, Err(why)) => troubles.set("own pods", why, false),
        }
        let pause = if published { EVERY } else { Duration::from_secs(2) };
        tokio::time::sleep(pause).await;
    }
}

async fn within(work: impl Future<Output = Result<(), String>>, otherwise: &str) -> Option<String> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.err(),
        Err(_) => Some(format!("{otherwise} within {} s", PATIENCE.as_secs())),
    }
}

async fn list(api: &Api<Pod>, component: &str, most: u32) -> Result<Vec<PartialObjectMeta<Pod>>, String> {
    let labels = format!("app.kubernetes.io/name=portcullis,app.kubernetes.io/component={component}");
    let params = ListParams::default().labels(&labels).limit(most);
    let asking = Asking { verb: "list", resource: "pods", role: "ClusterRole portcullis-hub" };
    match tokio::time::timeout(PATIENCE, api.list_metadata(&params)).await {
        Ok(Ok(list)) => Ok(list.items),
        Ok(Err(error)) => Err(asking.failed(&error)),
        Err(_) => Err(asking.silent(PATIENCE)),
    }
}

/// One of each: they are made from a template each, and have the same labels.
fn examples(own: &Own, hubs: &[PartialObjectMeta<Pod>], agents: &[PartialObjectMeta<Pod>]) -> Vec<OwnPod> {
    let pod = |whose: &'static str, pods: &[PartialObjectMeta<Pod>]| {
        let mut named: Vec<&PartialObjectMeta<Pod>> = pods.iter().collect();
        named.sort_by_key(|pod| pod.name_any());
        named.first().map(|pod| OwnPod {
            whose,
            namespace: own.namespace.clone(),
            name: pod.name_any(),
            labels: pod.labels().clone(),
        })
    };
    [pod("the hub's", hubs), pod("the agents'", agents)].into_iter().flatten().collect()
}

/// One that was missing twice is gone. (One that is new may publish before it is listed.)
async fn prune(
    client: &Client,
    namespace: &str,
    alive: &BTreeSet<String>,
    suspects: &mut BTreeSet<String>,
    troubles: &Troubles,
) {
    let missing = Mutex::new(BTreeSet::new());
    let keep = |pod: &str| {
        if alive.contains(pod) {
            return true;
        }
        missing.lock().unwrap_or_else(PoisonError::into_inner).insert(pod.to_owned());
        !suspects.contains(pod)
    };
    let pruned = certificates::prune(client, namespace, keep).await;
    let why = match pruned {
        Ok(gone) if !gone.is_empty() => {
            tracing::info!(?gone, "certificates of hubs that are gone were taken away");
            None
        }
        Ok(_) => None,
        Err(why) => Some(why),
    };
    *suspects = missing.into_inner().unwrap_or_else(PoisonError::into_inner);
    troubles.say("certificates", why, false);
}
