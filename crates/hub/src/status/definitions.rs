//! Whether the definitions in the cluster are those of this binary.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use kube::{Client, ResourceExt};
use portcullis_kubernetes::crd;
use serde_json::Value;

use crate::troubles::{Asking, Troubles};

const EVERY: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(10);
/// Properties that are named in a sentence.
const MOST_NAMED: usize = 3;

/// Looks at them, for ever.
pub async fn run(client: Client, troubles: Troubles) {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    loop {
        for ours in crd::all() {
            let name = ours.name_any();
            let asking = Asking {
                verb: "get",
                resource: "customresourcedefinitions",
                role: "ClusterRole portcullis-hub",
            };
            let why = match tokio::time::timeout(PATIENCE, api.get_opt(&name)).await {
                Ok(Ok(Some(theirs))) => difference(&ours, &theirs),
                Ok(Ok(None)) => Some(format!(
                    "the cluster has no definition of {name}: `portcullis kubernetes crds | kubectl apply --server-side -f -`"
                )),
                Ok(Err(error)) => Some(asking.failed(&error)),
                Err(_) => Some(asking.silent(PATIENCE)),
            };
            troubles.say(&format!("definition {name}"), why, false);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What is wrong with a definition; one sentence.
#[must_use]
pub fn difference(ours: &CustomResourceDefinition, theirs: &CustomResourceDefinition) -> Option<String> {
    let name = ours.name_any();
    let todo = "apply the definitions of this version: `portcullis kubernetes crds | kubectl apply --server-side -f -`";
    let missing = missing(ours, theirs);
    if !missing.is_empty() {
        let more = missing.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = missing[..missing.len().min(MOST_NAMED)].join(", ");
        return Some(format!(
            "the cluster's definition of {name} is of another release and lacks {named}{more}, which the API server \
             drops without a word: {todo}"
        ));
    }
    if crd::fingerprint(ours) != crd::fingerprint(theirs) {
        return Some(format!(
            "the cluster's definition of {name} is of another release than this hub: {todo}"
        ));
    }
    None
}

/// Properties that ours has and theirs lacks.
fn missing(ours: &CustomResourceDefinition, theirs: &CustomResourceDefinition) -> Vec<String> {
    let schema = |definition: &CustomResourceDefinition| {
        let version =
            definition.spec.versions.iter().find(|version| version.name == crd::VERSION && version.served);
        let schema = version.and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
        schema.map(|schema| serde_json::to_value(schema).unwrap_or_default())
    };
    let Some(theirs) = schema(theirs) else { return vec![format!("the version {}", crd::VERSION)] };
    let mut missing = Vec::new();
    compare("", &schema(ours).unwrap_or_default(), &theirs, &mut missing);
    missing
}

fn compare(path: &str, ours: &Value, theirs: &Value, missing: &mut Vec<String>) {
    if let Some(properties) = ours["properties"].as_object() {
        for (name, property) in properties {
            let place = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match theirs["properties"].get(name) {
                Some(known) => compare(&place, property, known, missing),
                None => missing.push(place),
            }
        }
    }
    if ours["items"].is_object() {
        compare(path, &ours["items"], &theirs["items"], missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_of_another_release_are_told() {
        for ours in crd::all() {
            assert_eq!(difference(&ours, &ours), None);
            let mut other = ours.clone();
            other.metadata.annotations = None;
            assert!(difference(&ours, &other).unwrap().contains("another release than this hub"));
        }
        let ours = &crd::all()[0];
        let mut older: CustomResourceDefinition = ours.clone();
        let schema = older.spec.versions[0].schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap();
        let spec = schema.properties.as_mut().unwrap().get_mut("spec").unwrap().properties.as_mut().unwrap();
        spec.remove("termination");
        spec.get_mut("threshold").unwrap().properties.as_mut().unwrap().remove("window");
        let why = difference(ours, &older).unwrap();
        assert!(why.contains("lacks spec.termination, spec.threshold.window, which"), "{why}");
        older.spec.versions.clear();
        assert!(difference(ours, &older).unwrap().contains("lacks the version v1alpha1"));
    }
}
