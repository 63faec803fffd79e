//! Parts of the schemas: what the API server refuses before anybody else has to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use portcullis_policy::api::MapState;
use portcullis_policy::guard::Response;
use portcullis_policy::model::{Mode, Permission};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::endpoint_map::{AppliedPolicy, EndpointRow, Offender};

/// Rows of one map: an object of etcd takes 1.5 MB.
pub const MOST_ROWS: usize = 1000;
/// Offenders of one node.
pub const MOST_OFFENDERS: usize = 64;
/// A length of time as [`portcullis_policy::span::Span`] reads it.
const SPAN: &str = "^[0-9]{1,10}(ms|s|m|h|d)$";

pub fn mode(_: &mut SchemaGenerator) -> Schema {
    words(Mode::ALL.iter().map(|word| word.name()))
}

pub fn response(_: &mut SchemaGenerator) -> Schema {
    words(Response::ALL.iter().map(|word| word.name()))
}

pub fn map_state(_: &mut SchemaGenerator) -> Schema {
    words(MapState::ALL.iter().map(|word| word.name()))
}

pub fn permissions(_: &mut SchemaGenerator) -> Schema {
    let permission = words(Permission::ALL.iter().map(|word| word.name()));
    json_schema!({"type": "array", "maxItems": 16, "items": permission})
}

fn words<'a>(words: impl Iterator<Item = &'a str>) -> Schema {
    let words: Vec<&str> = words.collect();
    json_schema!({"type": "string", "enum": words})
}

pub fn namespaces(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 256,
        "items": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?$"}
    })
}

pub fn addresses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {"type": "string", "minLength": 2, "maxLength": 43, "pattern": "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$"}
    })
}

pub fn span(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": SPAN})
}

pub fn attempts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": 10000})
}

pub fn grace_period(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64", "minimum": 0, "maximum": 86400})
}

pub fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// Merged by type, so that several may write them.
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let condition = Condition::json_schema(generator);
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": condition,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"]
    })
}

pub fn rows(generator: &mut SchemaGenerator) -> Schema {
    atomic(EndpointRow::json_schema(generator), MOST_ROWS)
}

pub fn offenders(generator: &mut SchemaGenerator) -> Schema {
    atomic(Offender::json_schema(generator), MOST_OFFENDERS)
}

pub fn applied(generator: &mut SchemaGenerator) -> Schema {
    atomic(AppliedPolicy::json_schema(generator), 1024)
}

/// One writer, so it is replaced as a whole: the API server need not note who owns each of its rows, which would double
/// the object.
fn atomic(item: Schema, most: usize) -> Schema {
    json_schema!({"type": "array", "maxItems": most, "items": item, "x-kubernetes-list-type": "atomic"})
}
