//! Metrics as text, in the format that the reader accepts.

use std::fmt;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::problem::Refusal;

const OPENMETRICS: &str = "application/openmetrics-text";

/// All that a registry has: OpenMetrics to whoever accepts it, else the older text format.
///
/// # Errors
/// Where a collector fails, which is a bug.
pub fn answer(registry: &Registry, headers: &HeaderMap) -> Result<Response, Refusal> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)
        .map_err(|_| Refusal::failed("the metrics could not be written; this is a bug"))?;
    let accept = headers.get_all(header::ACCEPT).iter();
    let open = accept.filter_map(|value| value.to_str().ok()).any(|value| value.contains(OPENMETRICS));
    Ok(if open {
        ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response()
    } else {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], plain(&text)).into_response()
    })
}

/// OpenMetrics as the older format has it: there a counter's `# HELP` and `# TYPE` bear its full name.
fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len() + 256);
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            break;
        }
        let described = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '));
        match (described, lines.peek()) {
            (Some((name, help)), Some(kind)) if kind.starts_with("# TYPE ") && kind.ends_with(" counter") => {
                text.push_str(&format!("# HELP {name}_total {help}\n# TYPE {name}_total counter\n"));
                lines.next();
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// One series of a counter.
///
/// # Errors
/// Where the text cannot be written.
pub fn counter<L: EncodeLabelSet>(metric: &mut MetricEncoder<'_>, labels: &L, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(metric.encode_family(labels)?)
}

/// One series of a gauge.
///
/// # Errors
/// Where the text cannot be written.
pub fn gauge<L: EncodeLabelSet>(metric: &mut MetricEncoder<'_>, labels: &L, value: u64) -> fmt::Result {
    ConstGauge::new(value).encode(metric.encode_family(labels)?)
}
