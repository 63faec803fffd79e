//! The three paths of an XDP firewall that programs know already: prefixes of sources, each with an XDP verdict's number.
//!
//! They are rules of ours, of the name `xdp-ADDRESS-LEN`. Their users expect the longest prefix to decide, so the priority
//! is the number of bits that a prefix leaves open.

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use portcullis_policy::api::{RuleAction, RuleSpec};
use portcullis_policy::shield::parse_prefix;
use portcullis_web::{Refusal, json};
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use utoipa::ToSchema;

use super::super::{Shared, openapi};
use super::ask;
use crate::control::Fault;
use crate::shield::{Manner, Shield};

const PREFIX: &str = "xdp-";
/// `XDP_ABORTED` and `XDP_DROP` drop, `XDP_PASS` passes.
const ABORTED: u32 = 0;
const DROP: u32 = 1;
const PASS: u32 = 2;

/// A source prefix and what becomes of its packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrefixVerdict {
    /// Address.
    src: String,
    /// Length of the prefix.
    prefix_len: u8,
    /// 0 (aborted) and 1 (drop): packets are dropped; 2 (pass): they pass.
    action: u32,
}

impl PrefixVerdict {
    fn net(&self) -> Result<IpNet, Refusal> {
        let written = parse_prefix(&format!("{}/{}", self.src, self.prefix_len));
        Ok(written.map_err(|error| Refusal::invalid(error.to_string()))?.net)
    }

    fn rule(&self) -> Result<RuleSpec, Refusal> {
        let net = self.net()?;
        let action = match self.action {
            ABORTED | DROP => RuleAction::Drop,
            PASS => RuleAction::Pass,
            other => {
                return Err(Refusal::invalid(format!("{other} is no action here: 0 and 1 drop, 2 passes")));
            }
        };
        let rule = value!({
            "name": name_of(net), "priority": net.max_prefix_len() - net.prefix_len(), "source": net.to_string(), "action": action,
            // What was written, so that it is answered just so.
            "comment": format!("{} {}", self.src, self.action),
        });
        serde_json::from_value(rule).map_err(|error| Refusal::invalid(error.to_string()))
    }

    fn of(rule: &RuleSpec) -> Option<Self> {
        let net = rule.source?;
        (rule.name == name_of(net)).then_some(())?;
        let (src, action) = rule.comment.as_deref()?.split_once(' ')?;
        Some(Self { src: src.to_owned(), prefix_len: net.prefix_len(), action: action.parse().ok()? })
    }
}

fn name_of(net: IpNet) -> String {
    format!("{PREFIX}{}-{}", net.network().to_string().replace(':', "_"), net.prefix_len())
}

/// All of them; `{}` where there are none.
#[utoipa::path(get, path = "/rules/drop/list", operation_id = "listVerdicts", tag = "shield",
    responses((status = 200, body = [PrefixVerdict])))]
pub(in super::super) async fn list_verdicts(app: Shared) -> Result<Response, Refusal> {
    Ok(answer(ask(&app, |shield| Ok(all(shield))).await?))
}

/// Adds one, or changes it; answers all.
#[utoipa::path(post, path = "/rules/drop/add", operation_id = "addVerdict", tag = "shield", request_body = PrefixVerdict,
    responses(
        (status = 200, body = [PrefixVerdict]),
        (status = 409, response = openapi::Conflict),
        (status = 422, response = openapi::Invalid)))]
pub(in super::super) async fn add_verdict(app: Shared, body: Body) -> Result<Response, Refusal> {
    let verdict = json::<PrefixVerdict>(body, "a rule").await?;
    let rule = verdict.rule()?;
    let line = format!("rule added: {}/{} -> {}", verdict.src, verdict.prefix_len, verdict.action);
    let all = ask(&app, move |shield| {
        shield.put_rule(rule, true, Manner::default())?;
        Ok(all(shield))
    });
    let all = all.await?;
    tracing::info!("{line}");
    Ok(answer(all))
}

/// Takes one away; answers those that are left.
#[utoipa::path(delete, path = "/rules/drop/delete", operation_id = "removeVerdict", tag = "shield", request_body = PrefixVerdict,
    responses(
        (status = 200, body = [PrefixVerdict]),
        (status = 404, response = openapi::NotFound),
        (status = 422, response = openapi::Invalid)))]
pub(in super::super) async fn remove_verdict(app: Shared, body: Body) -> Result<Response, Refusal> {
    let verdict = json::<PrefixVerdict>(body, "a rule").await?;
    let name = name_of(verdict.net()?);
    let line = format!("rule deleted: {}/{} -> {}", verdict.src, verdict.prefix_len, verdict.action);
    let all = ask(&app, move |shield| {
        shield.remove_rule(&name, Manner::default()).map_err(|fault| match fault {
            Fault::NotFound(_) => {
                Fault::NotFound(format!("there is no rule for {}/{}", verdict.src, verdict.prefix_len))
            }
            other => other,
        })?;
        Ok(all(shield))
    });
    let all = all.await?;
    tracing::info!("{line}");
    Ok(answer(all))
}

fn all(shield: &Shield) -> Vec<PrefixVerdict> {
    shield.rules().iter().filter_map(|view| PrefixVerdict::of(&view.rule)).collect()
}

/// No rules are an empty object, as those who know these paths expect.
fn answer(all: Vec<PrefixVerdict>) -> Response {
    if all.is_empty() { Json(value!({})).into_response() } else { Json(all).into_response() }
}
