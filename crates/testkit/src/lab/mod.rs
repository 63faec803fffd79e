//! Labs: a host with a bridge, containers behind it, a peer outside.

mod build;
mod container;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use portcullis_abi::Mac;
use tempfile::TempDir;

use crate::cgroup::Cgroup;
use crate::namespace::{Namespace, ip_batch};
use crate::sweep;
pub use build::Builder;
pub use container::Container;

/// MAC of the bridge, which is the containers' gateway.
pub const BRIDGE_MAC: Mac = Mac([0x02, 0x77, 0, 0, 0, 0x01]);
/// The outside peer's IPv4 address.
pub const OUTSIDE_V4: &str = "192.0.2.2";
/// The outside peer's IPv6 address.
pub const OUTSIDE_V6: &str = "2001:db8::2";

/// Interface group of pairs that are to be deleted.
const DOOMED: u32 = 77;

/// Labs that this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A network of its own.
///
/// | where | what |
/// |---|---|
/// | host | `br0` 10.77.0.1/24, fd77::1/64; `uplink` 192.0.2.1/24, 2001:db8::1/64; forwards |
/// | container K, from 1 | `eth0` 10.77.0.(10+K)/24, fd77::(10+K hex)/64; its end on the host: `veth-cK` |
/// | outside | `eth0` 192.0.2.2/24, 2001:db8::2/64 |
#[derive(Debug)]
pub struct Lab {
    tag: String,
    host: Option<Namespace>,
    outside: Option<Namespace>,
    containers: Vec<Container>,
    further: Vec<Namespace>,
    cgroups: Vec<Cgroup>,
    directory: TempDir,
    honest_boot: bool,
}

impl Lab {
    /// A lab with so many containers, ready for traffic.
    pub fn new(containers: usize) -> Result<Self> {
        Self::builder().containers(containers).build()
    }

    /// A lab that is described first.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// What stands at the start of every name that this lab uses.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The host's namespace.
    pub fn host(&self) -> &Namespace {
        self.host.as_ref().unwrap_or_else(|| unreachable!("a lab is only given out with its host"))
    }

    /// The outside peer's namespace.
    pub fn outside(&self) -> Result<&Namespace> {
        self.outside.as_ref().context("this lab was built without an outside peer")
    }

    /// The containers, in order.
    #[must_use]
    pub fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// Container K, counted from 1.
    #[must_use]
    pub fn container(&self, number: usize) -> &Container {
        &self.containers[number - 1]
    }

    /// A directory of this lab's own.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A directory for pins, of this lab's own, not made yet.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        Path::new(sweep::BPFFS).join(format!("pc-test-{}", &self.tag[3..]))
    }

    /// A further namespace, with nothing but `lo` up.
    pub fn add_namespace(&mut self, name: &str) -> Result<&Namespace> {
        let name = format!("{}-{name}", self.tag);
        ip_batch(&mut Command::new("ip"), &format!("netns add {name}\n"))?;
        let namespace = Namespace::open(&name)?;
        namespace.ip("link set lo up\n")?;
        self.further.push(namespace);
        self.further.last().context("just pushed")
    }

    /// A further namespace that was added before.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        let name = format!("{}-{name}", self.tag);
        self.further.iter().find(|namespace| namespace.name() == name)
    }

    /// A cgroup of this lab's own.
    pub fn add_cgroup(&mut self, name: &str) -> Result<&Cgroup> {
        self.cgroups.push(Cgroup::new(&format!("{}-{name}", self.tag))?);
        self.cgroups.last().context("just pushed")
    }

    /// A cgroup that was added before.
    #[must_use]
    pub fn cgroup(&self, name: &str) -> Option<&Cgroup> {
        let name = format!("{}-{name}", self.tag);
        self.cgroups.iter().find(|cgroup| cgroup.path().ends_with(&name))
    }

    /// One more container, its number the next one.
    pub fn add_container(&mut self) -> Result<&Container> {
        let number = self.containers.iter().map(Container::number).max().unwrap_or(0) + 1;
        build::containers(self, number..number + 1)?;
        self.containers.last().context("just added")
    }

    /// Takes away a container, its namespace and both ends of its pair.
    pub fn remove_container(&mut self, number: usize) -> Result<()> {
        let at = self.containers.iter().position(|c| c.number() == number);
        let container = self.containers.remove(at.with_context(|| format!("no container {number}"))?);
        self.host().ip(&format!("link del {}\n", container.host_interface()))?;
        ip_batch(&mut Command::new("ip"), &format!("netns del {}\n", container.namespace().name()))
    }

    /// Deletes and remakes a container's pair under the same name: a new interface with the same binding.
    pub fn replug(&mut self, number: usize) -> Result<()> {
        self.host().ip(&format!("link del veth-c{number}\n"))?;
        build::plug(self, number)
    }

    /// Many pairs at once: `bK` on the host (from `first`), `pK` in the namespace `name`, both up.
    pub fn add_pairs(&mut self, name: &str, first: usize, count: usize) -> Result<()> {
        if self.namespace(name).is_none() {
            self.add_namespace(name)?;
        }
        let far = self.namespace(name).context("just added")?;
        let lines: String = (first..first + count)
            .map(|k| {
                let [high, low] = u16::try_from(k).unwrap_or(u16::MAX).to_be_bytes();
                format!(
                    "link add b{k} type veth peer name p{k} address 02:78:00:00:{high:02x}:{low:02x} netns {}\n\
                     link set b{k} up\n",
                    far.name()
                )
            })
            .collect();
        self.host().ip(&lines)?;
        far.ip(&(first..first + count).map(|k| format!("link set p{k} up\n")).collect::<String>())
    }

    /// Deletes such pairs, all at once: one by one, each waits for a grace period of the kernel.
    pub fn remove_pairs(&self, first: usize, count: usize) -> Result<()> {
        let group: String =
            (first..first + count).map(|k| format!("link set b{k} group {DOOMED}\n")).collect();
        self.host().ip(&format!("{group}link del group {DOOMED}\n"))
    }

    fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        let containers = self.containers.iter().map(Container::namespace);
        self.host.iter().chain(&self.outside).chain(&self.further).chain(containers)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let names: Vec<String> = self.namespaces().map(|n| n.name().to_owned()).collect();
        // Dropping goes on whatever fails, and what is left is swept by the next lab.
        sweep::processes_in(&names);
        self.containers.clear();
        self.cgroups.clear();
        sweep::namespaces(&names);
        sweep::pins(&self.bpffs());
    }
}

fn next_tag() -> String {
    format!("pc-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}
