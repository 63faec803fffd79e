//! `/api/v1/endpoints…`: gathered from the agents; quarantine and release are handed on to the one that it concerns.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::Extension;
use axum::response::Response;
use axum::{Json, http::Method};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use portcullis_policy::api::{ClusterEndpoints, Endpoint, NodeState, OfNode};
use portcullis_web::{Id, Options, Refusal, encode};
use serde::Deserialize;
use utoipa::IntoParams;

use super::auth::Allowed;
use super::{App, Shared, map};
use crate::gather::Unreachable;

#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct EndpointsQuery {
    /// Only of this node.
    node: Option<String>,
    /// Only of pods of this namespace.
    namespace: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct WhereQuery {
    /// Its node; without it, the map says.
    node: Option<String>,
}

/// The endpoints of all nodes whose agents answer, in no order, with their counters; and every node, so that gaps show.
#[utoipa::path(get, path = "/api/v1/endpoints", operation_id = "listEndpoints", tag = "endpoints", params(EndpointsQuery),
    responses((status = 200, body = ClusterEndpoints), (status = 404, response = super::openapi::NotFound)))]
pub(super) async fn list(app: Shared, query: Options<EndpointsQuery>) -> Result<Response, Refusal> {
    let EndpointsQuery { node, namespace } = query.0;
    let asked = map::nodes(&app, node.as_deref())?;
    let told: Vec<String> = {
        let map = app.world.map();
        let of_namespace = |node: &str| {
            namespace
                .as_ref()
                .is_none_or(|wanted| map.rows(node).any(|row| row.namespace.as_deref() == Some(wanted)))
        };
        // Nodes that have nothing of it need not be asked.
        let has =
            |node: &&String| map.get(node).is_some_and(|entry| entry.map.is_some()) && of_namespace(node);
        asked.iter().filter(has).cloned().collect()
    };
    let mut first = true;
    let away = Arc::new(std::sync::Mutex::new(Vec::<(String, String)>::new()));
    let failed = Arc::clone(&away);
    let answers = app.peers.fan_out::<Vec<Endpoint>>(told, "/api/v1/endpoints".to_owned());
    let pieces = answers.map(move |(node, answer)| match answer {
        Ok(endpoints) => piece(&node, endpoints, namespace.as_deref(), &mut first),
        Err(why) => {
            failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((node, why.to_string()));
            Bytes::new()
        }
    });
    let app = Arc::clone(&app.0);
    let behind = stream::once(async move { statuses(&app, &asked, &away) });
    let whole = stream::once(async { Bytes::from_static(b"{\"endpoints\":[") }).chain(pieces).chain(behind);
    Ok(map::json(whole.map(Ok::<_, std::convert::Infallible>)))
}

/// The nodes as they stand, and as they just answered.
fn statuses(app: &App, asked: &[String], away: &std::sync::Mutex<Vec<(String, String)>>) -> Bytes {
    let asked: BTreeSet<&str> = asked.iter().map(String::as_str).collect();
    let mut nodes = app.liveness.nodes(&app.world.map(), |node| asked.contains(node));
    let away = away.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (node, why) in &*away {
        for status in nodes.iter_mut().filter(|status| status.node == *node) {
            (status.state, status.message) = (NodeState::Away, Some(why.clone()));
        }
    }
    let text = serde_json::to_string(&nodes).unwrap_or_else(|_| "[]".to_owned());
    format!("],\"nodes\":{text}}}").into()
}

fn piece(node: &str, endpoints: Vec<Endpoint>, namespace: Option<&str>, first: &mut bool) -> Bytes {
    let mut text = Vec::new();
    let wanted =
        |endpoint: &Endpoint| namespace.is_none() || endpoint.workload.namespace.as_deref() == namespace;
    for of in endpoints.into_iter().filter(wanted) {
        let begin = text.len();
        if !std::mem::take(first) {
            text.push(b',');
        }
        let of_node = OfNode { node: node.to_owned(), of };
        // It cannot fail with this type; if it did, the endpoint would be missing, and not half there.
        if serde_json::to_writer(&mut text, &of_node).is_err() {
            text.truncate(begin);
        }
    }
    text.into()
}

/// One endpoint, by its name (`namespace/pod`), or by its id with its node.
#[utoipa::path(get, path = "/api/v1/endpoints/{id}", operation_id = "getEndpoint", tag = "endpoints",
    params(("id" = String, Path, description = "Percent-encoded name, or id with the node"), WhereQuery),
    responses((status = 200, body = OfNode<Endpoint>), (status = 404, response = super::openapi::NotFound),
        (status = 409, response = super::openapi::Conflict), (status = 503, response = super::openapi::Unavailable)))]
pub(super) async fn show(
    app: Shared,
    id: Id,
    query: Options<WhereQuery>,
) -> Result<Json<OfNode<Endpoint>>, Refusal> {
    forward(&app, Method::GET, &id.0, "", query.0.node).await
}

/// Drops every frame from and to the endpoint until it is released. POST does the same.
#[utoipa::path(put, path = "/api/v1/endpoints/{id}/quarantine", operation_id = "quarantineEndpoint", tag = "endpoints",
    params(("id" = String, Path, description = "Percent-encoded name, or id with the node"), WhereQuery),
    responses((status = 200, body = OfNode<Endpoint>), (status = 404, response = super::openapi::NotFound),
        (status = 409, response = super::openapi::Conflict), (status = 503, response = super::openapi::Unavailable)))]
pub(super) async fn quarantine(
    app: Shared,
    allowed: Extension<Allowed>,
    id: Id,
    query: Options<WhereQuery>,
) -> Result<Json<OfNode<Endpoint>>, Refusal> {
    let done = forward(&app, Method::PUT, &id.0, "/quarantine", query.0.node).await?;
    note(&app, &allowed, &done, "quarantined", "put into quarantine");
    Ok(done)
}

/// Releases an endpoint from quarantine.
#[utoipa::path(delete, path = "/api/v1/endpoints/{id}/quarantine", operation_id = "releaseEndpoint", tag = "endpoints",
    params(("id" = String, Path, description = "Percent-encoded name, or id with the node"), WhereQuery),
    responses((status = 200, body = OfNode<Endpoint>), (status = 404, response = super::openapi::NotFound),
        (status = 409, response = super::openapi::Conflict), (status = 503, response = super::openapi::Unavailable)))]
pub(super) async fn release(
    app: Shared,
    allowed: Extension<Allowed>,
    id: Id,
    query: Options<WhereQuery>,
) -> Result<Json<OfNode<Endpoint>>, Refusal> {
    let done = forward(&app, Method::DELETE, &id.0, "/quarantine", query.0.node).await?;
    note(&app, &allowed, &done, "released", "released from quarantine");
    Ok(done)
}

/// Who did it stands in the hub's events.
fn note(app: &App, allowed: &Allowed, done: &OfNode<Endpoint>, topic: &str, what: &str) {
    let by = if allowed.user.is_empty() { "somebody" } else { &allowed.user };
    app.bus.notice(&done.node, topic, format!("{} was {what} by {by}", done.of.name));
}

async fn forward(
    app: &App,
    method: Method,
    id: &str,
    below: &str,
    node: Option<String>,
) -> Result<Json<OfNode<Endpoint>>, Refusal> {
    let node = match node {
        Some(node) => node,
        None => locate(app, id)?,
    };
    let path = format!("/api/v1/endpoints/{}{below}", encode(id));
    let answer = app.peers.ask(&node, method, &path).await.map_err(refusal)?;
    let of = serde_json::from_slice(&answer.body).map_err(|error| {
        Refusal::unavailable(format!("what the agent of node {node} says cannot be read: {error}"))
    })?;
    Ok(Json(OfNode { node, of }))
}

/// The node that has an endpoint of this name.
fn locate(app: &App, id: &str) -> Result<String, Refusal> {
    let map = app.world.map();
    let is_it = |row: &crate::map::Row| row.is_called(id);
    let mut nodes = map.maps().filter(|told| told.rows.iter().any(is_it)).map(|told| told.node.to_string());
    match (nodes.next(), nodes.next()) {
        (Some(node), None) => Ok(node),
        (None, _) => Err(Refusal::not_found(format!(
            "no node tells of an endpoint {id:?}: name it as `namespace/pod`, or say its node"
        ))),
        (Some(one), Some(other)) => {
            Err(Refusal::conflict(format!("{id:?} is on several nodes ({one}, {other}): say which one")))
        }
    }
}

fn refusal(error: Unreachable) -> Refusal {
    match error {
        Unreachable::NoNode(_) => Refusal::not_found(format!("{error}: /api/v1/nodes lists all")),
        Unreachable::Away(why) => Refusal::unavailable(why),
        Unreachable::Refused(problem) => Refusal(*problem),
    }
}
