//! Listing.

use hyper::{Request, header};
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Follower;
use crate::rest::{Trouble, encode, whole};

/// Where lists come from etcd they come in pages.
const PAGE: usize = 500;
const AS_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default, borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    more: Option<String>,
}

impl<T: DeserializeOwned + Send> Follower<'_, T> {
    /// Everything, and as of which version.
    pub(super) async fn list(&self) -> Result<(Vec<T>, String), Trouble> {
        let mut items = Vec::new();
        let mut more = String::new();
        loop {
            let page = self.page(self.target.fields.as_deref(), &more).await?;
            let read: Page<'_> = serde_json::from_slice(&page).map_err(|error| self.nonsense(&error))?;
            items.extend(read.items.into_iter().flatten().filter_map(|item| self.decode(item)));
            match read.metadata.more.filter(|more| !more.is_empty()) {
                Some(next) if next != more => more = next,
                Some(_) => return Err(self.nonsense(&"the same page again and again")),
                None if read.metadata.resource_version.is_empty() => {
                    return Err(self.nonsense(&"a list without a resourceVersion"));
                }
                None => return Ok((items, read.metadata.resource_version)),
            }
        }
    }

    /// Whether the server's versions went back behind `place`.
    pub(super) async fn went_back(&self, place: &str) -> Result<bool, Trouble> {
        // Nothing has this name, so the answer is a version and nothing else.
        let nothing = "metadata.name=portcullis-asks-for-the-version";
        let fields = match &self.target.fields {
            // One object alone; RBAC may allow no other name.
            Some(fields) if fields.starts_with("metadata.name=") => fields.clone(),
            Some(fields) => format!("{fields},{nothing}"),
            None => nothing.to_owned(),
        };
        let page = self.page(Some(&fields), "").await?;
        let read: Page<'_> = serde_json::from_slice(&page).map_err(|error| self.nonsense(&error))?;
        let numbers = (read.metadata.resource_version.parse::<u64>(), place.parse::<u64>());
        Ok(matches!(numbers, (Ok(present), Ok(place)) if present < place))
    }

    async fn page(&self, fields: Option<&str>, more: &str) -> Result<bytes::Bytes, Trouble> {
        let mut path = format!("{}?limit={}", self.target.path, self.timing.pages.unwrap_or(PAGE));
        if let Some(fields) = fields {
            path += &format!("&fieldSelector={}", encode(fields));
        }
        if !more.is_empty() {
            path += &format!("&continue={}", encode(more)); // carries its version along
        } else if !self.fresh && self.timing.pages.is_none() {
            path += "&resourceVersion=0";
        }
        let accept = if self.target.metadata_only { AS_LIST } else { "application/json" };
        let request = Request::get(path).header(header::ACCEPT, accept).body(Body::empty());
        let request = request.map_err(|error| Trouble::said(error.to_string()))?;
        whole(&self.client, request, self.target.doing("list")).await
    }

    /// One that cannot be read is left out; the others hold.
    pub(super) fn decode(&self, item: &RawValue) -> Option<T> {
        let decoded = serde_json::from_str(item.get());
        decoded
            .inspect_err(|error| {
                tracing::warn!(resource = self.target.resource, %error, "an object cannot be read and is left out");
            })
            .ok()
    }

    pub(super) fn nonsense(&self, why: &dyn std::fmt::Display) -> Trouble {
        Trouble::said(format!(
            "what the API server sent for {} cannot be read: {}",
            self.target.resource,
            crate::rest::cut(&why.to_string(), 200)
        ))
    }
}
