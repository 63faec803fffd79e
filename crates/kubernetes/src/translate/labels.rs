//! Label selectors, as Kubernetes has them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use portcullis_policy::guard::{LabelExpression, LabelOperator};

/// Whether a selector is for something with these labels. An empty one is for everything.
///
/// # Errors
/// One sentence on an operator that there is not.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> Result<bool, String> {
    let exact = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    Ok(expressions(selector)?.iter().all(|expression| expression.holds(labels)) && exact)
}

/// The conditions of a selector.
pub(super) fn expressions(selector: &LabelSelector) -> Result<Vec<LabelExpression>, String> {
    selector.match_expressions.iter().flatten().map(expression).collect()
}

fn expression(requirement: &LabelSelectorRequirement) -> Result<LabelExpression, String> {
    let operator = match requirement.operator.as_str() {
        "In" => LabelOperator::In,
        "NotIn" => LabelOperator::NotIn,
        "Exists" => LabelOperator::Exists,
        "DoesNotExist" => LabelOperator::DoesNotExist,
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(format!(
                "matchExpressions has the operator {other:?} for label {:?}: write In, NotIn, Exists or DoesNotExist",
                requirement.key
            ));
        }
    };
    let values = requirement.values.clone().unwrap_or_default();
    Ok(LabelExpression { key: requirement.key.clone(), operator, values })
}
