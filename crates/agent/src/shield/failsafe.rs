//! Who and what keeps this host reachable, as it is now; see [`portcullis_policy::shield::failsafe`].

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use portcullis_policy::shield::failsafe::{Failsafe, Peer, Port};
use portcullis_policy::shield::rules::{Protocol, Rule};

use super::Keeper;
use crate::config::Config;
use crate::control::Fault;
use crate::core::Agent;

/// SSH's port.
const SSH: u16 = 22;

/// What the configuration says of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    ports: Vec<Port>,
    kubeconfig: Option<std::path::PathBuf>,
}

/// What is kept out already, so that only what a change adds is refused.
pub(super) struct Dangers {
    failsafe: Failsafe,
    by_list: Vec<String>,
}

impl Settings {
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
        Self { ports: [ssh].into_iter().chain(api).chain(hub).collect(), kubeconfig }
    }

    /// As it is now.
    fn now(&self) -> Failsafe {
        let gateways = gateways().into_iter().map(|address| Peer {
            address,
            protocol: None,
            what: format!("the default route's neighbour {address}"),
        });
        let shells = shells().into_iter().map(|address| Peer {
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
pub(super) fn forbid(newly: Vec<String>, force: bool) -> Result<(), Fault> {
    if newly.is_empty() || force {
        return Ok(());
    }
    Err(Fault::Conflict(format!(
        "this would cut the host off: {}; nothing was changed (--force does it all the same)",
        newly.join("; ")
    )))
}

impl Keeper {
    pub(super) fn dangers(&self, _agent: &Agent) -> Dangers {
        let failsafe = self.failsafe.now();
        let by_list = failsafe.blocked_by_list(&self.book);
        Dangers { failsafe, by_list }
    }

    /// What the blocklist keeps out now and did not before.
    pub(super) fn newly_blocked(&self, _agent: &Agent, before: &Dangers) -> Vec<String> {
        let after = before.failsafe.blocked_by_list(&self.book);
        let names = |line: &String| line.split(" is in ").next().unwrap_or_default().to_owned();
        let known: BTreeSet<String> = before.by_list.iter().map(names).collect();
        after.into_iter().filter(|line| !known.contains(&names(line))).collect()
    }

    /// What rules keep out and did not before.
    pub(super) fn newly_dropped(&self, _agent: &Agent, before: &[Rule], after: &[Rule]) -> Vec<String> {
        let failsafe = self.failsafe.now();
        let names = |line: &String| line.split(" is dropped by ").next().unwrap_or_default().to_owned();
        let known: BTreeSet<String> = failsafe.blocked_by_rules(before).iter().map(names).collect();
        failsafe.blocked_by_rules(after).into_iter().filter(|line| !known.contains(&names(line))).collect()
    }
}

/// Neighbours that default routes lead over.
pub(super) fn gateways() -> BTreeSet<IpAddr> {
    let v4 = read_to_string("/proc/self/net/route").unwrap_or_default();
    let v6 = read_to_string("/proc/self/net/ipv6_route").unwrap_or_default();
    gateways4(&v4).chain(gateways6(&v6)).collect()
}

/// Of `/proc/net/route`: interface, destination, gateway, …, mask; numbers in memory order.
fn gateways4(table: &str) -> impl Iterator<Item = IpAddr> + '_ {
    table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let address = u32::from_str_radix(gateway, 16).ok().filter(|address| *address != 0)?;
        (destination == "00000000").then(|| IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(address))))
    })
}

/// Of `/proc/net/ipv6_route`: destination, length, source, length, next hop, …
fn gateways6(table: &str) -> impl Iterator<Item = IpAddr> + '_ {
    table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (_, len, next_hop) = (fields.next()?, fields.next()?, fields.nth(2)?);
        let address = u128::from_str_radix(next_hop, 16).ok().filter(|address| *address != 0)?;
        (len == "00").then(|| IpAddr::V6(Ipv6Addr::from_bits(address)))
    })
}

/// Peers of established connections to SSH.
fn shells() -> BTreeSet<IpAddr> {
    let v4 = read_to_string("/proc/self/net/tcp").unwrap_or_default();
    let v6 = read_to_string("/proc/self/net/tcp6").unwrap_or_default();
    let peers = v4.lines().chain(v6.lines()).filter_map(|line| peer_of(line, SSH));
    peers.filter(|address| !address.is_loopback()).collect()
}

/// The peer of an established connection to a port, in a line of `/proc/net/tcp` or `tcp6`.
fn peer_of(line: &str, port: u16) -> Option<IpAddr> {
    const ESTABLISHED: &str = "01";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    let (_, local_port) = local.split_once(':')?;
    if state != ESTABLISHED || u16::from_str_radix(local_port, 16).ok()? != port {
        return None;
    }
    // Words of four bytes, each in memory order.
    let (address, _) = remote.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::from_be);
    if address.len() == 8 {
        return Some(IpAddr::V4(Ipv4Addr::from_bits(word(0)?)));
    }
    let bits = (0..4).try_fold(0u128, |bits, at| Some(bits << 32 | u128::from(word(at)?)))?;
    Some(IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical())
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
    fn tables_of_the_kernel_are_read() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        assert_eq!(gateways4(routes).collect::<Vec<_>>(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        let routes = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 1 0 3 eth0\n\
            20010db8000000000000000000000000 20 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 1 0 1 eth0\n";
        assert_eq!(gateways6(routes).collect::<Vec<_>>(), ["fe80::1".parse::<IpAddr>().unwrap()]);
        let line = "   1: 0F02000A:0016 0202000A:CE2C 01 00000000:00000000 02:000AFC7C 00000000 0 0 22 4";
        assert_eq!(peer_of(line, 22), Some("10.0.2.2".parse().unwrap()));
        assert_eq!(peer_of(line, 23), None);
        assert_eq!(peer_of(&line.replace(" 01 ", " 0A "), 22), None);
        let line =
            "  0: 0000000000000000FFFF00000F02000A:0016 0000000000000000FFFF00000202000A:CE2C 01 0:0 0:0 0";
        assert_eq!(peer_of(line, 22), Some("10.0.2.2".parse().unwrap()));
    }

    #[test]
    fn servers_are_found_in_a_kubeconfig() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, "clusters:\n- cluster:\n    server: https://10.0.0.1:6443\n- cluster:\n    server: \"https://[2001:db8::1]:6443/x\"\n- cluster: {}\n    server: https://api.example:6443\n").unwrap();
        let expected: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(servers_of(&path), expected);
    }
}
