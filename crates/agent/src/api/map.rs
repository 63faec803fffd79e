//! `/api/v1/map`: who is here, and what is bound for them.

use axum::Json;
use portcullis_policy::api::ContainerMap;

use super::Shared;

/// The container network map: a row for each attachment of a container, for each container without one, and
/// for each binding without its container.
#[utoipa::path(get, path = "/api/v1/map", operation_id = "getMap", tag = "containers",
    responses((status = 200, body = ContainerMap)))]
pub(super) async fn show(app: Shared) -> Json<ContainerMap> {
    Json(app.control.map())
}
