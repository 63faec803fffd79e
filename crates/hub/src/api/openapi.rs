//! The description of the API, made from the handlers and types themselves.

use axum::Json;
use portcullis_policy::api::{Event, NodeEvent, Problem};
use utoipa::{OpenApi, ToResponse};

#[derive(ToResponse)]
#[response(description = "The request asks for what cannot be", content_type = "application/problem+json")]
pub(super) struct Invalid(#[expect(dead_code, reason = "only its schema is used")] Problem);

#[derive(ToResponse)]
#[response(description = "No such node or endpoint", content_type = "application/problem+json")]
pub(super) struct NotFound(#[expect(dead_code, reason = "only its schema is used")] Problem);

#[derive(ToResponse)]
#[response(description = "It is on several nodes", content_type = "application/problem+json")]
pub(super) struct Conflict(#[expect(dead_code, reason = "only its schema is used")] Problem);

#[derive(ToResponse)]
#[response(
    description = "Not now: too many ask, or the node's agent is away",
    content_type = "application/problem+json"
)]
pub(super) struct Unavailable(#[expect(dead_code, reason = "only its schema is used")] Problem);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portcullis hub",
        description = "Source verification for containers: the agent's API for a whole cluster. Whoever asks shows a bearer \
                       token for the audience portcullis-hub and needs the right to the path (nonResourceURLs); else 401 \
                       or 403. Errors are RFC 9457 problems.",
        license(name = "GPL-2.0-only OR Apache-2.0")
    ),
    servers((url = "/", description = "A hub")),
    paths(
        super::status::show,
        super::map::show,
        super::lookup::show,
        super::endpoints::list,
        super::endpoints::show,
        super::endpoints::quarantine,
        super::endpoints::release,
        super::events::stream,
        super::status::policies,
        super::nodes::list
    ),
    components(schemas(Event, NodeEvent, Problem), responses(Invalid, NotFound, Conflict, Unavailable))
)]
struct Document;

/// The OpenAPI document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// `GET /openapi.json`.
pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
