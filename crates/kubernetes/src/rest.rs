//! Questions to the API server: bounded in time and size, with errors in words.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{HeaderMap, Method, Request, Response, header};
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde::Serialize;
use tokio::time::timeout;

/// An answer, whole.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A list of 500 pods of unusual size.
const MOST_BYTES: usize = 32 << 20;
/// What the server says of an error is shown up to here.
const MOST_SHOWN: usize = 240;

pub(crate) const APPLY: &str = "application/apply-patch+yaml";
pub(crate) const MERGE: &str = "application/merge-patch+json";

/// What is being done, for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doing {
    /// `list`, `watch`, ….
    pub verb: &'static str,
    /// `pods`, `gatepolicies.portcullis.dev`, ….
    pub resource: &'static str,
    /// Which of the chart's roles gives that.
    pub role: &'static str,
}

/// Why it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// One sentence.
    pub why: String,
    /// The status that the server gave, if it did.
    pub status: Option<u16>,
    /// The server's own word for it.
    pub reason: String,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Trouble {
    pub fn said(why: impl Into<String>) -> Self {
        Self { why: why.into(), status: None, reason: String::new(), retry_after: None }
    }

    /// The server has the state as of that version no more, or not yet: everything must be read anew.
    pub fn is_expired(&self) -> bool {
        self.status == Some(410)
            || self.reason == "Expired"
            || self.why.contains("Too large resource version")
    }

    pub fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// What the server says, in words that help.
    pub fn of_status(status: &Status, doing: Doing) -> Self {
        let Doing { verb, resource, role } = doing;
        let code = status.code;
        let said = cut(&status.message, MOST_SHOWN);
        let why = match code {
            401 => format!("the API server does not accept our credentials for {verb} on {resource} (401)"),
            403 => {
                format!("RBAC gives no right to {verb} {resource} (403): apply the chart's {role} ({said})")
            }
            404 => format!(
                "the API server has nothing to {verb} at {resource} (404): are the chart's definitions and objects installed?"
            ),
            400 | 422 => format!(
                "the API server refused to {verb} {resource} ({code}): are its definitions of another release? ({said})"
            ),
            429 => format!("the API server is too busy to {verb} {resource} (429)"),
            _ => format!("the API server refused to {verb} {resource} ({code}): {said}"),
        };
        let asked = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        let retry_after = (asked > 0).then(|| Duration::from_secs(asked.into()));
        // The cause shows nowhere else in the words above.
        let reason = status.reason.clone();
        Self { why, status: Some(code), reason, retry_after }
    }

    fn of_error(error: &kube::Error, doing: Doing) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            let more = deeper.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = deeper.source();
        }
        let Doing { verb, resource, .. } = doing;
        Self::said(format!("the API server cannot be asked to {verb} {resource}: {}", cut(&text, MOST_SHOWN)))
    }
}

/// The beginning of a text, on one line.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut short: String = clean.take(most).collect();
    if short.len() < text.len() && short.chars().count() == most {
        short.push('…');
    }
    short
}

/// A value for a query.
pub(crate) fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Asks for something.
pub(crate) async fn get(client: &Client, path: &str, doing: Doing) -> Result<Bytes, Trouble> {
    let request = Request::get(path).header(header::ACCEPT, "application/json").body(Body::empty());
    whole(client, request.map_err(|error| Trouble::said(error.to_string()))?, doing).await
}

/// Nobody needs to be told what he has just sent: the metadata of what came of it is enough.
const BRIEFLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// Sends something.
pub(crate) async fn send<T: Serialize + Sync>(
    client: &Client,
    (method, path, kind): (Method, &str, &str),
    object: &T,
    doing: Doing,
) -> Result<Bytes, Trouble> {
    let body = serde_json::to_vec(object).map_err(|error| Trouble::said(error.to_string()))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, BRIEFLY)
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from(body))
        .map_err(|error| Trouble::said(error.to_string()))?;
    whole(client, request, doing).await
}

/// An answer, whole.
pub(crate) async fn whole(client: &Client, request: Request<Body>, doing: Doing) -> Result<Bytes, Trouble> {
    let asking = async {
        let response = begin(client, request, doing).await?;
        collect(response, doing).await
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| {
        let Doing { verb, resource, .. } = doing;
        let patience = PATIENCE.as_secs();
        Err(Trouble::said(format!("the API server did not {verb} {resource} within {patience} s")))
    })
}

/// An answer whose body is yet to come.
pub(crate) async fn begin(
    client: &Client,
    request: Request<Body>,
    doing: Doing,
) -> Result<Response<Body>, Trouble> {
    let response = client.send(request).await.map_err(|error| Trouble::of_error(&error, doing))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let asked = retry_after(response.headers());
    let body = collect(response, doing).await.unwrap_or_default();
    let told: Status = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Status::failure(&String::from_utf8_lossy(&body), ""));
    let trouble = Trouble::of_status(&told.with_code(status.as_u16()), doing);
    Err(Trouble { retry_after: asked.or(trouble.retry_after), ..trouble })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(300)))
}

async fn collect(response: Response<Body>, doing: Doing) -> Result<Bytes, Trouble> {
    let Doing { verb, resource, .. } = doing;
    match Limited::new(response.into_body(), MOST_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Trouble::said(format!(
            "the API server answered {verb} {resource} with more than {MOST_BYTES} bytes"
        ))),
        Err(error) => {
            Err(Trouble::said(format!("the API server's answer to {verb} {resource} broke off: {error}")))
        }
    }
}
