//! `/api/v1/nodes`: every node, and how its agent stands.

use axum::Json;
use portcullis_policy::api::NodeStatus;
use portcullis_web::{Options, Refusal};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Shared, map};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct NodeQuery {
    /// Only this node.
    node: Option<String>,
}

/// Every node, by name.
#[utoipa::path(get, path = "/api/v1/nodes", operation_id = "listNodes", tag = "nodes", params(NodeQuery),
    responses((status = 200, body = Vec<NodeStatus>), (status = 404, response = super::openapi::NotFound)))]
pub(super) async fn list(app: Shared, query: Options<NodeQuery>) -> Result<Json<Vec<NodeStatus>>, Refusal> {
    let wanted = query.0.node;
    map::nodes(&app, wanted.as_deref())?;
    let fits = |node: &str| wanted.as_deref().is_none_or(|wanted| wanted == node);
    Ok(Json(app.liveness.nodes(&app.world.map(), fits)))
}
