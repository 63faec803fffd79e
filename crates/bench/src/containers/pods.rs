//! Containers without a runtime: real namespaces, with real pairs on the lab's bridge.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use portcullis_testkit::{Lab, Namespace};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The lab's bridge.
pub const BRIDGE: &str = "br0";
/// Interface group of the hosts' sides.
const GROUP: u32 = 79;

/// One of them. Those that have one seat have, one after the other, the same addresses and MAC.
#[derive(Clone, Debug)]
pub struct Pod {
    namespace: String,
    number: usize,
    seat: usize,
}

impl Pod {
    /// The one of this number.
    pub fn new(lab: &Lab, number: usize, seat: usize) -> Self {
        Self { namespace: format!("{}-p{number}", lab.tag()), number, seat }
    }

    /// Container id.
    pub fn id(&self) -> String {
        format!("{:064x}", self.number + 1)
    }

    /// Container name.
    pub fn name(&self) -> String {
        format!("web-{}", self.number)
    }

    /// Path of its namespace.
    pub fn netns(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.namespace)
    }

    /// Its interface on the host.
    pub fn host_interface(&self) -> String {
        format!("p{}", self.number)
    }

    /// Its MAC.
    pub fn mac(&self) -> String {
        let [high, low] = self.seat_bytes();
        format!("02:79:00:00:{high:02x}:{low:02x}")
    }

    /// Its IPv4 address.
    pub fn ipv4(&self) -> String {
        let [high, low] = self.seat_bytes();
        format!("10.195.{high}.{low}")
    }

    /// Its IPv6 address.
    pub fn ipv6(&self) -> String {
        format!("fd95::{:x}", self.seat + 0x100)
    }

    /// Its seat.
    pub const fn seat(&self) -> usize {
        self.seat
    }

    fn seat_bytes(&self) -> [u8; 2] {
        // Network and gateway are taken.
        u16::try_from(self.seat + 0x100).unwrap_or(u16::MAX).to_be_bytes()
    }

    /// Makes its namespace, with nothing in it.
    pub fn make(&self) -> Result<()> {
        ip(&mut Command::new("ip"), &format!("netns add {}\n", self.namespace))
    }

    /// Makes its pair, up on both sides, with its addresses.
    pub fn plug(&self, host: &Namespace) -> Result<()> {
        ip(&mut host.command("ip"), &self.pair())?;
        self.set_up()
    }

    fn pair(&self) -> String {
        let (name, namespace) = (self.host_interface(), &self.namespace);
        let mac = self.mac();
        format!(
            "link add {name} type veth peer name eth0 address {mac} netns {namespace}\n\
             link set {name} master {BRIDGE} group {GROUP} up\n"
        )
    }

    fn set_up(&self) -> Result<()> {
        let lines = format!(
            "link set lo up\nlink set eth0 up\naddr add {}/16 dev eth0\naddr add {}/64 dev eth0 nodad\n",
            self.ipv4(),
            self.ipv6()
        );
        ip(Command::new("ip").args(["-n", &self.namespace]), &lines)
    }

    /// Takes its pair away, as runtimes do before the namespace goes.
    pub fn unplug(&self, host: &Namespace) -> Result<()> {
        ip(&mut host.command("ip"), &format!("link del {}\n", self.host_interface()))
    }

    /// Takes its namespace away.
    pub fn unmake(&self) -> Result<()> {
        ip(&mut Command::new("ip"), &format!("netns del {}\n", self.namespace))
    }
}

/// Many at once, until this is dropped.
pub struct Pods {
    /// All of them.
    pub all: Vec<Pod>,
    host: String,
}

impl Pods {
    /// Makes so many.
    pub fn make(lab: &Lab, count: usize) -> Result<Self> {
        let all: Vec<Pod> = (0..count).map(|number| Pod::new(lab, number, number)).collect();
        let lines: String = all.iter().map(|pod| format!("netns add {}\n", pod.namespace)).collect();
        let pods = Self { all, host: lab.host().name().to_owned() };
        ip(&mut Command::new("ip"), &lines)?;
        ip(&mut lab.host().command("ip"), &pods.all.iter().map(Pod::pair).collect::<String>())?;
        for pod in &pods.all {
            pod.set_up()?;
        }
        Ok(pods)
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        // All pairs at once: one by one, each waits for a grace period of the kernel.
        let pairs = format!("link del group {GROUP}\n");
        let _left = ip(Command::new("ip").args(["-n", &self.host]), &pairs);
        let namespaces: String =
            self.all.iter().map(|pod| format!("netns del {}\n", pod.namespace)).collect();
        let _left = ip(Command::new("ip").arg("-force"), &namespaces);
    }
}

/// The main thread in another network namespace, until this is dropped.
pub struct Inside {
    home: File,
}

impl Inside {
    /// Enters; to be called on the main thread.
    pub fn enter(host: &Namespace) -> Result<Self> {
        let home = File::open("/proc/self/ns/net").context("this process's network namespace")?;
        let there = File::open(host.path()).with_context(|| host.path().display().to_string())?;
        move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))
            .context("entering the lab's namespace")?;
        Ok(Self { home })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let back = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network));
        if let Err(error) = back {
            // Whoever cleans up after the lab ends all that is in its namespace.
            eprintln!("error: cannot return from the lab's namespace: {error}");
        }
    }
}

/// Feeds lines to `ip -batch`.
pub fn ip(command: &mut Command, lines: &str) -> Result<()> {
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting ip")?;
    let mut input = child.stdin.take().context("ip has no standard input")?;
    let written = input.write_all(lines.as_bytes());
    drop(input);
    let output = child.wait_with_output().context("waiting for ip")?;
    if !output.status.success() {
        bail!("ip: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    written.context("writing to ip")
}
