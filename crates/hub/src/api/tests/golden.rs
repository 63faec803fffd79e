//! What has a golden copy.

use super::*;

fn compare(name: &str, actual: &str) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} is out of date; look at the change, then BLESS=1 renews it",
        path.display()
    );
}

#[test]
fn openapi() {
    let document = serde_json::to_value(document()).unwrap();
    compare("openapi.json", &format!("{document:#}\n"));
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        assert!(
            document.pointer(reference.strip_prefix('#').unwrap()).is_some(),
            "{reference} leads nowhere"
        );
    }
}

#[tokio::test]
async fn metrics() {
    let lab = lab();
    lab.node("n1", None, &[("shop", "web", 1, "10.0.1.1"), ("shop", "db", 2, "10.0.1.2")]);
    lab.app.world.change(|store| store.node_exists("n2", true));
    lab.app.counters.termination("delete", "done");
    lab.app.counters.termination("none", "exempt");
    lab.app.counters.set_offenders(1);
    lab.app.liveness.tell(
        "n1",
        Frames {
            allowed: Count { packets: 100, bytes: 1 },
            dropped: Count { packets: 7, bytes: 1 },
            reasons: [("spoofed-ipv4".to_owned(), 7)].into(),
            ..Frames::default()
        },
    );
    lab.ask(Method::GET, "/api/v1/status", "token-reader").await;
    lab.ask(Method::GET, "/api/v1/endpoints/x/quarantine", "token-reader").await;
    compare("metrics.openmetrics.txt", &crate::metrics::text(&lab.app));
}
