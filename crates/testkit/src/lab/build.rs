//! Building a lab with as few processes as possible.

use std::ops::Range;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{BRIDGE_MAC, Container, Lab, next_tag};
use crate::namespace::{Namespace, ip_batch};
use crate::sweep;
use crate::wait::wait_until;

/// What a lab is to have.
#[derive(Debug, Clone)]
pub struct Builder {
    containers: usize,
    outside: bool,
    honest_boot: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self { containers: 0, outside: true, honest_boot: false }
    }
}

impl Builder {
    /// So many containers.
    #[must_use]
    pub const fn containers(mut self, containers: usize) -> Self {
        self.containers = containers;
        self
    }

    /// No peer outside.
    #[must_use]
    pub const fn without_outside(mut self) -> Self {
        self.outside = false;
        self
    }

    /// Containers boot as real ones do: duplicate address detection, router solicitations, multicast
    /// reports. Without this they skip detection, so that their addresses are usable at once.
    #[must_use]
    pub const fn honest_boot(mut self) -> Self {
        self.honest_boot = true;
        self
    }

    /// Builds it.
    pub fn build(self) -> Result<Lab> {
        sweep::once();
        let tag = next_tag();
        let directory =
            TempDir::with_prefix(format!("{tag}-")).context("making a temporary directory for the lab")?;
        // From here on whatever fails, the half-made lab cleans up after itself.
        let mut lab = Lab {
            tag,
            host: None,
            outside: None,
            containers: Vec::new(),
            further: Vec::new(),
            cgroups: Vec::new(),
            directory,
            honest_boot: self.honest_boot,
        };
        let host = format!("{}-host", lab.tag);
        let outside = format!("{}-outside", lab.tag);
        let mut lines = format!("netns add {host}\n");
        if self.outside {
            lines += &format!("netns add {outside}\n");
        }
        ip_batch(&mut Command::new("ip"), &lines).context("making network namespaces (are you root?)")?;
        lab.host = Some(Namespace::open(&host)?);
        host_side(lab.host())?;
        if self.outside {
            lab.outside = Some(Namespace::open(&outside)?);
            outside_side(&lab)?;
        }
        containers(&mut lab, 1..self.containers + 1)?;
        Ok(lab)
    }
}

/// No surprises from what the machine's administrator has set for new namespaces.
const HOST_SETTINGS: [(&str, &str); 8] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
];

const CONTAINER_SETTINGS: [(&str, &str); 4] = [
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
];

const NO_DETECTION: [(&str, &str); 2] =
    [("ipv6/conf/all/accept_dad", "0"), ("ipv6/conf/default/accept_dad", "0")];

/// Where br_netfilter is loaded, it would trim and drop frames in the bridge.
const BRIDGE_SETTINGS: [(&str, &str); 3] = [
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
    ("bridge/bridge-nf-call-arptables", "0"),
];

fn host_side(host: &Namespace) -> Result<()> {
    host.sysctl(&HOST_SETTINGS)?;
    if Path::new("/proc/sys/net/bridge").exists() {
        host.sysctl(&BRIDGE_SETTINGS)?;
    }
    host.ip(&format!(
        "link set lo up\n\
         link add br0 address {BRIDGE_MAC} type bridge mcast_snooping 0 stp_state 0\n\
         link set br0 up\n\
         addr add 10.77.0.1/24 dev br0\n\
         addr add fd77::1/64 dev br0 nodad\n"
    ))
}

fn outside_side(lab: &Lab) -> Result<()> {
    let outside = lab.outside()?;
    outside.sysctl(&CONTAINER_SETTINGS)?;
    outside.sysctl(&NO_DETECTION)?;
    lab.host().ip(&format!(
        "link add uplink address 02:77:00:00:01:01 type veth peer name eth0 address 02:77:00:00:01:02 netns {}\n\
         link set uplink up\n\
         addr add 192.0.2.1/24 dev uplink\n\
         addr add 2001:db8::1/64 dev uplink nodad\n",
        outside.name()
    ))?;
    outside.ip("link set lo up\n\
         link set eth0 up\n\
         addr add 192.0.2.2/24 dev eth0\n\
         addr add 2001:db8::2/64 dev eth0 nodad\n\
         route add default via 192.0.2.1\n\
         route add default via 2001:db8::1\n")
}

/// Makes containers of these numbers.
pub fn containers(lab: &mut Lab, numbers: Range<usize>) -> Result<()> {
    let name = |number: usize| format!("{}-c{number}", lab.tag);
    let lines: String = numbers.clone().map(|number| format!("netns add {}\n", name(number))).collect();
    ip_batch(&mut Command::new("ip"), &lines)?;
    let names: Vec<(usize, String)> = numbers.clone().map(|number| (number, name(number))).collect();
    for (number, name) in names {
        let namespace = Namespace::open(&name)?;
        namespace.sysctl(&CONTAINER_SETTINGS)?;
        if !lab.honest_boot {
            namespace.sysctl(&NO_DETECTION)?;
        }
        lab.containers.push(Container::new(number, namespace)?);
    }
    plug_all(lab, numbers)
}

/// Makes a container's pair and gives its end the addresses.
pub fn plug(lab: &Lab, number: usize) -> Result<()> {
    plug_all(lab, number..number + 1)
}

fn plug_all(lab: &Lab, numbers: Range<usize>) -> Result<()> {
    let some: Vec<&Container> = lab.containers.iter().filter(|c| numbers.contains(&c.number())).collect();
    let lines: String = some
        .iter()
        .map(|c| {
            format!(
                "link add {0} type veth peer name eth0 address {1} netns {2}\n\
                 link set {0} master br0 up\n",
                c.host_interface(),
                c.mac(),
                c.namespace().name()
            )
        })
        .collect();
    lab.host().ip(&lines)?;
    for container in some {
        container.configure(!lab.honest_boot)?;
    }
    Ok(())
}

impl Container {
    /// Gives `eth0` its addresses and brings it up; without `quick`, as an honest container does it.
    fn configure(&self, quick: bool) -> Result<()> {
        let (v4, v6) = (self.ipv4(), self.ipv6());
        let dad = if quick { " nodad" } else { "" };
        self.namespace().ip(&format!(
            "link set lo up\n\
             link set eth0 up\n\
             addr add {v4}/24 dev eth0\n\
             addr add {v6}/64 dev eth0{dad}\n\
             route add default via 10.77.0.1\n\
             route add default via fd77::1\n"
        ))?;
        if quick { self.wait_for_addresses() } else { Ok(()) }
    }

    /// Waits until no address is tentative and the link-local one is there.
    pub fn wait_for_addresses(&self) -> Result<()> {
        wait_until("addresses that are not tentative", || self.addresses_are_ready().unwrap_or(false))
    }

    fn addresses_are_ready(&self) -> Result<bool> {
        // Flag 0x40: tentative (linux/if_addr.h).
        let table = self
            .namespace()
            .within(|| std::fs::read_to_string(Path::new("/proc/thread-self/net/if_inet6")))??;
        let flags: Vec<u32> = table
            .lines()
            .filter(|line| line.ends_with(" eth0"))
            .filter_map(|line| line.split_whitespace().nth(4))
            .filter_map(|flags| u32::from_str_radix(flags, 16).ok())
            .collect();
        Ok(flags.len() >= 2 && flags.iter().all(|flags| flags & 0x40 == 0))
    }
}
