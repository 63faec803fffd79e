//! How a control plane is to be, and its programs' arguments.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rcgen::KeyPair;
use serde_json::json;

use super::trust::Authority;

/// Address of the Service `kubernetes` in a cluster with nodes.
pub const SERVICE_ADDRESS: &str = "10.96.0.1";
/// What tokens of service accounts say of their origin, and for whom they are where nobody asked for an audience.
const ISSUER: &str = "https://kubernetes.default.svc";
/// Of several alpha features of 1.20 that are normal today.
pub const FEATURES: &str = "IPv6DualStack=true,BoundServiceAccountTokenVolume=true";
/// The administrator's token.
pub const ADMIN_TOKEN: &str = "administrator-of-a-lab";

/// How a control plane is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Address of the API server, which the namespace must have.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// With controller manager and scheduler.
    pub controllers: bool,
    /// Controllers mind whether nodes still report themselves.
    pub node_lifecycle: bool,
    /// Further arguments of the API server.
    pub arguments: Vec<String>,
}

impl Default for Plan {
    /// An API server alone, on loopback.
    fn default() -> Self {
        Self {
            address: "127.0.0.1".to_owned(),
            port: 6443,
            controllers: false,
            node_lifecycle: true,
            arguments: Vec::new(),
        }
    }
}

impl Plan {
    /// The API server's address as clients need it.
    pub(super) fn url(&self) -> String {
        format!("https://{}:{}", self.address, self.port)
    }
}

/// Writes what the API server reads.
pub fn write_files(directory: &Path, authority: &Authority) -> Result<()> {
    fs::create_dir_all(directory.join("pki"))?;
    fs::write(directory.join("pki/clients.crt"), authority.pem())?;
    let accounts = KeyPair::generate()?;
    fs::write(directory.join("pki/accounts.key"), accounts.serialize_pem())?;
    fs::write(directory.join("pki/accounts.pub"), accounts.public_key_pem())?;
    fs::write(directory.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))?;
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    });
    Ok(fs::write(directory.join("audit.json"), policy.to_string())?)
}

/// etcd's arguments. It is gone with its lab: nothing has to reach the disk.
pub fn etcd(directory: &Path) -> Vec<String> {
    [
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        // It waits for that long whether others want to lead, and there are none.
        "--heartbeat-interval=10",
        "--election-timeout=100",
        "--logger=zap",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([format!("--data-dir={}/etcd", directory.display())])
    .collect()
}

/// The API server's arguments.
pub fn api_server(directory: &Path, plan: &Plan) -> Vec<String> {
    let at = directory.display();
    let mut arguments = vec![
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        "--insecure-port=0".to_owned(),
        format!("--secure-port={}", plan.port),
        format!("--advertise-address={}", plan.address),
        format!("--cert-dir={at}/pki"),
        format!("--client-ca-file={at}/pki/clients.crt"),
        format!("--token-auth-file={at}/tokens.csv"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-account-key-file={at}/pki/accounts.pub"),
        format!("--service-account-signing-key-file={at}/pki/accounts.key"),
        "--allow-privileged=true".to_owned(),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--feature-gates={FEATURES}"),
        format!("--audit-policy-file={at}/audit.json"),
        format!("--audit-log-path={at}/audit.log"),
    ];
    if plan.controllers {
        arguments.push("--bind-address=0.0.0.0".to_owned());
        arguments.push("--enable-admission-plugins=NodeRestriction".to_owned());
    } else {
        arguments.push(format!("--bind-address={}", plan.address));
        // Loopback is nothing that it would publish; and nobody makes accounts for pods.
        arguments.push("--endpoint-reconciler-type=none".to_owned());
        arguments.push("--disable-admission-plugins=ServiceAccount".to_owned());
    }
    arguments.extend(plan.arguments.iter().cloned());
    arguments
}

/// The controller manager's arguments.
pub fn controllers(directory: &Path, kubeconfig: &Path, plan: &Plan) -> Vec<String> {
    let at = directory.display();
    let lifecycle = if plan.node_lifecycle { "*" } else { "*,-nodelifecycle" };
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        "--port=0".to_owned(),
        "--secure-port=0".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={at}/pki/accounts.key"),
        format!("--root-ca-file={at}/pki/ca.crt"),
        format!("--controllers={lifecycle}"),
        format!("--feature-gates={FEATURES}"),
    ]
}

/// The scheduler's arguments.
pub fn scheduler(kubeconfig: &Path) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        "--port=0".to_owned(),
        "--secure-port=0".to_owned(),
    ]
}
