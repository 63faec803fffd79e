//! The definitions as files: changes show in review, and the chart installs the same. `BLESS=1 cargo test` renews them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use portcullis_kubernetes::crd;

fn compare(path: &Path, actual: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} is out of date; look at the change, then BLESS=1 renews it",
        path.display()
    );
}

#[test]
fn definitions() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/crds.yaml"));
    compare(path, &crd::to_yaml().unwrap());
}

/// One file for each kind, and no others.
#[test]
fn the_chart_installs_the_same() {
    let directory =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/helm/portcullis/files/crds"));
    let mut expected: Vec<PathBuf> = Vec::new();
    for definition in crd::all() {
        let path = directory.join(format!("{}.yaml", definition.spec.names.plural));
        compare(&path, &crd::yaml(&definition).unwrap());
        expected.push(path);
    }
    expected.sort();
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert_eq!(found, expected);
}

/// YAML 1.1, which kubectl and Helm read, has more words for true and false.
#[test]
fn what_is_text_stays_text() {
    let text = crd::to_yaml().unwrap();
    assert!(text.contains("- \"off\"\n"));
    for line in text.lines() {
        let value = line.trim().trim_start_matches("- ").rsplit(": ").next().unwrap();
        assert!(!["on", "off", "yes", "no", "y", "n"].contains(&value), "{line}");
    }
    let read: Vec<serde_json::Value> = text
        .split("---\n")
        .filter(|document| !document.is_empty())
        .map(|document| serde_yaml_ng::from_str(document).unwrap())
        .collect();
    let written: Vec<serde_json::Value> =
        crd::all().iter().map(|one| serde_json::to_value(one).unwrap()).collect();
    assert_eq!(read, written);
}

/// What a structural schema must not have, and what every object of ours has.
#[test]
fn schemas_are_structural() {
    fn walk(value: &serde_json::Value, path: &str) {
        let Some(schema) = value.as_object() else { return };
        for word in ["$ref", "definitions", "$defs", "oneOf", "anyOf", "patternProperties", "const"] {
            assert!(!schema.contains_key(word), "{path} has {word}");
        }
        assert!(
            schema.contains_key("type") || schema.contains_key("x-kubernetes-int-or-string"),
            "{path} has no type"
        );
        assert!(
            !(schema.contains_key("properties") && schema.contains_key("additionalProperties")),
            "{path} has both"
        );
        for (name, property) in schema.get("properties").and_then(|it| it.as_object()).into_iter().flatten() {
            walk(property, &format!("{path}.{name}"));
        }
        for word in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(word).filter(|inner| inner.is_object()) {
                walk(inner, &format!("{path}.{word}"));
            }
        }
    }
    for definition in crd::all() {
        assert!(crd::fingerprint(&definition).is_some_and(|digest| digest.len() == 16));
        let value = serde_json::to_value(&definition).unwrap();
        for version in value["spec"]["versions"].as_array().unwrap() {
            assert!(version["subresources"]["status"].is_object());
            walk(&version["schema"]["openAPIV3Schema"], &definition.spec.names.kind);
        }
    }
}
