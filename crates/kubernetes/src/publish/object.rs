//! The object in the API.

use std::sync::Arc;

use hyper::{Method, Request, header};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fit::without_empty;
use crate::crd::{EndpointMapStatus, GROUP, Offender, VERSION};
use crate::rest::{APPLY, Doing, MERGE, Trouble, encode, get, send, whole};

/// Who we are to the API server's bookkeeping.
pub const FIELD_MANAGER: &str = "portcullis-agent";
const AS_ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const ROLE: &str = "ClusterRole portcullis-agent";

/// A node's object, and what was last seen of it.
pub(super) struct Object {
    client: Client,
    node: String,
    /// The version as of our last write or look.
    version: Option<String>,
    /// It is there, and the Node owns it.
    owned: bool,
}

/// What is there.
pub(super) enum Found {
    /// What was there before.
    Same,
    Missing,
    Status(Arc<EndpointMapStatus>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Map {
    metadata: Meta,
    status: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    uid: String,
    resource_version: String,
    owner_references: Option<Vec<Owner>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Owner {
    kind: String,
}

fn doing(verb: &'static str) -> Doing {
    Doing { verb, resource: "endpointmaps.portcullis.dev", role: ROLE }
}

fn path(node: &str) -> String {
    format!("/apis/{GROUP}/{VERSION}/endpointmaps/{}", encode(node))
}

fn nonsense(error: &serde_json::Error) -> Trouble {
    Trouble::said(format!("the API server's EndpointMap cannot be read: {error}"))
}

/// The pods that the object says the hub is to end: an agent that was restarted goes on with them. None, if there is no object.
///
/// # Errors
/// One sentence.
pub async fn offenders(client: &Client, node: &str) -> Result<Vec<Offender>, String> {
    let body = match get(client, &path(node), doing("get")).await {
        Ok(body) => body,
        Err(trouble) if trouble.is_not_found() => return Ok(Vec::new()),
        Err(trouble) => return Err(trouble.why),
    };
    let map: Map = serde_json::from_slice(&body).map_err(|error| nonsense(&error).why)?;
    // One that cannot be read, of another release, takes no other along.
    let list = map.status.get("offenders").and_then(Value::as_array);
    let read = |offender: &Value| serde_json::from_value(offender.clone()).ok();
    Ok(list.into_iter().flatten().filter_map(read).collect())
}

impl Object {
    pub fn new(client: Client, node: String) -> Self {
        Self { client, node, version: None, owned: false }
    }

    /// Looks whether it still is as it was last seen, and if not, what it is.
    pub async fn look(&mut self) -> Result<Found, Trouble> {
        if let Some(version) = &self.version {
            let request = Request::get(path(&self.node)).header(header::ACCEPT, AS_ONE).body(Body::empty());
            let request = request.map_err(|error| Trouble::said(error.to_string()))?;
            match whole(&self.client, request, doing("get")).await {
                Ok(body) => {
                    let map: Map = serde_json::from_slice(&body).map_err(|error| nonsense(&error))?;
                    if map.metadata.resource_version == *version {
                        return Ok(Found::Same);
                    }
                }
                Err(trouble) if trouble.is_not_found() => return self.missing(trouble).await,
                Err(trouble) => return Err(trouble),
            }
        }
        let body = match get(&self.client, &path(&self.node), doing("get")).await {
            Ok(body) => body,
            Err(trouble) if trouble.is_not_found() => return self.missing(trouble).await,
            Err(trouble) => return Err(trouble),
        };
        let map: Map = serde_json::from_slice(&body).map_err(|error| nonsense(&error))?;
        self.note(&map.metadata);
        let owners = map.metadata.owner_references.unwrap_or_default();
        self.owned = owners.iter().any(|owner| owner.kind == "Node");
        // What another release wrote, or nobody yet, is written over.
        let status = serde_json::from_value(map.status).unwrap_or_default();
        Ok(Found::Status(Arc::new(status)))
    }

    /// There is no object, or not even the definition: writing tells which.
    async fn missing(&mut self, _: Trouble) -> Result<Found, Trouble> {
        self.version = None;
        self.owned = false;
        Ok(Found::Missing)
    }

    /// Makes the object if need be, and its status this.
    pub async fn write(&mut self, status: &EndpointMapStatus) -> Result<(), Trouble> {
        if self.version.is_none() || !self.owned {
            self.make().await?;
        }
        match self.write_status(status).await {
            // Deleted meanwhile; or the Node was made anew, and took it along.
            Err(trouble) if trouble.is_not_found() => {
                self.make().await?;
                self.write_status(status).await
            }
            // Where the last of a list or an object goes, API servers of 1.20 leave null in its place, and then refuse it: for
            // ever, since what they have is never replaced. From an empty status on it works.
            Err(trouble) if trouble.status == Some(422) && trouble.why.contains("null") => {
                self.clear_status().await.map_err(|_| trouble)?;
                self.write_status(status).await
            }
            other => other,
        }
    }

    async fn write_status(&mut self, status: &EndpointMapStatus) -> Result<(), Trouble> {
        let mut status = status.clone();
        status.published = Some(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let mut object = self.identity(json!({}));
        object["status"] = serde_json::to_value(&status).map_err(|error| nonsense(&error))?;
        without_empty(&mut object["status"]);
        let path = format!("{}/status?fieldManager={FIELD_MANAGER}&force=true", path(&self.node));
        let sent =
            send(&self.client, (Method::PATCH, &path, APPLY), &object, doing("patch the status of")).await;
        let body = sent.inspect_err(|trouble| {
            if trouble.is_not_found() {
                self.version = None;
            }
        })?;
        let map: Map = serde_json::from_slice(&body).map_err(|error| nonsense(&error))?;
        self.note(&map.metadata);
        Ok(())
    }

    async fn clear_status(&self) -> Result<(), Trouble> {
        let path = format!("{}/status?fieldManager={FIELD_MANAGER}", path(&self.node));
        let nothing = json!({"status": null});
        send(&self.client, (Method::PATCH, &path, MERGE), &nothing, doing("patch the status of"))
            .await
            .map(drop)
    }

    fn identity(&self, mut metadata: Value) -> Value {
        metadata["name"] = self.node.clone().into();
        json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": "EndpointMap", "metadata": metadata})
    }

    /// Makes the object, owned by the Node, with which it goes. Without a Node nobody owns it for now.
    async fn make(&mut self) -> Result<(), Trouble> {
        let uid = self.uid_of_node().await?;
        let owner = uid
            .as_ref()
            .map(|uid| json!({"apiVersion": "v1", "kind": "Node", "name": self.node, "uid": uid}));
        let owners: Vec<Value> = owner.into_iter().collect();
        let labels = json!({"app.kubernetes.io/name": "portcullis"});
        let mut object = self.identity(json!({"labels": labels, "ownerReferences": owners}));
        object["spec"] = json!({"node": self.node});
        let path = format!("{}?fieldManager={FIELD_MANAGER}&force=true", path(&self.node));
        let body =
            send(&self.client, (Method::PATCH, &path, APPLY), &object, doing("create and patch")).await?;
        let map: Map = serde_json::from_slice(&body).map_err(|error| nonsense(&error))?;
        self.note(&map.metadata);
        self.owned = uid.is_some();
        Ok(())
    }

    async fn uid_of_node(&self) -> Result<Option<String>, Trouble> {
        let doing = Doing { verb: "get", resource: "nodes", role: ROLE };
        let path = format!("/api/v1/nodes/{}", encode(&self.node));
        let request = Request::get(path).header(header::ACCEPT, AS_ONE).body(Body::empty());
        let request = request.map_err(|error| Trouble::said(error.to_string()))?;
        match whole(&self.client, request, doing).await {
            Ok(body) => {
                let node: Map = serde_json::from_slice(&body).map_err(|error| nonsense(&error))?;
                Ok(Some(node.metadata.uid).filter(|uid| !uid.is_empty()))
            }
            Err(trouble) if trouble.is_not_found() => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    fn note(&mut self, meta: &Meta) {
        self.version = Some(meta.resource_version.clone()).filter(|version| !version.is_empty());
    }
}
