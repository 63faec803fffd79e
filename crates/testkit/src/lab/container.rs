//! One container of a lab.

use anyhow::Result;
use portcullis_abi::{Ipv4, Ipv6, Mac};
use portcullis_probe::Identity;

use super::BRIDGE_MAC;
use crate::namespace::Namespace;
use crate::ping::{PingStream, Pings, ping};
use crate::process::Process;
use crate::traffic::Listener;

/// A network namespace with `eth0` in it, whose other end is on the lab's bridge.
#[derive(Debug)]
pub struct Container {
    number: usize,
    namespace: Namespace,
    mac: Mac,
    ipv4: Ipv4,
    ipv6: Ipv6,
}

impl Container {
    pub(super) fn new(number: usize, namespace: Namespace) -> Result<Self> {
        let last = u8::try_from(number + 10)?;
        let mut ipv6 = [0; 16];
        (ipv6[0], ipv6[1], ipv6[15]) = (0xfd, 0x77, last);
        Ok(Self {
            number,
            namespace,
            mac: Mac([0x02, 0x77, 0, 0, 0, last]),
            ipv4: Ipv4([10, 77, 0, last]),
            ipv6: Ipv6(ipv6),
        })
    }

    /// Its number, from 1.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Name of its end on the host.
    #[must_use]
    pub fn host_interface(&self) -> String {
        format!("veth-c{}", self.number)
    }

    /// Its namespace.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// MAC of its `eth0`.
    #[must_use]
    pub const fn mac(&self) -> Mac {
        self.mac
    }

    /// Its IPv4 address.
    #[must_use]
    pub const fn ipv4(&self) -> Ipv4 {
        self.ipv4
    }

    /// Its global IPv6 address.
    #[must_use]
    pub const fn ipv6(&self) -> Ipv6 {
        self.ipv6
    }

    /// Both addresses as `--address` takes them.
    #[must_use]
    pub fn addresses(&self) -> String {
        format!("{},{}", self.ipv4, self.ipv6)
    }

    /// Who it is, for the suite, with `neighbour` as the one whose name is taken.
    #[must_use]
    pub fn identity(&self, neighbour: &Self) -> Identity {
        let gateway = Ipv4([10, 77, 0, 1]);
        let mut gateway6 = self.ipv6.0;
        gateway6[15] = 1;
        Identity {
            ipv4: Some(self.ipv4),
            prefix4: 24,
            ipv6: Some(self.ipv6),
            far_mac: neighbour.mac,
            gateway_mac: BRIDGE_MAC,
            gateway4: Some(gateway),
            gateway6: Some(Ipv6(gateway6)),
            neighbour_mac: neighbour.mac,
            neighbour4: Some(neighbour.ipv4),
            neighbour6: Some(neighbour.ipv6),
            node4: Some(gateway),
            node6: Some(Ipv6(gateway6)),
            ..Identity::new(self.mac)
        }
    }

    /// Runs a command line inside; gives its standard output.
    pub fn run(&self, line: &str) -> Result<String> {
        self.namespace.run(line)
    }

    /// Starts a command line inside.
    pub fn spawn(&self, line: &str) -> Result<Process> {
        self.namespace.spawn(line)
    }

    /// Pings so many times and counts the answers.
    pub fn ping(&self, address: &str, count: u32) -> Result<Pings> {
        ping(&self.namespace, address, count)
    }

    /// Pings on and on, until it is stopped.
    pub fn ping_stream(&self, address: &str) -> Result<PingStream> {
        PingStream::start(&self.namespace, address)
    }

    /// Sends one frame from `eth0`, byte for byte.
    pub fn send_raw(&self, frame: &[u8]) -> Result<()> {
        Ok(self.namespace.socket("eth0")?.send(frame)?)
    }

    /// Counts the frames that arrive on `eth0` and match.
    pub fn listen(&self, matches: impl Fn(&[u8]) -> bool + Send + 'static) -> Result<Listener> {
        Listener::start(&self.namespace, "eth0", matches)
    }
}
