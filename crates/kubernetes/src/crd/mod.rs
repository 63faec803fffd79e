//! The custom resources of `portcullis.dev`.
//!
//! A new one is one type in a file of its own, one line in [`all`], one golden file, and, where it says what should
//! hold, one [`Intent`](crate::translate::Intent).

#[allow(clippy::duplicated_attributes, reason = "columns may be of the same type")]
pub mod endpoint_map;
#[allow(clippy::duplicated_attributes, reason = "columns may be of the same type")]
pub mod gate_policy;
mod schema;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use endpoint_map::{
    AgentInfo, AppliedPolicy, EndpointMap, EndpointMapSpec, EndpointMapStatus, EndpointRow, Offender, Peer,
    Summary,
};
pub use gate_policy::{
    GatePolicy, GatePolicySpec, GatePolicyStatus, PodTermination, TerminationMethod, Threshold,
};
pub use schema::{MOST_OFFENDERS, MOST_ROWS};

/// The API group.
pub const GROUP: &str = "portcullis.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";
/// Annotation of a definition: the fingerprint of its schema. Another than this binary's means that it is of another
/// release.
pub const FINGERPRINT: &str = "portcullis.dev/schema";

/// Every definition, annotated with its fingerprint.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    [GatePolicy::crd(), EndpointMap::crd()].into_iter().map(signed).collect()
}

/// The fingerprint that a definition carries.
#[must_use]
pub fn fingerprint(definition: &CustomResourceDefinition) -> Option<&str> {
    definition.metadata.annotations.as_ref()?.get(FINGERPRINT).map(String::as_str)
}

fn signed(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let mut definition = without_empty_defaults(definition);
    // What cannot be written cannot be told apart either.
    let text = serde_json::to_vec(&definition.spec).unwrap_or_default();
    let digest = Sha256::digest(&text);
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    definition.metadata.annotations.get_or_insert_default().insert(FINGERPRINT.to_owned(), hex);
    let labels = definition.metadata.labels.get_or_insert_default();
    labels.insert("app.kubernetes.io/name".to_owned(), "portcullis".to_owned());
    definition
}

/// Without defaults that say no more than their absence: API servers of 1.20 refuse an empty text as one.
fn without_empty_defaults(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let Ok(mut value) = serde_json::to_value(&definition) else { return definition };
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        versions
            .iter_mut()
            .filter_map(|version| version.pointer_mut("/schema/openAPIV3Schema"))
            .for_each(strip);
    }
    serde_json::from_value(value).unwrap_or(definition)
}

fn strip(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    if schema.get("default").is_some_and(is_empty) {
        schema.remove("default");
    }
    for (word, inner) in schema {
        match (word.as_str(), inner) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(strip),
            ("items" | "additionalProperties", inner) => strip(inner),
            _ => {}
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.values().all(is_empty),
    }
}

/// Every definition as YAML documents, as `kubectl apply -f -` takes them.
///
/// # Errors
/// None that could happen with these types.
pub fn to_yaml() -> Result<String, serde_yaml_ng::Error> {
    all().iter().map(|definition| Ok(format!("---\n{}", yaml(definition)?))).collect()
}

/// One definition as a YAML document.
///
/// # Errors
/// None that could happen with these types.
pub fn yaml(definition: &CustomResourceDefinition) -> Result<String, serde_yaml_ng::Error> {
    let text = serde_yaml_ng::to_string(definition)?;
    Ok(text.lines().map(|line| quoted(line) + "\n").collect())
}

/// `kubectl` and Helm read YAML 1.1, where a bare `off` is no text but false.
fn quoted(line: &str) -> String {
    let at = line.rfind(": ").map(|at| at + 2).or_else(|| line.rfind("- ").map(|at| at + 2));
    let Some((before, value)) = at.and_then(|at| line.split_at_checked(at)) else { return line.to_owned() };
    match value.to_ascii_lowercase().as_str() {
        "y" | "n" | "yes" | "no" | "on" | "off" => format!("{before}\"{value}\""),
        _ => line.to_owned(),
    }
}
