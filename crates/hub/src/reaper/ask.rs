//! What the reaper asks of the API server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{HeaderMap, Method, Request, StatusCode, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::client::Body;
use kube::core::Status;
use kube::{Client, ResourceExt};
use portcullis_kubernetes::crd::{Offender, TerminationMethod};
use serde_json::{Value, json};

use super::decide::End;
use super::facts::Facts;
use crate::troubles::{Asking, cut};

/// An answer. Also the time in which what was sent has to arrive: well within what other hubs wait.
const PATIENCE: Duration = Duration::from_secs(4);
const MOST_BYTES: usize = 4 << 20;
const ROLE: &str = "ClusterRole portcullis-hub";
/// A disruption budget is asked again after this, where the API server does not say when.
const BUDGET_PAUSE: Duration = Duration::from_secs(5);

/// The API server, as the reaper knows it.
pub struct Api {
    client: Client,
    /// It knows `policy/v1beta1` only (before 1.22).
    old_evictions: AtomicBool,
}

/// What is known of an offender.
#[derive(Clone, Debug)]
pub struct Look {
    /// The pod; none: there is none of that name.
    pub pod: Option<Facts>,
    /// Labels of its namespace.
    pub namespace: BTreeMap<String, String>,
}

/// What came of ending a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is being ended.
    Done,
    /// It was gone already; or its name was another's.
    Gone,
    /// A disruption budget is in the way: one sentence, and when to ask again.
    Budget(String, Duration),
    /// It failed: one sentence, and how long to wait at least.
    Failed(String, Duration),
    /// This hub was not certain to lead any more.
    NotLeading,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn told(&self) -> Status {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| Status::failure(&String::from_utf8_lossy(&self.body), ""))
            .with_code(self.status.as_u16())
    }

    /// The server's clock.
    fn date(&self) -> Option<Timestamp> {
        let text = self.headers.get(header::DATE)?.to_str().ok()?;
        rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
    }

    fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        text.parse().ok().map(Duration::from_secs)
    }
}

impl Api {
    pub fn new(client: Client) -> Self {
        Self { client, old_evictions: AtomicBool::new(false) }
    }

    /// The pod and its namespace, as they are now.
    pub async fn look(&self, offender: &Offender) -> Result<Look, String> {
        let namespace = format!("/api/v1/namespaces/{}", offender.namespace);
        let pod = format!("{namespace}/pods/{}", offender.pod);
        let (pod, namespace) = tokio::join!(
            self.get(&pod, Asking { verb: "get", resource: "pods", role: ROLE }),
            self.get(&namespace, Asking { verb: "get", resource: "namespaces", role: ROLE }),
        );
        let (pod, namespace) = (pod?, namespace?);
        let strange = |error: serde_json::Error| format!("what the API server sent cannot be read: {error}");
        let pod = pod.map(|answer| {
            let read: Result<Pod, _> = serde_json::from_slice(&answer.body);
            read.map(|pod| Facts::new(&pod, answer.date()))
        });
        let namespace = namespace.map(|answer| serde_json::from_slice::<Namespace>(&answer.body));
        let labels = namespace.transpose().map_err(strange)?.map(|namespace| namespace.labels().clone());
        Ok(Look { pod: pod.transpose().map_err(strange)?, namespace: labels.unwrap_or_default() })
    }

    /// Ends a pod: this one, never another of its name. `leads` is asked at the last moment.
    pub async fn end(&self, offender: &Offender, end: &End, leads: impl Fn() -> bool) -> Outcome {
        let path = format!("/api/v1/namespaces/{}/pods/{}", offender.namespace, offender.pod);
        let mut options = json!({"preconditions": {"uid": offender.uid}});
        if let Some(seconds) = end.grace {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if !leads() {
            return Outcome::NotLeading;
        }
        match end.method {
            TerminationMethod::Delete => {
                options["apiVersion"] = "v1".into();
                options["kind"] = "DeleteOptions".into();
                let asking = Asking { verb: "delete", resource: "pods", role: ROLE };
                match self.send(Method::DELETE, &path, Some(options)).await {
                    Ok(answer) => judge(&answer, asking),
                    Err(error) => Outcome::Failed(error.in_words(asking), Duration::ZERO),
                }
            }
            TerminationMethod::Evict => self.evict(&path, offender, options, leads).await,
        }
    }

    async fn evict(
        &self,
        path: &str,
        offender: &Offender,
        options: Value,
        leads: impl Fn() -> bool,
    ) -> Outcome {
        let asking = Asking { verb: "create", resource: "pods/eviction", role: ROLE };
        let path = format!("{path}/eviction");
        loop {
            let old = self.old_evictions.load(Ordering::Relaxed);
            let eviction = json!({
                "apiVersion": if old { "policy/v1beta1" } else { "policy/v1" },
                "kind": "Eviction",
                "metadata": {"name": offender.pod, "namespace": offender.namespace},
                "deleteOptions": options,
            });
            match self.send(Method::POST, &path, Some(eviction)).await {
                Ok(answer) if !old && knows_no_kind(&answer) && leads() => {
                    self.old_evictions.store(true, Ordering::Relaxed);
                }
                Ok(answer) => return judge(&answer, asking),
                Err(error) => return Outcome::Failed(error.in_words(asking), Duration::ZERO),
            }
        }
    }

    /// An object; none: there is none.
    async fn get(&self, path: &str, asking: Asking) -> Result<Option<Answer>, String> {
        let answer = self.send(Method::GET, path, None).await.map_err(|error| error.in_words(asking))?;
        match answer.status {
            status if status.is_success() => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(asking.failed(&kube::Error::Api(Box::new(answer.told())))),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer, Unsent> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.map(|body| body.to_string().into_bytes()).unwrap_or_default()))
            .map_err(|error| Unsent::Failed(kube::Error::HttpError(error)))?;
        let asking = async {
            let response = self.client.send(request).await.map_err(Unsent::Failed)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|_| Unsent::BrokenOff)?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or(Err(Unsent::Silent))
    }
}

enum Unsent {
    Failed(kube::Error),
    BrokenOff,
    Silent,
}

impl Unsent {
    fn in_words(&self, asking: Asking) -> String {
        match self {
            Self::Failed(error) => asking.failed(error),
            Self::BrokenOff => {
                format!("the API server's answer to {} {} broke off", asking.verb, asking.resource)
            }
            Self::Silent => asking.silent(PATIENCE),
        }
    }
}

/// An API server before 1.22 does not know `policy/v1`; one from 1.25 on only that.
fn knows_no_kind(answer: &Answer) -> bool {
    let told = answer.told();
    let of_pod = told.details.as_ref().is_some_and(|details| details.kind == "pods");
    match answer.status.as_u16() {
        400 | 415 => told.message.contains("policy/v1") || told.message.contains("no kind"),
        404 => !of_pod,
        _ => false,
    }
}

fn judge(answer: &Answer, asking: Asking) -> Outcome {
    let told = answer.told();
    let wait = answer.retry_after().unwrap_or_default();
    match answer.status.as_u16() {
        200..300 => Outcome::Done,
        // 409: the precondition does not hold, so it is another pod now.
        404 | 409 => Outcome::Gone,
        429 if asking.resource == "pods/eviction" => Outcome::Budget(budget(&told), wait.max(BUDGET_PAUSE)),
        _ => Outcome::Failed(asking.failed(&kube::Error::Api(Box::new(told))), wait),
    }
}

/// What the disruption budget says.
fn budget(told: &Status) -> String {
    let causes = told.details.iter().flat_map(|details| &details.causes);
    let causes: Vec<&str> =
        causes.map(|cause| cause.message.as_str()).filter(|text| !text.is_empty()).collect();
    let text = if causes.is_empty() { told.message.clone() } else { causes.join("; ") };
    cut(text.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let (status, body) = (StatusCode::from_u16(status).unwrap(), body.to_owned().into());
        Answer { status, headers: HeaderMap::new(), body }
    }

    #[test]
    fn answers_are_told_apart() {
        let delete = Asking { verb: "delete", resource: "pods", role: ROLE };
        let evict = Asking { verb: "create", resource: "pods/eviction", role: ROLE };
        assert_eq!(judge(&answer(200, "{}"), delete), Outcome::Done);
        assert_eq!(judge(&answer(201, "{}"), evict), Outcome::Done);
        assert_eq!(judge(&answer(404, "{}"), delete), Outcome::Gone);
        assert_eq!(judge(&answer(409, "{}"), delete), Outcome::Gone);
        let blocked = r#"{"status":"Failure","message":"Cannot evict pod as it would violate the pod's disruption budget.",
            "reason":"TooManyRequests","details":{"causes":[{"reason":"DisruptionBudget",
            "message":"The disruption budget web needs 1 healthy pods and has 1 currently"}]},"code":429}"#;
        let Outcome::Budget(why, wait) = judge(&answer(429, blocked), evict) else { panic!() };
        assert_eq!(why, "The disruption budget web needs 1 healthy pods and has 1 currently");
        assert_eq!(wait, BUDGET_PAUSE);
        let forbidden =
            r#"{"status":"Failure","message":"pods is forbidden","reason":"Forbidden","code":403}"#;
        let Outcome::Failed(why, _) = judge(&answer(403, forbidden), delete) else { panic!() };
        assert!(why.contains("no right to delete pods"), "{why}");
        assert!(matches!(judge(&answer(429, "{}"), delete), Outcome::Failed(..)));
    }

    #[test]
    fn an_older_server_is_recognised() {
        let old = r#"{"message":"no kind \"Eviction\" is registered for version \"policy/v1\" in scheme"}"#;
        assert!(knows_no_kind(&answer(400, old)));
        assert!(!knows_no_kind(&answer(
            404,
            r#"{"details":{"kind":"pods","name":"web"},"message":"not found"}"#
        )));
        assert!(!knows_no_kind(&answer(201, "{}")));
    }

    #[test]
    fn the_servers_clock_is_read() {
        let mut answer = answer(200, "");
        answer.headers.insert(header::DATE, "Sat, 21 Nov 2026 10:00:00 GMT".parse().unwrap());
        assert_eq!(answer.date(), Some("2026-11-21T10:00:00Z".parse().unwrap()));
    }
}
