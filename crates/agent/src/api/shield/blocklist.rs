//! The blocklist.

use std::net::IpAddr;

use axum::Json;
use axum::body::Body;
use portcullis_policy::api::{
    AddressTest, BlocklistChange, BlocklistChanged, BlocklistPage, EntryAction, EntryProtocol, ImportOutcome,
};
use portcullis_policy::shield::parse_prefix;
use portcullis_policy::span::Span;
use portcullis_web::{Id, Options, Refusal, json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::{Shared, openapi};
use super::{ask, upload};
use crate::shield::{ImportRequest, ListQuery};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct Which {
    /// Only entries of this source.
    source: Option<String>,
    /// Only entries within this prefix.
    within: Option<String>,
    /// `next` of the answer before.
    after: Option<String>,
    /// Entries at the most; 10,000 unless given.
    limit: Option<usize>,
}

/// Entries, ordered by source, family, address and length; in parts.
#[utoipa::path(get, path = "/api/v1/blocklist", operation_id = "listBlocklist", tag = "shield", params(Which),
    responses((status = 200, body = BlocklistPage), (status = 422, response = openapi::Invalid)))]
pub(in super::super) async fn list_entries(
    app: Shared,
    which: Options<Which>,
) -> Result<Json<BlocklistPage>, Refusal> {
    let Which { source, within, after, limit } = which.0;
    let within =
        within.map(|text| parse_prefix(&text)).transpose().map_err(|e| Refusal::invalid(e.to_string()))?;
    let query = ListQuery { source, within: within.map(|written| written.net), after, limit };
    Ok(Json(ask(&app, move |shield| shield.blocklist(&query)).await?))
}

/// Adds, changes and removes entries, all together or none.
#[utoipa::path(post, path = "/api/v1/blocklist", operation_id = "changeBlocklist", tag = "shield",
    request_body = BlocklistChange,
    responses(
        (status = 200, body = BlocklistChanged),
        (status = 404, response = openapi::NotFound),
        (status = 409, response = openapi::Conflict),
        (status = 422, response = openapi::Invalid)))]
pub(in super::super) async fn change(app: Shared, body: Body) -> Result<Json<BlocklistChanged>, Refusal> {
    let change = json::<BlocklistChange>(body, "a change of the blocklist").await?;
    Ok(Json(ask(&app, |shield| shield.change_blocklist(change)).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct TestQuery {
    /// The address.
    address: String,
}

/// What the blocklist says of an address, and which entries decide.
#[utoipa::path(get, path = "/api/v1/blocklist/test", operation_id = "testAddress", tag = "shield", params(TestQuery),
    responses((status = 200, body = AddressTest), (status = 422, response = openapi::Invalid)))]
pub(in super::super) async fn test_address(
    app: Shared,
    query: Options<TestQuery>,
) -> Result<Json<AddressTest>, Refusal> {
    let text = query.0.address;
    let address: IpAddr =
        text.parse().map_err(|_| Refusal::invalid(format!("{text:?} is not an IPv4 or IPv6 address")))?;
    Ok(Json(ask(&app, move |shield| Ok(shield.test_address(address))).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ImportQuery {
    /// Format: plain, csv, ipset, nft, json, p2p or dshield; none: it is told by the content.
    format: Option<String>,
    /// Of CSV: the column with the addresses.
    column: Option<String>,
    /// `block` or `allow`.
    #[serde(default)]
    action: EntryAction,
    /// The only protocol that they block.
    protocol: Option<EntryProtocol>,
    /// How long they last, where the list says nothing.
    #[param(value_type = Option<String>)]
    expires_in: Option<Span>,
    /// Bits beyond a prefix's length make a line wrong.
    #[serde(default)]
    strict: bool,
    /// Leave lines out that are wrong.
    #[serde(default)]
    skip_invalid: bool,
    /// Do it even where it blocks what keeps this host reachable.
    #[serde(default)]
    force: bool,
    /// Say what would change, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Has a source say what the body says, and nothing else: a list in any of the usual formats, all or nothing.
#[utoipa::path(put, path = "/api/v1/blocklist/sources/{name}", operation_id = "importBlocklist", tag = "shield",
    params(("name" = String, Path, description = "Name of the source"), ImportQuery),
    request_body(content = String, content_type = "text/plain", description = "The list"),
    responses(
        (status = 200, body = ImportOutcome),
        (status = 409, response = openapi::Conflict),
        (status = 422, response = openapi::Invalid)))]
pub(in super::super) async fn import(
    app: Shared,
    name: Id,
    query: Options<ImportQuery>,
    body: Body,
) -> Result<Json<ImportOutcome>, Refusal> {
    let query = query.0;
    let format = query.format.map(|text| text.parse()).transpose();
    let request = ImportRequest {
        source: name.0,
        format: format.map_err(|error| Refusal::invalid(format!("format: {error}")))?,
        column: query.column,
        action: query.action,
        protocol: query.protocol,
        expires_in: query.expires_in,
        strict: query.strict,
        skip_invalid: query.skip_invalid,
        force: query.force,
        dry_run: query.dry_run,
    };
    let reading = request.clone();
    let read = upload::read(&app.uploads, body, move |reader| reading.read(reader)).await?;
    Ok(Json(ask(&app, move |shield| shield.put_import(&request, read)).await?))
}

/// How many entries went.
#[derive(Debug, Serialize, ToSchema)]
pub struct RemovedEntries {
    /// Entries.
    pub removed: u64,
}

/// Takes all entries of a source away.
#[utoipa::path(delete, path = "/api/v1/blocklist/sources/{name}", operation_id = "removeBlocklistSource", tag = "shield",
    params(("name" = String, Path, description = "Name of the source")),
    responses((status = 200, body = RemovedEntries), (status = 404, response = openapi::NotFound)))]
pub(in super::super) async fn remove_source(app: Shared, name: Id) -> Result<Json<RemovedEntries>, Refusal> {
    let removed = ask(&app, move |shield| shield.remove_source(&name.0)).await?;
    Ok(Json(RemovedEntries { removed }))
}
