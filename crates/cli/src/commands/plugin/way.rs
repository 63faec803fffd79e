//! The way to a hub: through the API server, or straight.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use portcullis_kubernetes::client;
use portcullis_kubernetes::peer::certificates;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;

use super::hub::Hub;
use crate::args::PluginGlobal;
use crate::failure::Failure;

/// Tokens that hubs take.
const AUDIENCE: &str = "portcullis-hub";
/// The shortest life that the API server gives.
const TOKEN_SECONDS: i64 = 600;
/// Where a hub listens if its pod does not say.
const PORT: u16 = 8443;

/// How hubs are reached.
pub struct Way {
    client: Client,
    namespace: String,
    default_namespace: String,
    straight: Option<String>,
    certificates: BTreeMap<String, CertificateDer<'static>>,
    token: String,
}

impl Way {
    /// Finds out all that is needed.
    pub async fn find(global: &PluginGlobal, account: &str) -> Result<Self> {
        let config = config(global).await?;
        let default_namespace = config.default_namespace.clone();
        let client = client::client(&config)?;
        let namespace = global.hub_namespace.clone();
        let certificates =
            certificates::published(&client, &namespace).await.map_err(Failure::unreachable)?;
        if certificates.is_empty() {
            return Err(Failure::unreachable(format!(
                "no hub has published a certificate in namespace {namespace}: is Portcullis installed there (--hub-namespace), \
                 and does its Deployment portcullis-hub run?"
            )));
        }
        let token = token(&client, &namespace, account).await?;
        Ok(Self { client, namespace, default_namespace, straight: global.hub.clone(), certificates, token })
    }

    /// Namespace of pods that are named without one.
    pub fn default_namespace(&self) -> &str {
        &self.default_namespace
    }

    /// A connection with any hub.
    pub async fn open(&self) -> Result<Hub> {
        if let Some(address) = &self.straight {
            return self.open_straight(address).await;
        }
        let mut why = None;
        for pod in self.hubs().await? {
            match self.open_pod(&pod).await {
                Ok(hub) => return Ok(hub),
                Err(error) => why = Some(error),
            }
        }
        let namespace = &self.namespace;
        Err(why.unwrap_or_else(|| Failure::unreachable(format!("no hub is ready in namespace {namespace}"))))
    }

    /// A connection with the hub in this pod.
    pub async fn open_pod(&self, pod: &str) -> Result<Hub> {
        let certificate = self.certificates.get(pod);
        let certificate = certificate.with_context(|| format!("hub {pod} has published no certificate"))?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let unreachable = |what: &str, error: &dyn std::fmt::Display| {
            Failure::unreachable(format!("cannot {what} hub {pod} in namespace {}: {error}", self.namespace))
        };
        let found = pods.get(pod).await.map_err(|error| unreachable("look at", &error))?;
        let port = port(&found);
        let forwarded = pods.portforward(pod, &[port]).await;
        let mut forwarded = forwarded.map_err(|error| unreachable("be forwarded to", &error))?;
        let stream = forwarded.take_stream(port).context("a port-forward without a stream")?;
        // It ends when the stream does.
        tokio::spawn(async move { forwarded.join().await });
        Hub::connect(stream, certificate, &self.token).await.map_err(|error| unreachable("speak to", &error))
    }

    /// Which one listens there, its certificate tells.
    async fn open_straight(&self, address: &str) -> Result<Hub> {
        let mut why = None;
        for certificate in self.certificates.values() {
            let unreachable =
                |error: &dyn std::fmt::Display| Failure::unreachable(format!("no hub at {address}: {error}"));
            let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
            match Hub::connect(stream, certificate, &self.token).await {
                Ok(hub) => return Ok(hub),
                Err(error) => why = Some(unreachable(&error)),
            }
        }
        Err(why.unwrap_or_else(|| Failure::unreachable("no hub has published a certificate")))
    }

    /// Hubs that are ready, and whose certificate is known.
    async fn hubs(&self) -> Result<Vec<String>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let labels = "app.kubernetes.io/name=portcullis,app.kubernetes.io/component=hub";
        let listed = pods.list(&ListParams::default().labels(labels)).await;
        let listed = listed.map_err(|error| {
            Failure::unreachable(format!("cannot list pods of namespace {}: {error}", self.namespace))
        })?;
        let ready = listed.items.iter().filter(|pod| is_ready(pod)).map(ResourceExt::name_any);
        Ok(ready.filter(|pod| self.certificates.contains_key(pod)).collect())
    }
}

async fn config(global: &PluginGlobal) -> Result<Config> {
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let config = match &global.kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path).map_err(|error| Failure::usage(error.to_string()))?;
            Config::from_custom_kubeconfig(read, &options).await
        }
        None => Config::from_kubeconfig(&options).await,
    };
    config.map_err(|error| Failure::usage(format!("the kubeconfig cannot be used: {error}")))
}

async fn token(client: &Client, namespace: &str, account: &str) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let spec = TokenRequestSpec {
        audiences: Some(vec![AUDIENCE.to_owned()]),
        expiration_seconds: Some(TOKEN_SECONDS),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
    let answer = answer.map_err(|error| {
        let role = account.replace("portcullis-", "portcullis-kubectl-");
        anyhow::anyhow!(
            "no token of ServiceAccount {account} in namespace {namespace}: {error} (bind yourself the Role {role})"
        )
    })?;
    answer.status.and_then(|status| status.token).context("the API server gave no token")
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    pod.metadata.deletion_timestamp.is_none() && ready.any(|condition| condition.status == "True")
}

fn port(pod: &Pod) -> u16 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let named = ports.find(|port| port.name.as_deref() == Some("api"));
    named.and_then(|port| u16::try_from(port.container_port).ok()).unwrap_or(PORT)
}
