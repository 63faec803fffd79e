//! The section `[kubernetes]`: this agent as one of a cluster's.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use portcullis_policy::span::Span;
use serde::{Deserialize, Serialize};

/// Namespace of ours, where nobody says.
const NAMESPACE: &str = "portcullis-system";

/// The section `[kubernetes]`. What is empty comes from the environment that the chart gives, else it is the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesSection {
    /// Whether this is a node of a cluster.
    pub enabled: bool,
    /// Name of the node; empty: `$NODE_NAME`, else the host's name.
    pub node: String,
    /// How to reach the API server; empty: as pods do, else `$KUBECONFIG`.
    pub kubeconfig: PathBuf,
    /// Our namespace; empty: `$POD_NAMESPACE`, else `portcullis-system`.
    pub namespace: String,
    /// Where hubs are listened to, with mutual TLS; empty: nowhere.
    pub peer_listen: String,
    /// What hubs connect to; empty: `$POD_IP` and the port of `peer_listen`.
    pub peer_address: String,
    /// The map is published at most this often.
    pub publish_interval: Span,
    /// Pairs of this host that no pod claims, once everybody was asked about them.
    pub unknown: Unknown,
    /// Host-side interfaces that are no pod's and are left alone; `*` at the end stands for any rest.
    pub trusted: Vec<String>,
    /// The `DaemonSet` that this agent is of; empty: `$PORTCULLIS_DAEMONSET`. When it was deleted, the end of the agent opens the
    /// gate and takes the CNI plugin out of the chain.
    pub daemonset: String,
}

/// What becomes of the interfaces that are nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// What comes from them is dropped.
    #[default]
    Drop,
    /// They are treated as any interface without a binding.
    Allow,
}

impl Default for KubernetesSection {
    fn default() -> Self {
        Self {
            enabled: false,
            node: String::new(),
            kubeconfig: PathBuf::new(),
            namespace: String::new(),
            peer_listen: "0.0.0.0:8475".to_owned(),
            peer_address: String::new(),
            publish_interval: Span::from_secs(10),
            unknown: Unknown::Drop,
            trusted: vec!["lxc_health".to_owned()],
            daemonset: String::new(),
        }
    }
}

impl KubernetesSection {
    /// Takes what is not said from the environment (given here, so that tests can have their own) and the host.
    pub fn complete(&mut self, variable: impl Fn(&str) -> Option<String>, host: &str) {
        let fill = |field: &mut String, name: &str, otherwise: &str| {
            if field.is_empty() {
                *field =
                    variable(name).filter(|text| !text.is_empty()).unwrap_or_else(|| otherwise.to_owned());
            }
        };
        fill(&mut self.node, "NODE_NAME", host);
        fill(&mut self.namespace, "POD_NAMESPACE", NAMESPACE);
        fill(&mut self.daemonset, "PORTCULLIS_DAEMONSET", "");
        if self.peer_address.is_empty()
            && let Some(port) = self.listener().ok().flatten().map(|address| address.port())
            && let Some(ip) = variable("POD_IP").and_then(|text| text.parse::<IpAddr>().ok())
        {
            self.peer_address = SocketAddr::new(ip, port).to_string();
        }
    }

    /// Where hubs are listened to.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn listener(&self) -> Result<Option<SocketAddr>, String> {
        if self.peer_listen.is_empty() {
            return Ok(None);
        }
        let parsed = self.peer_listen.parse();
        parsed
            .map(Some)
            .map_err(|_| "write an address and a port, such as 0.0.0.0:8475, or nothing".to_owned())
    }

    /// What is wrong: the key, and what to write.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        self.listener().map_err(|why| ("kubernetes.peer_listen", why))?;
        if !self.peer_address.is_empty() && self.peer_address.parse::<SocketAddr>().is_err() {
            return Err((
                "kubernetes.peer_address",
                "write an IP address and a port, such as 10.0.0.5:8475".to_owned(),
            ));
        }
        let interval = self.publish_interval.millis();
        if !(1000..=600_000).contains(&interval) {
            return Err(("kubernetes.publish_interval", "write a length of time from 1s to 10m".to_owned()));
        }
        let is_name = |text: &str| {
            text.len() <= 253
                && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.".contains(&c))
        };
        for (key, text) in [
            ("kubernetes.node", &self.node),
            ("kubernetes.namespace", &self.namespace),
            ("kubernetes.daemonset", &self.daemonset),
        ] {
            if !is_name(text) {
                return Err((
                    key,
                    format!(
                        "{text:?} is no name of a Kubernetes object: use lower-case letters, digits, - and ."
                    ),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_comes_from_the_environment() {
        let environment = |name: &str| match name {
            "NODE_NAME" => Some("node-a".to_owned()),
            "POD_IP" => Some("fd00::5".to_owned()),
            _ => None,
        };
        let mut section = KubernetesSection::default();
        section.complete(environment, "host");
        assert_eq!((section.node.as_str(), section.namespace.as_str()), ("node-a", NAMESPACE));
        assert_eq!((section.peer_address.as_str(), section.daemonset.as_str()), ("[fd00::5]:8475", ""));
        let mut section =
            KubernetesSection { node: "mine".to_owned(), peer_listen: String::new(), ..section };
        section.peer_address.clear();
        section.complete(environment, "host");
        assert_eq!((section.node.as_str(), section.peer_address.as_str()), ("mine", ""));
        assert_eq!(section.check(), Ok(()));
    }

    #[test]
    fn nonsense_is_refused_by_its_key() {
        for (key, change) in [
            (
                "kubernetes.peer_listen",
                (|s: &mut KubernetesSection| s.peer_listen = "8475".into()) as fn(&mut _),
            ),
            ("kubernetes.peer_address", |s| s.peer_address = "node-a:8475".into()),
            ("kubernetes.publish_interval", |s| s.publish_interval = Span::from_millis(10)),
            ("kubernetes.node", |s| s.node = "Node A".into()),
        ] {
            let mut section = KubernetesSection::default();
            change(&mut section);
            assert_eq!(section.check().unwrap_err().0, key);
        }
    }
}
