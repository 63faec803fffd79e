//! `/api/v1/lookup`: whether address, container and interface belong together.

use std::net::IpAddr;

use axum::Json;
use portcullis_web::{Options, Refusal};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use crate::map::{Agreement, Claim};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct LookupQuery {
    /// The address.
    #[param(value_type = Option<String>)]
    address: Option<IpAddr>,
    /// Id of the container or sandbox (12 characters of it are enough), or the pod's UID.
    container: Option<String>,
    /// The host side of its interface; alone only with the node.
    interface: Option<String>,
    /// The node.
    node: Option<String>,
}

/// Whether these belong together: all of them must be of one and the same row of the map.
#[utoipa::path(get, path = "/api/v1/lookup", operation_id = "lookUp", tag = "map", params(LookupQuery),
    responses((status = 200, body = Agreement), (status = 422, response = super::openapi::Invalid)))]
pub(super) async fn show(app: Shared, query: Options<LookupQuery>) -> Result<Json<Agreement>, Refusal> {
    let LookupQuery { address, container, interface, node } = query.0;
    if address.is_none() && container.is_none() && (interface.is_none() || node.is_none()) {
        return Err(Refusal::invalid("say an address, a container, or an interface with its node"));
    }
    Ok(Json(app.world.map().agreement(&Claim { address, container, interface, node })))
}
