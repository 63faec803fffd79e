//! Objects of Kubernetes, as they stand in a manifest.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// An object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object(pub Value);

/// The pods that an object makes.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// Its metadata.
    pub metadata: &'a Value,
    /// Its specification.
    pub spec: &'a Value,
}

/// Every object of a manifest. A key that comes twice is an error, and so is what is no object.
pub fn parse(text: &str) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        // Into its own kind of value first: that one refuses keys that come twice.
        let value = serde_yaml_ng::Value::deserialize(document)?;
        if value.is_null() {
            continue;
        }
        let object = Object(serde_json::to_value(value)?);
        if object.text("/apiVersion").is_empty() || object.kind().is_empty() || object.name().is_empty() {
            bail!("this is no object: {}", object.0);
        }
        objects.push(object);
    }
    Ok(objects)
}

impl Object {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// `Kind/name`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.kind(), self.name())
    }

    /// The text at a JSON pointer; empty where there is none.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// What stands at a JSON pointer; null where there is nothing.
    #[must_use]
    pub fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// The pods that it makes.
    #[must_use]
    pub fn pod(&self) -> Option<Pod<'_>> {
        let template = self.0.pointer("/spec/template")?;
        Some(Pod { metadata: template.get("metadata")?, spec: template.get("spec")? })
    }
}

impl<'a> Pod<'a> {
    /// Every container of it, those that start first included.
    pub fn containers(self) -> impl Iterator<Item = &'a Value> {
        ["initContainers", "containers"]
            .into_iter()
            .filter_map(move |key| self.spec.get(key)?.as_array())
            .flatten()
    }

    /// A container by its name.
    pub fn container(self, name: &str) -> Option<&'a Value> {
        self.containers().find(|container| container["name"] == name)
    }
}

/// The object of this kind and name.
pub fn find<'a>(objects: &'a [Object], id: &str) -> Result<&'a Object> {
    let found = objects.iter().find(|object| object.id() == id);
    found.with_context(|| format!("there is no {id}"))
}
