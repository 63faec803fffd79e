//! Speaking to the API server: as the administrator, and as anybody.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::control::ControlPlane;
use super::programs::tool;
use super::setup::ADMIN_TOKEN;
use crate::process::checked_output;
use crate::wait::wait_for;

/// Between two questions to the API server.
const PAUSE: Duration = Duration::from_millis(100);

impl ControlPlane {
    /// Path of the administrator's kubeconfig.
    pub fn admin(&self) -> Result<PathBuf> {
        self.write_kubeconfig("admin", &json!({"token": ADMIN_TOKEN}))
    }

    /// Path of a kubeconfig for any user, by a client certificate; in this group, if it is not empty.
    pub fn kubeconfig(&self, user: &str, group: &str) -> Result<PathBuf> {
        let [certificate, key] = self.authority.issue(&self.directory().join("pki"), user, group)?;
        self.write_kubeconfig(user, &json!({"client-certificate": certificate, "client-key": key}))
    }

    /// Path of a kubeconfig with a token.
    pub fn kubeconfig_with_token(&self, name: &str, token: &str) -> Result<PathBuf> {
        self.write_kubeconfig(name, &json!({"token": token}))
    }

    /// Path of the certificate that the API server's own is to be checked with.
    #[must_use]
    pub fn authority_path(&self) -> PathBuf {
        self.directory().join("pki/ca.crt")
    }

    /// Runs something with a client, on a thread in the control plane's namespace.
    pub fn call<T: Send>(&self, ask: impl AsyncFnOnce(Client) -> Result<T> + Send) -> Result<T> {
        self.call_as(&self.admin()?, ask)
    }

    /// The same as whom a kubeconfig says.
    pub fn call_as<T: Send>(
        &self,
        kubeconfig: &Path,
        ask: impl AsyncFnOnce(Client) -> Result<T> + Send,
    ) -> Result<T> {
        self.namespace().within(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let file = Kubeconfig::read_from(kubeconfig)?;
                let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
                config.proxy_url = None;
                ask(Client::try_from(config)?).await
            })
        })?
    }

    /// Gets a path of the API, as JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        let text = self.get_text(path)?;
        serde_json::from_str(&text).with_context(|| format!("GET {path}: {text}"))
    }

    /// Gets a path of the API.
    pub fn get_text(&self, path: &str) -> Result<String> {
        self.send("GET", path, None)
    }

    /// Sends an object to a path of the API: POST, PUT, or PATCH as a merge patch; gives the answer.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<String> {
        self.send_as(&self.admin()?, method, path, body)
    }

    /// The same as whom a kubeconfig says.
    pub fn send_as(
        &self,
        kubeconfig: &Path,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<String> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let bytes = body.map(ToString::to_string).unwrap_or_default().into_bytes();
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(bytes)?;
        self.call_as(kubeconfig, async |client| {
            client.request_text(request).await.with_context(|| format!("{method} {path}"))
        })
    }

    /// A command line of `kubectl`, as the administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        checked_output(self.kubectl_command(&self.admin()?)?.args(arguments))
    }

    /// `kubectl` with a kubeconfig.
    pub fn kubectl_command(&self, kubeconfig: &Path) -> Result<Command> {
        let mut command = self.namespace().command(tool("kubectl")?);
        // Not the machine's own: it keeps what it discovered there.
        command.env("HOME", self.directory()).env("KUBECONFIG", kubeconfig);
        Ok(command)
    }

    /// Applies manifests (YAML, or JSON), as `kubectl apply` does.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.directory())?;
        std::io::Write::write_all(&mut file, manifests.as_bytes())?;
        let path = file.path().to_str().context("a path that is not text")?;
        self.kubectl(&["apply", "-f", path]).map(drop)
    }

    /// Waits until an object of this path is as wanted, and gives it.
    pub fn wait_object(&self, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_for(&format!("{path} to be {what}"), || {
            if let Ok(object) = self.get(path) {
                if wanted(&object) {
                    return Some(object);
                }
                last = object;
            }
            std::thread::sleep(PAUSE);
            None
        });
        found.with_context(|| format!("the last that was seen: {last}"))
    }

    /// Waits until there is no object of this path.
    pub fn wait_gone(&self, path: &str) -> Result<()> {
        wait_for(&format!("{path} to be gone"), || {
            let gone = self.get_text(path).is_err_and(|error| is_not_found(&error));
            if !gone {
                std::thread::sleep(PAUSE);
            }
            gone.then_some(())
        })
    }

    /// Waits until a pod is ready, and gives it.
    pub fn wait_pod(&self, namespace: &str, name: &str) -> Result<Value> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        self.wait_object(&path, "ready", |pod| condition(pod, "Ready"))
    }

    /// Waits until a Deployment or DaemonSet has all of its pods ready.
    pub fn wait_rollout(&self, namespace: &str, what: &str) -> Result<()> {
        self.kubectl(&["--namespace", namespace, "rollout", "status", "--timeout=120s", what]).map(drop)
    }

    /// The requests that were answered, as the API server's audit log tells: user, verb, path.
    pub fn requests(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.directory().join("audit.log"))?;
        // The last line may be half written.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Who signed the API server's certificate is told by the file that it writes at its first start.
    pub(super) fn write_authority(&self) -> Result<()> {
        let path = self.authority_path();
        if path.exists() {
            return Ok(());
        }
        let chain = fs::read_to_string(self.directory().join("pki/apiserver.crt"))?;
        let Some(at) = chain.rfind("-----BEGIN").filter(|at| *at > 0 && chain.trim_end().ends_with("-----"))
        else {
            bail!("the API server's certificate came without its signer's");
        };
        Ok(fs::write(path, &chain[at..])?)
    }

    fn write_kubeconfig(&self, user: &str, credentials: &Value) -> Result<PathBuf> {
        let path = self.directory().join(format!("{}.kubeconfig", user.replace([':', '/'], "_")));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster":
                {"server": self.url(), "certificate-authority": self.authority_path()}}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
        });
        // Whole at any time: others may be reading it.
        let mut file = tempfile::NamedTempFile::new_in(self.directory())?;
        std::io::Write::write_all(&mut file, config.to_string().as_bytes())?;
        file.persist(&path)?;
        Ok(path)
    }
}

/// Whether the API server said that there is no such object.
pub fn is_not_found(error: &anyhow::Error) -> bool {
    let said = error.chain().find_map(|cause| cause.downcast_ref::<kube::Error>());
    matches!(said, Some(kube::Error::Api(status)) if status.code == 404)
}

/// Whether an object has a condition that holds.
pub fn condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == "True"))
}
