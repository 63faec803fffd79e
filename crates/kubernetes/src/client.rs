//! The way to the API server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::timeout::TimeoutLayer;
use tower::{BoxError, ServiceBuilder};

/// TCP alone.
const CONNECTING: Duration = Duration::from_secs(10);
/// Until an answer begins. Watches begin at once, and then go on for minutes.
const BEGINNING: Duration = Duration::from_secs(60);
/// A server that vanished without a word is noticed after this and three probes.
const KEEPALIVE: Duration = Duration::from_secs(20);
const PROBES_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;
/// A connection that nobody uses costs memory on both sides.
const IDLE: Duration = Duration::from_secs(30);

/// Why there is no client. Each is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file cannot be used.
    #[error("cannot use the kubeconfig {}: {why}", .path.display())]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// There is neither.
    #[error(
        "no way to the API server: not in a pod ({in_cluster}), and without a kubeconfig ({kubeconfig}): give --kubeconfig"
    )]
    Nowhere {
        /// Why not as a pod.
        in_cluster: String,
        /// Why not by a kubeconfig.
        kubeconfig: String,
    },
    /// In a pod, but its service account's files cannot be used.
    #[error("cannot use this pod's service account: {0}: is automountServiceAccountToken off?")]
    ServiceAccount(String),
    /// Certificates or credentials that do not work.
    #[error("cannot set up the connection to the API server: {0}")]
    Setup(String),
}

/// Makes rustls use ring, as everything here does. May be called again and again.
pub fn use_ring() {
    // An error says that somebody was first; there is only ring in this program.
    _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client by this kubeconfig; without one as a pod; else by `$KUBECONFIG` or `~/.kube/config`.
///
/// Tokens in files are read anew, since those of pods change. Nothing is retried, since whoever asks knows better
/// when. Every answer must begin within a minute, and a connection whose other end is dead ends within 40 s.
///
/// # Errors
/// If there is no way to the API server. It is not asked yet.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    use_ring();
    client(&config(kubeconfig).await?)
}

/// What [`connect`] goes by.
///
/// # Errors
/// If there is no way to the API server.
pub async fn config(kubeconfig: Option<&Path>) -> Result<Config, ClientError> {
    let options = KubeConfigOptions::default();
    if let Some(path) = kubeconfig {
        let failed = |why: String| ClientError::Kubeconfig { path: path.to_owned(), why };
        let read = Kubeconfig::read_from(path).map_err(|error| failed(error.to_string()))?;
        let config = Config::from_custom_kubeconfig(read, &options).await;
        return config.map_err(|error| failed(error.to_string()));
    }
    let in_cluster = match Config::incluster() {
        Ok(config) => return Ok(config),
        Err(error) => error.to_string(),
    };
    // The kubelet gives this to every pod.
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Err(ClientError::ServiceAccount(in_cluster));
    }
    let config = Config::from_kubeconfig(&options).await;
    config.map_err(|error| ClientError::Nowhere { in_cluster, kubeconfig: error.to_string() })
}

/// A client with our timeouts.
///
/// # Errors
/// If certificates or credentials do not work.
pub fn client(config: &Config) -> Result<Client, ClientError> {
    use_ring();
    let failed = |error: kube::Error| ClientError::Setup(error.to_string());
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECTING));
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(PROBES_EVERY));
    http.set_keepalive_retries(Some(PROBES));
    http.set_tcp_user_timeout(Some(KEEPALIVE + PROBES_EVERY * PROBES));
    let https = config.rustls_https_connector_with_connector(http).map_err(failed)?;
    let mut builder = HttpClient::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE).pool_max_idle_per_host(2).pool_timer(TokioTimer::new());
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(failed)?)
        .layer(config.extra_headers_layer().map_err(failed)?)
        .layer(TimeoutLayer::new(BEGINNING))
        .map_err(BoxError::from)
        .service(builder.build::<_, Body>(https));
    Ok(Client::new(service, config.default_namespace.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bad_kubeconfig_is_named() {
        let missing = connect(Some(Path::new("/nonexistent/config"))).await.err().unwrap().to_string();
        assert!(missing.contains("/nonexistent/config"), "{missing}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        for text in ["", "]", "apiVersion: v1\nkind: Config\ncurrent-context: nowhere\n"] {
            std::fs::write(&path, text).unwrap();
            let error = connect(Some(&path)).await.err().unwrap().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
    }
}
