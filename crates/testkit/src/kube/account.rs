//! Service accounts and their tokens.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::access::is_not_found;
use super::control::ControlPlane;

impl ControlPlane {
    /// A token for a service account, which is made if it is not there; for these audiences (none: the API server).
    pub fn token(&self, namespace: &str, account: &str, audiences: &[&str]) -> Result<String> {
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        if self.get_text(&format!("{accounts}/{account}")).is_err_and(|error| is_not_found(&error)) {
            let made = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
            self.send("POST", &accounts, Some(&made))?;
        }
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": audiences, "expirationSeconds": 3600},
        });
        let answer = self.send("POST", &format!("{accounts}/{account}/token"), Some(&request))?;
        let answer: Value = serde_json::from_str(&answer)?;
        Ok(answer["status"]["token"].as_str().context("an answer without a token")?.to_owned())
    }

    /// Path of a kubeconfig for a service account.
    pub fn account_kubeconfig(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let token = self.token(namespace, account, &[])?;
        self.kubeconfig_with_token(&format!("{namespace}-{account}"), &token)
    }

    /// Makes a namespace, if it is not there.
    pub fn ensure_namespace(&self, name: &str) -> Result<()> {
        let path = "/api/v1/namespaces";
        let is_there = || self.get_text(&format!("{path}/{name}")).is_ok();
        if is_there() {
            return Ok(());
        }
        let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        match self.send("POST", path, Some(&made)) {
            // The API server makes its own ones at its start, perhaps between our two questions.
            Err(_) if is_there() => Ok(()),
            made => made.map(drop),
        }
    }
}
