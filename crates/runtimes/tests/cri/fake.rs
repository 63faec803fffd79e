//! A runtime that answers what a test wants: gRPC on a unix socket, without containers.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_runtimes::cri::wire::*;
use tokio::net::UnixListener;
use tokio::sync::broadcast;
use tokio::task::{AbortHandle, JoinSet};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// What it does.
#[derive(Clone)]
pub struct Script {
    pub name: String,
    /// `v1` or `v1alpha2`; another: none.
    pub api: &'static str,
    pub events: Served,
    pub pods: BTreeMap<String, FakePod>,
    /// Further ids in the list, whatever they are.
    pub listed: Vec<String>,
    /// Ids that `StopPodSandbox` was called with.
    pub stopped: Vec<String>,
    pub calls: HashMap<String, usize>,
}

/// Which events it serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Served {
    Containerd,
    Interface,
    /// As CRI-O does where events are off: the stream ends at once.
    Off,
    Unimplemented,
}

/// A sandbox.
#[derive(Clone, Default)]
pub struct FakePod {
    pub answer: PodSandboxStatusResponse,
    pub slow: Option<Duration>,
    pub error: Option<Code>,
    /// Not in the list.
    pub unlisted: bool,
}

pub struct Fake {
    pub socket: PathBuf,
    script: Arc<Mutex<Script>>,
    events: Arc<Mutex<broadcast::Sender<Result<Event, Code>>>>,
    server: Option<AbortHandle>,
    _directory: tempfile::TempDir,
}

/// An event: id, whether it began.
pub type Event = (String, bool);

impl Fake {
    pub fn new(events: Served) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let script = Script {
            name: "fake".into(),
            api: "v1",
            events,
            pods: BTreeMap::new(),
            listed: Vec::new(),
            stopped: Vec::new(),
            calls: HashMap::new(),
        };
        Self {
            socket: directory.path().join("cri.sock"),
            script: Arc::new(Mutex::new(script)),
            events: Arc::new(Mutex::new(broadcast::channel(64).0)),
            server: None,
            _directory: directory,
        }
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics with it")
    }

    pub fn calls(&self, method: &str) -> usize {
        self.script().calls.get(method).copied().unwrap_or(0)
    }

    pub fn emit(&self, id: &str, began: bool) {
        // Nobody may listen yet.
        let _ = self.events.lock().expect("unpoisoned").send(Ok((id.into(), began)));
    }

    /// Ends every stream of events.
    pub fn break_streams(&self) {
        *self.events.lock().expect("unpoisoned") = broadcast::channel(64).0;
    }

    pub fn up(&mut self) {
        let listener = UnixListener::bind(&self.socket).expect("a free path");
        let (script, events) = (Arc::clone(&self.script), Arc::clone(&self.events));
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, events) = (Arc::clone(&script), Arc::clone(&events));
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        answer(request, Arc::clone(&script), events.lock().expect("unpoisoned").clone())
                    });
                    let server = http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        self.server = Some(server.abort_handle());
    }

    /// The process dies: connections break, the socket stays behind or goes.
    pub async fn down(&mut self, unlink: bool) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
        // Its connections end with it.
        tokio::task::yield_now().await;
        self.break_streams();
        if unlink {
            remove(&self.socket);
        }
    }

    pub fn remove_socket(&self) {
        remove(&self.socket);
    }
}

fn remove(path: &Path) {
    std::fs::remove_file(path).expect("the socket is there");
}

impl FakePod {
    /// In the host's network: needs no namespace.
    pub fn host(id: &str, name: &str) -> Self {
        let mut pod = Self::own(id, name);
        let status = pod.answer.status.as_mut().expect("just made");
        let options = NamespaceOption { network: NODE };
        status.linux =
            Some(LinuxPodSandboxStatus { namespaces: Some(Namespaces { options: Some(options) }) });
        pod
    }

    /// With a network of its own, which nothing tells of.
    pub fn own(id: &str, name: &str) -> Self {
        let metadata = PodSandboxMetadata {
            name: name.into(),
            uid: format!("uid-{name}"),
            namespace: "default".into(),
            attempt: 0,
        };
        let status = PodSandboxStatus {
            id: id.into(),
            metadata: Some(metadata),
            state: READY,
            created_at: 1_700_000_000_000_000_000,
            labels: HashMap::from([("app".into(), name.into())]),
            ..PodSandboxStatus::default()
        };
        Self {
            answer: PodSandboxStatusResponse { status: Some(status), info: HashMap::new() },
            ..Self::default()
        }
    }
}

type Shared = Arc<Mutex<Script>>;

async fn answer(
    request: Request<Incoming>,
    script: Shared,
    events: broadcast::Sender<Result<Event, Code>>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let now = {
        let mut script = script.lock().expect("unpoisoned");
        *script.calls.entry(method.into()).or_default() += 1;
        script.clone()
    };
    let ours = service == format!("runtime.{}.RuntimeService", now.api);
    let containerd = service == "containerd.services.events.v1.Events" && now.events == Served::Containerd;
    Ok(match method {
        "Subscribe" if containerd => stream(request, events, envelope).await,
        _ if !ours => Status::unimplemented("no such service").into_http(),
        "Version" => {
            let version = VersionResponse { runtime_name: now.name.clone(), runtime_version: "1".into() };
            unary(request, move |_: VersionRequest| Ok(version.clone())).await
        }
        "ListPodSandbox" => unary(request, move |_: ListPodSandboxRequest| Ok(list(&now))).await,
        "PodSandboxStatus" => status(request, now).await,
        "StopPodSandbox" => {
            unary(request, move |question: PodSandboxId| {
                let mut script = script.lock().expect("unpoisoned");
                script.pods.remove(&question.pod_sandbox_id);
                script.stopped.push(question.pod_sandbox_id);
                Ok(Nothing {})
            })
            .await
        }
        "GetContainerEvents" => match now.events {
            Served::Interface => stream(request, events, container_event).await,
            Served::Off => ended(request).await,
            _ => Status::unimplemented("no such method").into_http(),
        },
        _ => Status::unimplemented("no such method").into_http(),
    })
}

fn list(script: &Script) -> ListPodSandboxResponse {
    let listed = script.pods.iter().filter(|(_, pod)| !pod.unlisted).map(|(id, pod)| PodSandbox {
        id: id.clone(),
        metadata: pod.answer.status.as_ref().and_then(|status| status.metadata.clone()),
        state: pod.answer.status.as_ref().map_or(READY, |status| status.state),
    });
    let further = script.listed.iter().map(|id| PodSandbox { id: id.clone(), ..PodSandbox::default() });
    ListPodSandboxResponse { items: listed.chain(further).collect() }
}

async fn status(request: Request<Incoming>, script: Script) -> Response<Body> {
    let slow = Arc::new(Mutex::new(None));
    let wait = Arc::clone(&slow);
    let response = unary(request, move |question: PodSandboxStatusRequest| {
        let Some(pod) = script.pods.get(&question.pod_sandbox_id) else {
            return Err(Status::not_found("no such sandbox"));
        };
        *wait.lock().expect("unpoisoned") = pod.slow;
        match pod.error {
            Some(code) => Err(Status::new(code, "as the test\u{1b}[31m wants")),
            None => Ok(pod.answer.clone()),
        }
    })
    .await;
    let slow = slow.lock().expect("unpoisoned").take();
    if let Some(slow) = slow {
        tokio::time::sleep(slow).await;
    }
    response
}

async fn unary<Q, A, F>(request: Request<Incoming>, answer: F) -> Response<Body>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
    F: Fn(Q) -> Result<A, Status> + Clone + Send + Sync + 'static,
{
    let service = tower::service_fn(move |question: tonic::Request<Q>| {
        let answer = answer(question.into_inner());
        async move { answer.map(tonic::Response::new) }
    });
    tonic::server::Grpc::new(ProstCodec::<A, Q>::default()).unary(service, request).await
}

type Source<A> = BoxStream<'static, Result<A, Status>>;

async fn stream<A: prost::Message + Default + 'static>(
    request: Request<Incoming>,
    events: broadcast::Sender<Result<Event, Code>>,
    make: fn(Event) -> A,
) -> Response<Body> {
    let receiver = tokio_stream::wrappers::BroadcastStream::new(events.subscribe());
    // Nobody but the script may keep it open.
    drop(events);
    let all = receiver.map(move |event| match event {
        Ok(Ok(event)) => Ok(make(event)),
        Ok(Err(code)) => Err(Status::new(code, "broken")),
        Err(_) => Err(Status::internal("lagged")),
    });
    serve(request, all.boxed()).await
}

async fn ended(request: Request<Incoming>) -> Response<Body> {
    serve::<ContainerEvent>(request, futures_util::stream::empty().boxed()).await
}

async fn serve<A: prost::Message + Default + 'static>(
    request: Request<Incoming>,
    source: Source<A>,
) -> Response<Body> {
    let source = Arc::new(Mutex::new(Some(source)));
    let service = tower::service_fn(move |_: tonic::Request<Nothing>| {
        let source = source.lock().expect("unpoisoned").take();
        async move { source.map(tonic::Response::new).ok_or_else(|| Status::internal("twice")) }
    });
    tonic::server::Grpc::new(ProstCodec::<A, Nothing>::default()).server_streaming(service, request).await
}

fn envelope((id, began): Event) -> Envelope {
    let topic = if began { "/tasks/start" } else { "/tasks/exit" };
    let value = prost::Message::encode_to_vec(&Subject { id });
    Envelope {
        namespace: "k8s.io".into(),
        topic: topic.into(),
        event: Some(Any { type_url: "containerd.events.TaskStart".into(), value }),
    }
}

fn container_event((id, began): Event) -> ContainerEvent {
    ContainerEvent {
        container_id: id,
        container_event_type: if began { 1 } else { STOPPED },
        pod_sandbox_status: None,
    }
}
