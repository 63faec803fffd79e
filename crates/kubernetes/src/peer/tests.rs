use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::*;

type Body = BoxBody<Bytes, Infallible>;

/// Lines for `/events`, from whoever holds the other end.
type Lines = Arc<tokio::sync::Mutex<Option<mpsc::Receiver<&'static str>>>>;

struct Server {
    address: String,
    identity: Identity,
    trusted: Trusted,
    task: tokio::task::JoinHandle<()>,
    lines: mpsc::Sender<&'static str>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn full(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed());
    *response.status_mut() = status;
    response
}

async fn answer(request: Request<Incoming>, lines: Lines) -> Result<Response<Body>, Infallible> {
    Ok(match request.uri().path() {
        "/ok" => full(StatusCode::OK, "{\"a\": 1}"),
        "/echo" => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            full(StatusCode::CREATED, body)
        }
        "/long" => full(StatusCode::OK, vec![b' '; 100_000]),
        "/garbage" => full(StatusCode::OK, "{\"a\":"),
        "/close" => {
            let mut response = full(StatusCode::OK, "");
            response.headers_mut().insert(hyper::header::CONNECTION, "close".parse().unwrap());
            response
        }
        "/slow" => std::future::pending().await,
        "/events" => {
            let lines = lines.lock().await.take().unwrap();
            let frames = futures_util::stream::unfold(lines, |mut lines| async move {
                let line = lines.recv().await?;
                Some((Ok(Frame::data(Bytes::from_static(line.as_bytes()))), lines))
            });
            Response::new(BodyExt::boxed(StreamBody::new(Box::pin(frames).map_sync())))
        }
        _ => full(StatusCode::NOT_FOUND, "there is\nno such thing"),
    })
}

/// `BoxBody` wants its stream to be `Sync`, which it is never asked for at once.
trait MapSync: Sized {
    fn map_sync(self) -> Unshared<Self> {
        Unshared(std::sync::Mutex::new(self))
    }
}
impl<S: futures_util::Stream + Unpin> MapSync for S {}
struct Unshared<S>(std::sync::Mutex<S>);
impl<S: futures_util::Stream + Unpin> futures_util::Stream for Unshared<S> {
    type Item = S::Item;
    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        std::pin::Pin::new(self.get_mut().0.get_mut().unwrap()).poll_next(context)
    }
}

async fn serve(open: bool) -> Server {
    let identity = Identity::generate("node-1").unwrap();
    let trusted = Trusted::default();
    let config = if open { open_server_config(&identity) } else { server_config(&identity, &trusted) };
    let pinned = (!open).then(|| trusted.clone());
    let mut listener = Listener::bind("127.0.0.1:0", config.unwrap(), pinned).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, lines) = mpsc::channel(8);
    let lines: Lines = Arc::new(tokio::sync::Mutex::new(Some(lines)));
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await;
            let lines = Arc::clone(&lines);
            connections.spawn(async move {
                let service = service_fn(|request| answer(request, Arc::clone(&lines)));
                _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Server { address, identity, trusted, task, lines: sender }
}

impl Server {
    fn trust(&self, identities: &[(&str, &Identity)]) {
        let certificates =
            identities.iter().map(|(name, identity)| ((*name).to_owned(), identity.certificate().clone()));
        self.trusted.replace(certificates.collect());
    }

    fn client(&self, identity: Option<&Identity>) -> Connection {
        Connection::new(&self.address, client_config(identity, self.identity.certificate()).unwrap())
    }
}

async fn ask(connection: &Connection) -> Result<serde_json::Value, PeerError> {
    connection.get_json("/ok").await
}

#[tokio::test]
async fn only_the_published_certificates_speak_with_each_other() {
    let server = serve(false).await;
    let [hub, stranger] = ["hub-0", "hub-0"].map(|name| Identity::generate(name).unwrap());
    server.trust(&[("hub-0", &hub)]);
    assert_eq!(ask(&server.client(Some(&hub))).await.unwrap()["a"], 1);
    // The same name, another key.
    let refused = ask(&server.client(Some(&stranger))).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    let refused = ask(&server.client(None)).await.unwrap_err();
    assert!(refused.to_string().to_lowercase().contains("certificate"), "{refused}");
    // Another server than the expected one.
    let other = client_config(Some(&hub), stranger.certificate()).unwrap();
    let refused = ask(&Connection::new(&server.address, other)).await.unwrap_err();
    assert!(matches!(refused, PeerError::Handshake { .. }), "{refused}");
    assert_eq!(ask(&server.client(Some(&hub))).await.unwrap()["a"], 1);
}

#[tokio::test]
async fn a_certificate_without_its_key_is_worth_nothing() {
    let server = serve(false).await;
    let [hub, thief] = ["hub-0", "thief"].map(|name| Identity::generate(name).unwrap());
    server.trust(&[("hub-0", &hub)]);
    let key = ring::default_provider().key_provider.load_private_key(thief.key()).unwrap();
    let pair = rustls::sign::CertifiedKey::new(vec![hub.certificate().clone()], key);
    let config = client_config(Some(&thief), server.identity.certificate()).unwrap();
    let mut config = Arc::unwrap_or_clone(config);
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(pair));
    let refused = ask(&Connection::new(&server.address, Arc::new(config))).await.unwrap_err();
    assert!(refused.to_string().contains("alert"), "{refused}");
    ask(&server.client(Some(&hub))).await.unwrap();
}

#[tokio::test]
async fn trust_is_given_and_taken_while_it_runs() {
    let server = serve(false).await;
    let hub = Identity::generate("hub-0").unwrap();
    let connection = server.client(Some(&hub));
    ask(&connection).await.unwrap_err();
    server.trust(&[("hub-0", &hub)]);
    ask(&connection).await.unwrap();
    // Another hub came: nothing changes for this one.
    let second = Identity::generate("hub-1").unwrap();
    server.trust(&[("hub-0", &hub), ("hub-1", &second)]);
    ask(&connection).await.unwrap();
    // Gone: neither the open connection nor a new one does.
    server.trust(&[("hub-1", &second)]);
    ask(&connection).await.unwrap_err();
    ask(&connection).await.unwrap_err();
    ask(&server.client(Some(&second))).await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_when_trust_does() {
    let server = serve(false).await;
    let hub = Identity::generate("hub-0").unwrap();
    server.trust(&[("hub-0", &hub)]);
    let mut events = server.client(Some(&hub)).stream_sse("/events").await.unwrap();
    server.lines.send("event: violation\ndata: 1\n\n").await.unwrap();
    let event = events.next().await.unwrap().unwrap();
    assert_eq!((event.kind.as_str(), event.data.as_str()), ("violation", "1"));
    server.lines.send("data: 2\n").await.unwrap();
    server.lines.send("\ndata: 3\n\n").await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().data, "2");
    assert_eq!(events.next().await.unwrap().unwrap().data, "3");
    server.trust(&[]);
    server.lines.send("data: secret\n\n").await.unwrap();
    let end = events.next().await;
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let server = serve(true).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.identity.certificate().clone()).unwrap();
    for (version, works) in [(&rustls::version::TLS12, false), (&rustls::version::TLS13, true)] {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let stream = TcpStream::connect(&server.address).await.unwrap();
        let name = ServerName::try_from("node-1").unwrap();
        let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        // Self-signed and no CA, so others may well call it no valid issuer, but they come as far as seeing it.
        let seen = match &shaken {
            Ok(_) => true,
            Err(error) => error.to_string().contains("certificate"),
        };
        assert_eq!(seen, works, "{version:?}: {shaken:?}");
    }
    ask(&server.client(None)).await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_those_that_talk_nonsense() {
    let server = serve(false).await;
    let hub = Identity::generate("hub-0").unwrap();
    server.trust(&[("hub-0", &hub)]);
    let mut held = Vec::new();
    for noise in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0x16, 3, 1, 2, 0], &[0xff; 4096]] {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(noise).await.unwrap();
        held.push(stream);
    }
    ask(&server.client(Some(&hub))).await.unwrap();
    // What is no handshake is hung up on.
    let mut answer = Vec::new();
    held.pop().unwrap().read_to_end(&mut answer).await.ok();
}

#[tokio::test]
async fn answers_are_bounded_and_errors_are_in_words() {
    let server = serve(true).await;
    let connection = server.client(None).with_limits(Duration::from_secs(30), 1000);
    let mut texts = Vec::new();
    for (path, word) in [("/long", "more than 1000"), ("/garbage", "cannot be read"), ("/none", "404")] {
        let error = connection.get_json::<serde_json::Value>(path).await.unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(path) && error.contains(&server.address), "{error}");
        assert!(!error.contains('\n'), "{error}");
        texts.push(error);
        ask(&connection).await.unwrap();
    }
    let hasty = server.client(None).with_limits(Duration::from_millis(200), 1000);
    let error = hasty.get_json::<serde_json::Value>("/slow").await.unwrap_err();
    assert!(matches!(error, PeerError::Silent { .. }), "{error}");
    let body = Some(Bytes::from_static(b"{\"x\": 2}"));
    let echo = connection.request(Method::PUT, "/echo", body).await.unwrap();
    assert_eq!((echo.status, &echo.body[..]), (StatusCode::CREATED, &b"{\"x\": 2}"[..]));
    let error = connection.stream_sse("/none").await.unwrap_err();
    assert!(matches!(error, PeerError::Refused { status: 404, .. }), "{error}");
}

#[tokio::test]
async fn a_lost_connection_is_made_anew() {
    let server = serve(true).await;
    let connection = server.client(None);
    ask(&connection).await.unwrap();
    // Closed by the server, as after a pause: the next question opens another one.
    let closed = connection.request(Method::GET, "/close", None).await.unwrap();
    assert_eq!(closed.status, StatusCode::OK);
    ask(&connection).await.unwrap();
    let address = server.address.clone();
    server.task.abort();
    // Its connections end with it.
    let error = loop {
        match ask(&connection).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains(&address), "{error}");
}

#[test]
fn what_is_no_certificate_is_refused() {
    let identity = Identity::generate("hub-0").unwrap();
    assert_eq!(certificate_from_pem(identity.pem()).unwrap(), *identity.certificate());
    let half: String = identity.pem().chars().take(300).collect();
    let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in ["", "x", &half, empty, &"-".repeat(100_000)] {
        assert!(certificate_from_pem(text).is_err(), "{text}");
    }
    assert!(!format!("{identity:?}").contains("PRIVATE"));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// One wrong byte anywhere, and it is another certificate.
        #[test]
        fn exactly_means_exactly(at in any::<prop::sample::Index>(), change in 1_u8..) {
            let identity = Identity::generate("hub-0").unwrap();
            let trusted = Trusted::default();
            trusted.replace([("hub-0".to_owned(), identity.certificate().clone())].into());
            let mut bytes = identity.certificate().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert!(!trusted.contains(&bytes.into()));
            prop_assert!(trusted.contains(identity.certificate()));
        }
    }
}
