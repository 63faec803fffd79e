//! The description of the API, made from the handlers and types themselves.

use axum::Json;
use portcullis_policy::api::{Endpoint, Event, Problem};
use portcullis_policy::model::EndpointSpec;
use utoipa::{OpenApi, ToResponse, ToSchema};

use super::endpoints::BulkItem;

#[derive(ToResponse)]
#[response(description = "The request asks for what cannot be", content_type = "application/problem+json")]
pub(super) struct Invalid(#[expect(dead_code, reason = "only its schema is used")] Problem);

#[derive(ToResponse)]
#[response(description = "No such endpoint", content_type = "application/problem+json")]
pub(super) struct NotFound(#[expect(dead_code, reason = "only its schema is used")] Problem);

#[derive(ToResponse)]
#[response(description = "It contradicts something that is there", content_type = "application/problem+json")]
pub(super) struct Conflict(#[expect(dead_code, reason = "only its schema is used")] Problem);

#[derive(ToResponse)]
#[response(description = "Not now", content_type = "application/problem+json")]
pub(super) struct Unavailable(#[expect(dead_code, reason = "only its schema is used")] Problem);

/// What `POST /api/v1/endpoints` takes: one, or many at once.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum BindRequest {
    One(Box<EndpointSpec>),
    Many(Vec<EndpointSpec>),
}

/// What `POST /api/v1/endpoints` answers: the endpoint, or what became of each item.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum BindAnswer {
    One(Box<Endpoint>),
    Many(Vec<BulkItem>),
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portcullis",
        description = "Source verification for containers: the agent's API. Errors are RFC 9457 problems.",
        license(name = "GPL-2.0-only OR Apache-2.0")
    ),
    servers((url = "/", description = "The agent's socket, or the address it listens on")),
    paths(
        super::system::status,
        super::endpoints::list,
        super::endpoints::bind,
        super::endpoints::show,
        super::endpoints::patch,
        super::endpoints::unbind,
        super::endpoints::quarantine,
        super::endpoints::release,
        super::map::show,
        super::policies::list,
        super::policies::show,
        super::policies::put,
        super::policies::remove,
        super::cni::attach,
        super::cni::show,
        super::cni::detach,
        super::cni::collect,
        super::shield::show,
        super::shield::attach,
        super::shield::detach,
        super::shield::guard,
        super::shield::put_guard,
        super::shield::remove_guard,
        super::shield::unblock,
        super::shield::monitor,
        super::shield::list_entries,
        super::shield::change,
        super::shield::test_address,
        super::shield::import,
        super::shield::remove_source,
        super::shield::list_rules,
        super::shield::show_rule,
        super::shield::create,
        super::shield::put_rule,
        super::shield::replace,
        super::shield::remove_rule,
        super::shield::test_packet,
        super::shield::list_verdicts,
        super::shield::add_verdict,
        super::shield::remove_verdict,
        super::events::stream,
        super::events::drops,
        super::events::actions,
        super::system::state,
        super::system::apply,
        super::system::confirm,
        super::metrics::serve,
        super::system::healthz,
        super::system::readyz
    ),
    components(schemas(Event, BulkItem, Problem), responses(Invalid, NotFound, Conflict, Unavailable))
)]
struct Document;

/// The OpenAPI document. Made anew each time: hardly anyone asks, and nobody should hold it in memory.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// `GET /openapi.json`.
pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
