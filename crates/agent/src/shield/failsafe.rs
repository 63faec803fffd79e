//! Who and what keeps this host reachable, as it is now; see [`portcullis_policy::shield::failsafe`].

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_inventory::reach::{gateways, peers_at};
use portcullis_policy::shield::failsafe::{Danger, Failsafe, Peer, Port, added};
use portcullis_policy::shield::rules::{Protocol, Rule};

use super::Keeper;
use crate::config::Config;
use crate::control::Fault;

/// SSH's port.
const SSH: u16 = 22;
/// Asking the kernel for all connections takes milliseconds: so many changes a second share an answer.
const FRESH: Duration = Duration::from_secs(1);

/// What must stay reachable: what the configuration says of it, and how it was when it was last looked at.
#[derive(Debug)]
pub(super) struct Watch {
    ports: Vec<Port>,
    kubeconfig: Option<PathBuf>,
    seen: Option<(Instant, Arc<Failsafe>)>,
}

/// What is kept out already, so that only what a change adds is refused.
pub(super) struct Dangers {
    failsafe: Arc<Failsafe>,
    by_list: Vec<Danger>,
}

impl Watch {
    pub fn of(config: &Config) -> Self {
        let port = |address: SocketAddr, what: &str| Port {
            port: address.port(),
            what: format!("{what} (port {})", address.port()),
        };
        let api =
            config.listen.filter(|address| !address.ip().is_loopback()).map(|at| port(at, "the agent's API"));
        let kubernetes = Some(&config.kubernetes).filter(|kubernetes| kubernetes.enabled);
        let peers = kubernetes.and_then(|kubernetes| kubernetes.listener().ok().flatten());
        let hub = peers.map(|at| port(at, "the agent's API for the hub"));
        let ssh = Port { port: SSH, what: format!("SSH (port {SSH})") };
        let kubeconfig = kubernetes.map(|kubernetes| match kubernetes.kubeconfig.as_os_str().is_empty() {
            false => kubernetes.kubeconfig.clone(),
            true => std::env::var_os("KUBECONFIG").map(Into::into).unwrap_or_default(),
        });
        Self { ports: [ssh].into_iter().chain(api).chain(hub).collect(), kubeconfig, seen: None }
    }

    /// As it is, or was a moment ago.
    fn now(&mut self) -> Arc<Failsafe> {
        if let Some((at, seen)) = &self.seen
            && at.elapsed() < FRESH
        {
            return Arc::clone(seen);
        }
        let seen = Arc::new(self.look());
        self.seen = Some((Instant::now(), Arc::clone(&seen)));
        seen
    }

    fn look(&self) -> Failsafe {
        let gateways = gateways().into_iter().map(|address| Peer {
            address,
            protocol: None,
            what: format!("the default route's neighbour {address}"),
        });
        let shells = peers_at(SSH).into_iter().map(|address| Peer {
            address,
            protocol: Some(Protocol::TCP),
            what: format!("somebody who is logged in by SSH from {address}"),
        });
        let servers = self.api_servers().into_iter().map(|address| Peer {
            address,
            protocol: Some(Protocol::TCP),
            what: format!("the kube-apiserver {address}"),
        });
        Failsafe::new(gateways.chain(shells).chain(servers), self.ports.clone())
    }

    fn api_servers(&self) -> BTreeSet<IpAddr> {
        let in_cluster = std::env::var("KUBERNETES_SERVICE_HOST").ok().and_then(|text| text.parse().ok());
        let configured =
            self.kubeconfig.as_deref().filter(|path| !path.as_os_str().is_empty()).map(servers_of);
        in_cluster.into_iter().chain(configured.into_iter().flatten()).collect()
    }
}

/// Refuses what would keep out what it must not, unless somebody insists.
pub(super) fn forbid(newly: &[Danger], force: bool) -> Result<(), Fault> {
    if newly.is_empty() || force {
        return Ok(());
    }
    Err(Fault::Conflict(format!(
        "this would cut the host off: {}; nothing was changed (--force does it all the same)",
        sentences(newly).join("; ")
    )))
}

/// As people read them.
pub(super) fn sentences(dangers: &[Danger]) -> Vec<String> {
    dangers.iter().map(ToString::to_string).collect()
}

impl Keeper {
    pub(super) fn dangers(&mut self) -> Dangers {
        let failsafe = self.failsafe.now();
        let by_list = failsafe.blocked_by_list(&self.book);
        Dangers { failsafe, by_list }
    }

    /// What the blocklist keeps out now and did not before.
    pub(super) fn newly_blocked(&self, before: &Dangers) -> Vec<Danger> {
        added(&before.by_list, before.failsafe.blocked_by_list(&self.book))
    }

    /// What rules keep out and did not before.
    pub(super) fn newly_dropped(&mut self, before: &[Rule], after: &[Rule]) -> Vec<Danger> {
        let failsafe = self.failsafe.now();
        added(&failsafe.blocked_by_rules(before), failsafe.blocked_by_rules(after))
    }
}

/// Servers by address in a kubeconfig. (One by name is behind a resolver, whose answer may change any time.)
fn servers_of(path: &Path) -> Vec<IpAddr> {
    let text = read_to_string(path).unwrap_or_default();
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("server:"));
    let address = |url: &str| {
        let host = url.trim().trim_matches(['"', '\'']).split_once("://")?.1;
        let host = host.split('/').next()?;
        host.parse::<SocketAddr>()
            .map(|at| at.ip())
            .ok()
            .or_else(|| host.trim_matches(['[', ']']).parse().ok())
    };
    servers.filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_found_in_a_kubeconfig() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, "clusters:\n- cluster:\n    server: https://10.0.0.1:6443\n- cluster:\n    server: \"https://[2001:db8::1]:6443/x\"\n- cluster: {}\n    server: https://api.example:6443\n").unwrap();
        let expected: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(servers_of(&path), expected);
    }
}
