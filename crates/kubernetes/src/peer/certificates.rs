//! ConfigMap `portcullis-hub`: every hub replica publishes its certificate there, agents and people read them.

use std::collections::BTreeMap;

use hyper::Method;
use kube::Client;
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Notify, mpsc};

use super::{Trusted, certificate_from_pem};
use crate::follow::{News, Target, Timing, follow};
use crate::rest::{APPLY, Doing, MERGE, get, send};

/// Its name, in our own namespace.
pub const CONFIG_MAP: &str = "portcullis-hub";
/// Keys end in this: `<name of the pod>.crt`.
pub const SUFFIX: &str = ".crt";
/// More replicas than this there never are.
const MOST: usize = 64;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigMap {
    data: Option<BTreeMap<String, String>>,
}

/// Keeps `trusted` as the ConfigMap says, for ever. While the API server is away, the last that was known holds.
/// `told` hears what is wrong, in one sentence, and with `None` that nothing is any more.
pub async fn follow_hubs(
    client: Client,
    namespace: &str,
    trusted: Trusted,
    mut told: impl FnMut(Option<String>) + Send,
) {
    let target = Target {
        path: path(namespace),
        fields: Some(format!("metadata.name={CONFIG_MAP}")),
        metadata_only: false,
        resource: "the ConfigMap portcullis-hub",
        role: "Role portcullis-agent",
    };
    let (sender, mut news) = mpsc::channel(8);
    let anew = Notify::new();
    let hearing = async {
        while let Some(news) = news.recv().await {
            match news {
                News::All(maps) => {
                    let map: ConfigMap = maps.into_iter().next().unwrap_or_default();
                    told(take(&trusted, &map));
                }
                News::Put(map) => told(take(&trusted, &map)),
                News::Gone(_) => told(take(&trusted, &ConfigMap::default())),
                News::Back => told(None),
                News::Failing(trouble) => told(Some(trouble.why)),
            }
        }
    };
    tokio::select! {
        () = follow(client, target, Timing::default(), &anew, sender) => {}
        () = hearing => {}
    }
}

/// Takes over what a map says; what is wrong with it.
fn take(trusted: &Trusted, map: &ConfigMap) -> Option<String> {
    let (certificates, odd) = read(map);
    if trusted.replace(certificates) {
        tracing::info!(hubs = ?trusted.names(), "hubs whose certificate is accepted");
    }
    odd.map(|(key, why)| format!("the ConfigMap {CONFIG_MAP} has something else at {key}: {why}"))
}

type Odd = Option<(String, String)>;

fn read(map: &ConfigMap) -> (BTreeMap<String, CertificateDer<'static>>, Odd) {
    let mut certificates = BTreeMap::new();
    let mut odd = None;
    for (key, pem) in map.data.iter().flatten().take(MOST) {
        let Some(name) = key.strip_suffix(SUFFIX) else { continue };
        match certificate_from_pem(pem) {
            Ok(certificate) => _ = certificates.insert(name.to_owned(), certificate),
            Err(error) => odd = odd.or_else(|| Some((key.clone(), error.to_string()))),
        }
    }
    (certificates, odd)
}

/// The certificates as of now, by name of the pod.
///
/// # Errors
/// One sentence.
pub async fn published(
    client: &Client,
    namespace: &str,
) -> Result<BTreeMap<String, CertificateDer<'static>>, String> {
    let doing = Doing {
        verb: "get",
        resource: "the ConfigMap portcullis-hub",
        role: "ClusterRole portcullis-reader",
    };
    let path = format!("{}/{CONFIG_MAP}", path(namespace));
    let body = get(client, &path, doing).await.map_err(|trouble| trouble.why)?;
    let map: ConfigMap = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Ok(read(&map).0)
}

/// Publishes a certificate as `<pod>.crt`. Other keys are left alone; the map is made if there is none.
///
/// # Errors
/// One sentence.
pub async fn publish(client: &Client, namespace: &str, pod: &str, pem: &str) -> Result<(), String> {
    let key = format!("{pod}{SUFFIX}");
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "labels": {"app.kubernetes.io/name": "portcullis"}},
        "data": {(key.as_str()): pem},
    });
    // Each replica owns its own key. Names of pods are no longer than names of managers may be, but for a few.
    let manager: String = pod.chars().take(128).collect();
    let path =
        format!("{}/{CONFIG_MAP}?fieldManager={}&force=true", path(namespace), crate::rest::encode(&manager));
    let sent = send(client, (Method::PATCH, &path, APPLY), &object, patching()).await;
    sent.map(drop).map_err(|trouble| trouble.why)
}

/// Takes away the certificates of pods that are not any more. What was taken away.
///
/// # Errors
/// One sentence.
pub async fn prune(
    client: &Client,
    namespace: &str,
    alive: impl Fn(&str) -> bool,
) -> Result<Vec<String>, String> {
    let doing = Doing { verb: "get", ..patching() };
    let path = format!("{}/{CONFIG_MAP}", path(namespace));
    let body = get(client, &path, doing).await.map_err(|trouble| trouble.why)?;
    let map: ConfigMap = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let keys = map.data.into_iter().flatten().map(|(key, _)| key);
    let dead: Vec<String> =
        keys.filter(|key| key.strip_suffix(SUFFIX).is_some_and(|pod| !alive(pod))).collect();
    if dead.is_empty() {
        return Ok(dead);
    }
    let nothing: BTreeMap<&str, Option<&str>> = dead.iter().map(|key| (key.as_str(), None)).collect();
    let merge = json!({"data": nothing});
    let sent = send(client, (Method::PATCH, &path, MERGE), &merge, patching()).await;
    sent.map(|_| dead).map_err(|trouble| trouble.why)
}

fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

fn patching() -> Doing {
    Doing { verb: "patch", resource: "the ConfigMap portcullis-hub", role: "Role portcullis-hub" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Identity;
    use crate::script::script;

    #[tokio::test(start_paused = true)]
    async fn hubs_are_trusted_as_the_map_says() {
        let (client, mut script) = script();
        let trusted = Trusted::default();
        let (sender, mut told) = mpsc::unbounded_channel();
        let following = {
            let trusted = trusted.clone();
            tokio::spawn(async move {
                follow_hubs(client, "portcullis-system", trusted, move |word| _ = sender.send(word)).await;
            })
        };
        let [first, second] = ["hub-0", "hub-1"].map(|name| Identity::generate(name).unwrap());
        let map = |version: u64, data: serde_json::Value| json!({"metadata": {"name": "portcullis-hub", "resourceVersion": version.to_string()}, "data": data});
        let list = script.next().await;
        assert!(list.uri.starts_with("/api/v1/namespaces/portcullis-system/configmaps?"), "{}", list.uri);
        assert_eq!(list.query("fieldSelector"), Some("metadata.name%3Dportcullis-hub"));
        list.list("10", &[map(5, json!({"hub-0.crt": first.pem(), "hub-9.crt": "garbage", "note": "x"}))]);
        assert!(told.recv().await.unwrap().unwrap().contains("hub-9.crt"));
        assert_eq!(trusted.names(), ["hub-0"]);
        let stream = script.next().await.stream();
        stream.event("MODIFIED", &map(11, json!({"hub-0.crt": first.pem(), "hub-1.crt": second.pem()})));
        assert_eq!(told.recv().await.unwrap(), None);
        assert!(trusted.contains(second.certificate()));
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        stream.break_off();
        script.next().await.fail();
        assert!(told.recv().await.unwrap().is_some());
        assert_eq!(trusted.names(), ["hub-0", "hub-1"], "the last that was known holds");
        script.next().await.list("12", &[]);
        let stream = script.next().await.stream();
        assert_eq!(told.recv().await.unwrap(), None);
        stream.event("DELETED", &map(13, json!({})));
        assert_eq!(told.recv().await.unwrap(), None);
        assert!(trusted.names().is_empty());
        following.abort();
    }

    #[tokio::test]
    async fn a_hub_writes_its_own_key_and_takes_away_those_of_the_dead() {
        let (client, mut script) = script();
        let asking = tokio::spawn(async move {
            publish(&client, "ns", "hub-0", "PEM").await.unwrap();
            prune(&client, "ns", |pod| pod == "hub-0").await.unwrap()
        });
        let write = script.next().await;
        assert_eq!(
            (write.query("fieldManager"), &write.body["data"]["hub-0.crt"]),
            (Some("hub-0"), &json!("PEM"))
        );
        write.json(&json!({}));
        script.next().await.json(&json!({"data": {"hub-0.crt": "a", "hub-1.crt": "b", "note": "c"}}));
        let merge = script.next().await;
        assert_eq!(merge.body, json!({"data": {"hub-1.crt": null}}));
        merge.json(&json!({}));
        assert_eq!(asking.await.unwrap(), ["hub-1.crt"]);
    }
}
