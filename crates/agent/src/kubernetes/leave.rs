//! Whether an agent that is told to end is to be replaced, or was dismissed.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use portcullis_kubernetes::client;

use crate::config::KubernetesSection;

/// Whoever waits for this agent's end does not wait long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the `DaemonSet` of this agent was deleted: then nobody looks after the gate any more. Where that cannot be told
/// for certain it was not: a gate that stays shut can be opened later.
pub async fn is_dismissed(section: &KubernetesSection) -> bool {
    if !section.enabled || section.daemonset.is_empty() {
        return false;
    }
    match tokio::time::timeout(PATIENCE, ask(section)).await {
        Ok(Ok(dismissed)) => dismissed,
        Ok(Err(why)) => {
            tracing::warn!(why, "cannot tell whether this agent was dismissed: the gate stays shut");
            false
        }
        Err(_) => {
            tracing::warn!(
                "the API server does not say whether this agent was dismissed: the gate stays shut"
            );
            false
        }
    }
}

async fn ask(section: &KubernetesSection) -> Result<bool, String> {
    let path = super::kubeconfig(section);
    let client = client::connect(path.as_deref()).await.map_err(|error| error.to_string())?;
    let sets: Api<DaemonSet> = Api::namespaced(client, &section.namespace);
    let found = sets.get_metadata_opt(&section.daemonset).await.map_err(|error| error.to_string())?;
    Ok(found.is_none_or(|set| set.metadata.deletion_timestamp.is_some()))
}
