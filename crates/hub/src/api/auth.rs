//! Who may ask what: the API server says (TokenReview, then SubjectAccessReview), and its word counts for ten seconds.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use portcullis_web::{Refusal, bearer};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::troubles::{Asking, Troubles};

/// Tokens that are ours to take have this audience.
pub const AUDIENCE: &str = "portcullis-hub";
/// Before the path, in rights: what begins with `/api/` every account of a cluster may get (`system:discovery`).
pub const RIGHTS: &str = "/portcullis";
/// How long the API server's word counts.
const FRESH: Duration = Duration::from_secs(10);
/// Words that are remembered.
const MOST: usize = 1024;
/// Questions to the API server at a time: whoever sends nonsense must not use it up.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(5);
/// Tokens of service accounts are below 2 kB.
const LONGEST_TOKEN: usize = 8192;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Name of the user.
    pub user: String,
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

/// Whoever knows tokens and rights.
pub trait Reviews: Send + Sync {
    /// Whose token this is; none: nobody's.
    fn user(&self, token: String) -> Answer<Option<UserInfo>>;
    /// Whether a user may do this; else why not.
    fn may(&self, user: UserInfo, verb: String, path: String) -> Answer<Result<(), String>>;
}

/// Lets in whom it should.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

/// Of whose token, for which verb and path, what was said.
type Rights = Cache<([u8; 32], String, String), Result<(), String>>;

struct Inner {
    reviews: Box<dyn Reviews>,
    users: Mutex<Cache<[u8; 32], Option<UserInfo>>>,
    rights: Mutex<Rights>,
    room: Semaphore,
}

impl Gate {
    /// One that goes by these reviews.
    #[must_use]
    pub fn new(reviews: Box<dyn Reviews>) -> Self {
        let room = Semaphore::new(AT_ONCE);
        Self(Arc::new(Inner { reviews, users: Mutex::default(), rights: Mutex::default(), room }))
    }

    /// One that goes by the API server.
    #[must_use]
    pub fn of_cluster(client: Client, troubles: Troubles) -> Self {
        Self::new(Box::new(OfCluster { client, troubles }))
    }

    /// `shown` is the header.
    async fn allows(
        &self,
        shown: Option<&[u8]>,
        verb: &'static str,
        path: String,
    ) -> Result<Allowed, Refusal> {
        let shown = shown.and_then(bearer);
        let token = shown.and_then(|token| std::str::from_utf8(token).ok()).filter(|token| is_token(token));
        let Some(token) = token else {
            return Err(Refusal::unauthorized(
                "send the header `Authorization: Bearer TOKEN` with a token for the audience portcullis-hub: \
                 `kubectl create token portcullis-reader --audience portcullis-hub`",
            ));
        };
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let Some(user) = self.user(hash, token).await? else {
            return Err(Refusal::unauthorized(
                "the API server does not know this token for the audience portcullis-hub: it may have run out",
            ));
        };
        let name = user.username.clone().unwrap_or_default();
        self.may(hash, user, verb, path).await?.map_err(Refusal::forbidden)?;
        Ok(Allowed { user: name })
    }

    async fn user(&self, hash: [u8; 32], token: &str) -> Result<Option<UserInfo>, Refusal> {
        if let Some(known) = lock(&self.0.users).get(&hash) {
            return Ok(known);
        }
        let _room = self.room()?;
        let user = self.0.reviews.user(token.to_owned()).await?;
        lock(&self.0.users).put(hash, user.clone());
        Ok(user)
    }

    async fn may(
        &self,
        hash: [u8; 32],
        user: UserInfo,
        verb: &'static str,
        path: String,
    ) -> Result<Result<(), String>, Refusal> {
        let key = (hash, verb.to_owned(), path);
        if let Some(known) = lock(&self.0.rights).get(&key) {
            return Ok(known);
        }
        let _room = self.room()?;
        let may = self.0.reviews.may(user, verb.to_owned(), key.2.clone()).await?;
        lock(&self.0.rights).put(key, may.clone());
        Ok(may)
    }

    fn room(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Refusal> {
        self.0.room.try_acquire().map_err(|_| {
            Refusal::unavailable("too many ask at once who they are: try again in a moment".to_owned())
        })
    }
}

/// Every request comes by here.
pub(super) async fn check(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes().to_vec());
    let (verb, path) = (verb(request.method()), request.uri().path().to_owned());
    match gate.allows(shown.as_deref(), verb, path).await {
        Ok(allowed) => {
            request.extensions_mut().insert(allowed);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Kubernetes' word for a method of a path that is no resource.
fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" | "HEAD" => "get",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "options",
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_TOKEN && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was said, and when.
struct Cache<K, V>(HashMap<K, (V, Instant)>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key).filter(|(_, at)| at.elapsed() < FRESH).map(|(value, _)| value.clone())
    }

    fn put(&mut self, key: K, value: V) {
        if self.0.len() >= MOST {
            self.0.retain(|_, (_, at)| at.elapsed() < FRESH);
        }
        // Full of what is fresh: whoever fills it has to ask each time.
        if self.0.len() < MOST {
            self.0.insert(key, (value, Instant::now()));
        }
    }
}

/// The API server's word.
struct OfCluster {
    client: Client,
    troubles: Troubles,
}

async fn ask<T>(
    asking: Asking,
    troubles: Troubles,
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Refusal> {
    let why = match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => {
            troubles.clear(asking.resource);
            return Ok(answer);
        }
        Ok(Err(error)) => asking.failed(&error),
        Err(_) => asking.silent(PATIENCE),
    };
    troubles.set(asking.resource, why.clone(), false);
    Err(Refusal::unavailable(format!("it cannot be told who you are: {why}")))
}

impl Reviews for OfCluster {
    fn user(&self, token: String) -> Answer<Option<UserInfo>> {
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let troubles = self.troubles.clone();
        Box::pin(async move {
            let spec = TokenReviewSpec { token, audiences: Some(vec![AUDIENCE.to_owned()]) };
            let review = TokenReview { spec, ..TokenReview::default() };
            let asking =
                Asking { verb: "create", resource: "tokenreviews", role: "ClusterRole portcullis-hub" };
            let params = PostParams::default();
            let status =
                ask(asking, troubles, api.create(&params, &review)).await?.status.unwrap_or_default();
            // A server that does not know audiences leaves them out, and knows none for us.
            let ours = status.audiences.iter().flatten().any(|audience| audience == AUDIENCE);
            Ok(status.user.filter(|_| ours && status.authenticated == Some(true)))
        })
    }

    fn may(&self, user: UserInfo, verb: String, path: String) -> Answer<Result<(), String>> {
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let troubles = self.troubles.clone();
        Box::pin(async move {
            let name = user.username.clone().unwrap_or_default();
            let path = format!("{RIGHTS}{path}");
            let no = format!(
                "{name} has no right to {verb} {path} (nonResourceURLs): bind ClusterRole portcullis-reader or portcullis-operator"
            );
            let attributes = NonResourceAttributes { path: Some(path), verb: Some(verb) };
            let spec = SubjectAccessReviewSpec {
                user: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
                non_resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            };
            let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
            let asking = Asking {
                verb: "create",
                resource: "subjectaccessreviews",
                role: "ClusterRole portcullis-hub",
            };
            let params = PostParams::default();
            let status = ask(asking, troubles, api.create(&params, &review)).await?.status;
            let allowed = status.is_some_and(|status| status.allowed && status.denied != Some(true));
            Ok(if allowed { Ok(()) } else { Err(no) })
        })
    }
}
