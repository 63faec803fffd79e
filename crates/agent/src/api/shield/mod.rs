//! The shield's paths: where it stands, blocklist, rules, flood guard.

mod blocklist;
mod monitor;
mod places;
mod rules;
mod upload;
mod verdicts;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post, put};
use portcullis_web::Refusal;

use super::App;
use crate::control::Fault;
use crate::shield::Shield;

pub(super) use blocklist::*;
pub(super) use monitor::*;
pub(super) use places::*;
pub(super) use rules::*;
pub(super) use verdicts::*;

/// All paths.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/shield", get(places::show))
        .route("/api/v1/shield/places", post(places::attach))
        .route("/api/v1/shield/places/{id}", delete(places::detach))
        .route("/api/v1/shield/guard", get(places::guard).put(places::put_guard).delete(places::remove_guard))
        .route("/api/v1/shield/guard/blocked", delete(places::unblock))
        .route("/api/v1/monitor", get(monitor::monitor))
        .route("/api/v1/blocklist", get(blocklist::list_entries).post(blocklist::change))
        .route("/api/v1/blocklist/test", get(blocklist::test_address))
        .route("/api/v1/blocklist/sources/{id}", put(blocklist::import).delete(blocklist::remove_source))
        .route("/api/v1/rules", get(rules::list_rules).post(rules::create).put(rules::replace))
        .route("/api/v1/rules/test", post(rules::test_packet))
        .route("/api/v1/rules/{id}", get(rules::show_rule).put(rules::put_rule).delete(rules::remove_rule))
        .route("/rules/drop/list", get(verdicts::list_verdicts))
        .route("/rules/drop/add", post(verdicts::add_verdict))
        .route("/rules/drop/delete", delete(verdicts::remove_verdict))
}

/// Asks the shield, on a thread that may wait: a large list takes half a second.
async fn ask<T: Send + 'static>(
    app: &App,
    question: impl FnOnce(&Shield) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Refusal> {
    let shield = app
        .control
        .shield()
        .ok_or_else(|| Refusal::unavailable("the shield is out of reach: the agent's log says why"))?;
    let asked = tokio::task::spawn_blocking(move || question(&shield)).await;
    Ok(asked.map_err(|error| Refusal::failed(format!("the shield broke off: {error}")))??)
}
