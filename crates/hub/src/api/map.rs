//! `/api/v1/map`: who is where, and what is bound for them.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use portcullis_policy::api::{ClusterMap, MapState};
use portcullis_policy::model::Mode;
use portcullis_web::{Options, Refusal};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{App, Shared};

#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct MapQuery {
    /// Only of this node.
    node: Option<String>,
    /// Only of pods of this namespace.
    namespace: Option<String>,
    /// Only in this state.
    state: Option<String>,
    /// Only in this mode.
    mode: Option<String>,
}

/// What rows are wanted.
#[derive(Clone, Debug)]
struct Wanted {
    query: MapQuery,
    state: Option<MapState>,
    mode: Option<Mode>,
}

/// The map of the cluster: a row for each attachment of each pod, and every node, so that gaps show.
#[utoipa::path(get, path = "/api/v1/map", operation_id = "getMap", tag = "map", params(MapQuery),
    responses((status = 200, body = ClusterMap), (status = 404, response = super::openapi::NotFound),
        (status = 422, response = super::openapi::Invalid)))]
pub(super) async fn show(app: Shared, query: Options<MapQuery>) -> Result<Response, Refusal> {
    let query = query.0;
    let word = |key: &str, error: &dyn std::fmt::Display| Refusal::invalid(format!("{key}: {error}"));
    let state = query.state.as_deref().map(str::parse).transpose().map_err(|error| word("state", &error))?;
    let mode = query.mode.as_deref().map(str::parse).transpose().map_err(|error| word("mode", &error))?;
    let nodes = nodes(&app, query.node.as_deref())?;
    let wanted = Wanted { query, state, mode };
    // Half a million rows are never in memory as text: a piece for each node, made when it is sent.
    let app = Arc::clone(&app.0);
    let statuses = statuses(&app, &nodes);
    let mut first = true;
    let rows = stream::iter(nodes).map(move |node| piece(&app, &node, &wanted, &mut first));
    let whole = stream::once(async { Bytes::from_static(b"{\"rows\":[") }).chain(rows).chain(statuses);
    Ok(json(whole.map(Ok::<_, std::convert::Infallible>)))
}

/// The nodes that are asked for; one that is named must be there.
pub(super) fn nodes(app: &App, wanted: Option<&str>) -> Result<Vec<String>, Refusal> {
    let map = app.world.map();
    match wanted {
        Some(node) if map.get(node).is_none() => {
            Err(Refusal::not_found(format!("there is no node {node:?}: /api/v1/nodes lists all")))
        }
        Some(node) => Ok(vec![node.to_owned()]),
        None => Ok(map.nodes().map(|(node, _)| node.to_string()).collect()),
    }
}

pub(super) fn json<S>(pieces: S) -> Response
where
    S: futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static,
{
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response()
}

/// What stands behind the rows.
fn statuses(app: &Arc<App>, nodes: &[String]) -> stream::Once<std::future::Ready<Bytes>> {
    let wanted: std::collections::BTreeSet<&str> = nodes.iter().map(String::as_str).collect();
    let statuses = app.liveness.nodes(&app.world.map(), |node| wanted.contains(node));
    let text = serde_json::to_string(&statuses).unwrap_or_else(|_| "[]".to_owned());
    stream::once(std::future::ready(Bytes::from(format!("],\"nodes\":{text}}}"))))
}

fn piece(app: &App, node: &str, wanted: &Wanted, first: &mut bool) -> Bytes {
    let map = app.world.map();
    let mut text = Vec::new();
    let rows = map.rows_of(node, |row| {
        let fits =
            |wanted: &Option<String>, text: Option<&str>| wanted.is_none() || wanted.as_deref() == text;
        fits(&wanted.query.namespace, row.namespace.as_deref())
            && wanted.state.is_none_or(|state| row.state == state)
            && wanted.mode.is_none_or(|mode| row.mode == Some(mode))
    });
    for row in rows {
        let begin = text.len();
        if !std::mem::take(first) {
            text.push(b',');
        }
        // It cannot fail with this type; if it did, the row would be missing, and not half there.
        if serde_json::to_writer(&mut text, &row).is_err() {
            text.truncate(begin);
        }
    }
    text.into()
}
