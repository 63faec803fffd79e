//! What requests carry: bodies, path ids, queries. Whatever cannot be read becomes a [`Refusal`].

use std::fmt;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};

use crate::problem::Refusal;

/// The largest body taken: ten thousand endpoints with labels fit.
pub const BODY_LIMIT_BYTES: usize = 8 << 20;

/// How long a client may take to send a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a whole body, within [`BODY_LIMIT_BYTES`] and [`BODY_TIMEOUT`].
pub async fn read(body: Body) -> Result<Bytes, Refusal> {
    let too_large =
        || Refusal::too_large(format!("the body is over {BODY_LIMIT_BYTES} bytes; send it in parts"));
    // A declared length is refused before its first byte is read.
    if http_body_lower_bound(&body) > BODY_LIMIT_BYTES as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_LIMIT_BYTES)).await {
        Err(_) => {
            Err(Refusal::too_slow(format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs())))
        }
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large()),
        Ok(Err(error)) => Err(Refusal::malformed(format!("the body broke off: {error}"))),
    }
}

fn http_body_lower_bound(body: &Body) -> u64 {
    hyper::body::Body::size_hint(body).lower()
}

/// Whether the limit ended the read; the error itself hides behind its source.
fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |e| e.source())
        .any(|e| e.to_string().contains("length limit exceeded"))
}

/// Reads a JSON body.
pub async fn json<T: DeserializeOwned>(body: Body, what: &str) -> Result<T, Refusal> {
    parse(&read(body).await?, what)
}

/// Parses a JSON text. Text that is not JSON is 400, JSON that says something else is 422.
fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| not_that(what, &error))
}

fn not_that(what: &str, error: &serde_json::Error) -> Refusal {
    let detail = format!("the body is not {what}: {error}");
    if error.is_data() { Refusal::invalid(detail) } else { Refusal::malformed(detail) }
}

/// One object or an array of them.
pub enum OneOrMany<T> {
    /// An object.
    One(T),
    /// An array.
    Many(Vec<T>),
}

impl<T: DeserializeOwned> OneOrMany<T> {
    /// Parses either; an array's errors say which item, counted from 0.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self, Refusal> {
        if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'[') {
            return parse(bytes, what).map(Self::One);
        }
        let mut items = Vec::new();
        let mut text = serde_json::Deserializer::from_slice(bytes);
        text.deserialize_seq(Each(&mut items))
            .and_then(|()| text.end())
            .map_err(|error| not_that(&format!("{what} (item {})", items.len()), &error))?;
        Ok(Self::Many(items))
    }
}

/// Reads a list into a vector that keeps what came before an error.
struct Each<'a, T>(&'a mut Vec<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Each<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element()? {
            self.0.push(item);
        }
        Ok(())
    }
}

/// The `{id}` or `{name}` of a path, percent-decoded.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(id) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|e: PathRejection| {
                Refusal::malformed(format!("the id in the path cannot be read: {}", e.body_text()))
            })?;
        Ok(Self(id))
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters: a name as one part of a path.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The query of a URI; an unknown key is refused.
pub struct Options<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Options<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Query(options) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|e: QueryRejection| Refusal::malformed(e.body_text()))?;
        Ok(Self(options))
    }
}
