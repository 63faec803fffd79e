//! Rules.

use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use portcullis_policy::api::{PacketSpec, PacketVerdict, RuleSpec, RuleView};
use portcullis_web::{Id, Options, Refusal, encode, json};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::{Applied, Shared, openapi};
use super::ask;
use crate::control::{Fault, Outcome};
use crate::shield::Manner;

#[derive(Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct MannerQuery {
    /// Do it even where it drops what keeps this host reachable.
    #[serde(default)]
    force: bool,
    /// Say what would change, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

impl MannerQuery {
    const fn manner(self) -> Manner {
        Manner { force: self.force, dry_run: self.dry_run }
    }
}

/// All rules, in the order in which they are asked.
#[utoipa::path(get, path = "/api/v1/rules", operation_id = "listRules", tag = "shield",
    responses((status = 200, body = [RuleView])))]
pub(in super::super) async fn list_rules(app: Shared) -> Result<Json<Vec<RuleView>>, Refusal> {
    Ok(Json(ask(&app, |shield| Ok(shield.rules())).await?))
}

/// One rule.
#[utoipa::path(get, path = "/api/v1/rules/{name}", operation_id = "getRule", tag = "shield",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, body = RuleView), (status = 404, response = openapi::NotFound)))]
pub(in super::super) async fn show_rule(app: Shared, name: Id) -> Result<Json<RuleView>, Refusal> {
    let found = ask(&app, move |shield| {
        let found = shield.rules().into_iter().find(|view| view.rule.name == name.0);
        found.ok_or_else(|| no_such(&name.0))
    });
    Ok(Json(found.await?))
}

/// Adds a rule. One of that name is a conflict.
#[utoipa::path(post, path = "/api/v1/rules", operation_id = "addRule", tag = "shield", params(MannerQuery),
    request_body = RuleSpec,
    responses(
        (status = 201, body = RuleView),
        (status = 409, response = openapi::Conflict),
        (status = 422, response = openapi::Invalid)))]
pub(in super::super) async fn create(
    app: Shared,
    manner: Options<MannerQuery>,
    body: Body,
) -> Result<Response, Refusal> {
    let rule = json::<RuleSpec>(body, "a rule").await?;
    let name = rule.name.clone();
    let put = ask(&app, move |shield| shield.put_rule(rule, false, manner.0.manner()));
    let (view, _) = put.await?;
    let location = format!("/api/v1/rules/{}", encode(&name));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// Puts a rule, or replaces the one of that name.
#[utoipa::path(put, path = "/api/v1/rules/{name}", operation_id = "putRule", tag = "shield",
    params(("name" = String, Path, description = "Its name; the body's"), MannerQuery),
    request_body = RuleSpec,
    responses(
        (status = 200, description = "It was there", body = RuleView),
        (status = 201, description = "It is new", body = RuleView),
        (status = 409, response = openapi::Conflict),
        (status = 422, response = openapi::Invalid)))]
pub(in super::super) async fn put_rule(
    app: Shared,
    name: Id,
    manner: Options<MannerQuery>,
    body: Body,
) -> Result<Response, Refusal> {
    let rule = json::<RuleSpec>(body, "a rule").await?;
    if rule.name != name.0 {
        return Err(Refusal::invalid(format!(
            "the path names rule {:?} and the body {:?}: write the same name in both",
            name.0, rule.name
        )));
    }
    let (view, outcome) = ask(&app, move |shield| shield.put_rule(rule, true, manner.0.manner())).await?;
    let status = if outcome == Outcome::Created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(view)).into_response())
}

/// Has the rules be these, whole or not at all, in one step.
#[utoipa::path(put, path = "/api/v1/rules", operation_id = "putRules", tag = "shield", params(MannerQuery),
    request_body = [RuleSpec],
    responses(
        (status = 200, body = Applied),
        (status = 409, response = openapi::Conflict),
        (status = 422, response = openapi::Invalid)))]
pub(in super::super) async fn replace(
    app: Shared,
    manner: Options<MannerQuery>,
    body: Body,
) -> Result<Json<Applied>, Refusal> {
    let rules = json::<Vec<RuleSpec>>(body, "a list of rules").await?;
    let (created, updated, removed) =
        ask(&app, move |shield| shield.replace_rules(rules, manner.0.manner())).await?;
    Ok(Json(Applied { created, updated, removed }))
}

/// Takes a rule away; answers what it was.
#[utoipa::path(delete, path = "/api/v1/rules/{name}", operation_id = "removeRule", tag = "shield",
    params(("name" = String, Path, description = "Its name"), MannerQuery),
    responses(
        (status = 200, body = RuleView),
        (status = 404, response = openapi::NotFound),
        (status = 409, response = openapi::Conflict)))]
pub(in super::super) async fn remove_rule(
    app: Shared,
    name: Id,
    manner: Options<MannerQuery>,
) -> Result<Json<RuleView>, Refusal> {
    Ok(Json(ask(&app, move |shield| shield.remove_rule(&name.0, manner.0.manner())).await?))
}

/// What would become of a packet: which entry or rule decides, and why.
#[utoipa::path(post, path = "/api/v1/rules/test", operation_id = "testPacket", tag = "shield",
    request_body = PacketSpec,
    responses((status = 200, body = PacketVerdict), (status = 422, response = openapi::Invalid)))]
pub(in super::super) async fn test_packet(app: Shared, body: Body) -> Result<Json<PacketVerdict>, Refusal> {
    let packet = json::<PacketSpec>(body, "a packet").await?;
    if packet.destination.is_some_and(|destination| destination.is_ipv4() != packet.source.is_ipv4()) {
        return Err(Refusal::invalid("source and destination must both be IPv4 or both IPv6"));
    }
    Ok(Json(ask(&app, move |shield| Ok(shield.test_packet(&packet))).await?))
}

fn no_such(name: &str) -> Fault {
    Fault::NotFound(format!("there is no rule {name:?}: `portcullis rule list` shows all"))
}
