//! A machine of the cluster, as far as that goes without a virtual one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::control::Own;
use crate::cgroup;
use crate::namespace::{Namespace, ip_batch};
use crate::process::Process;
use crate::runtime::search_path;
use crate::sweep;

/// The mount namespace of a machine. What a node writes to goes to its own directory, `$0`: `/run` (new with every
/// boot), and directories that outlast a boot. Where those are not on the real machine, an overlay lets them be made.
/// bpffs is an instance of its own, and the settings that a kubelet changes are files of the node's.
const MOUNTS: &str = r#"
set -e
at="$0"
mount --make-rprivate /
mkdir -p "$at/upper" "$at/run" "$at/sysctl" "$at/kept"
mount -t tmpfs tmpfs "$at/upper"
for name in etc opt var; do
    [ -d "/$name" ] || continue
    mkdir "$at/upper/$name" "$at/upper/.$name"
    mount -t overlay -o "lowerdir=/$name,upperdir=$at/upper/$name,workdir=$at/upper/.$name" overlay "/$name"
done
for name in etc/cni/net.d opt/cni/bin var/lib/cni var/lib/kubelet var/lib/containerd var/lib/portcullis var/log/pods \
    var/log/containers; do
    mkdir -p "/$name" "$at/kept/$name"
    mount --bind "$at/kept/$name" "/$name"
done
mount --bind "$at/run" /run
mkdir -p /run/lock /run/netns
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
    kernel/keys/root_maxbytes; do
    [ -e "/proc/sys/$name" ] || continue
    cat "/proc/sys/$name" >"$at/sysctl/${name##*/}"
    mount --bind "$at/sysctl/${name##*/}" "/proc/sys/$name"
done
mount -t bpf bpf /sys/fs/bpf
mount --make-rshared /
echo booted
exec sleep infinity
"#;

/// No surprises from what the machine's administrator has set for new namespaces.
const SETTINGS: [(&str, &str); 9] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
];

/// Where br_netfilter is loaded, it would trim and drop frames in the bridge.
const BRIDGE_SETTINGS: [(&str, &str); 2] =
    [("bridge/bridge-nf-call-iptables", "0"), ("bridge/bridge-nf-call-ip6tables", "0")];

/// What runs while a machine is on.
#[derive(Debug)]
struct On {
    // Holds the mount namespace.
    holder: Process,
    pid: u32,
    namespace: Namespace,
    _own: Own,
}

/// Namespaces, a cgroup and directories. Dropped, everything of it is gone.
#[derive(Debug)]
pub struct Machine {
    tag: String,
    on: Option<On>,
    directory: TempDir,
}

impl Machine {
    /// One that is off.
    pub fn new(tag: &str) -> Result<Self> {
        sweep::once();
        // Short, since paths of sockets are: 107 bytes.
        let directory = TempDir::with_prefix(format!("{tag}-")).context("making a directory for a node")?;
        Ok(Self { tag: tag.to_owned(), on: None, directory })
    }

    /// What its namespace and its cgroup are called.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A path in its directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Its network namespace.
    pub fn namespace(&self) -> Result<&Namespace> {
        Ok(&self.on.as_ref().context("the node is off")?.namespace)
    }

    /// Switches it on: only `lo`, and no daemon.
    pub fn boot(&mut self) -> Result<()> {
        if self.on.is_some() {
            bail!("the node is on already");
        }
        for hierarchy in cgroup::hierarchies() {
            fs::create_dir_all(hierarchy.join(&self.tag))
                .with_context(|| format!("making a cgroup in {}", hierarchy.display()))?;
        }
        let (own, namespace) = Own::new(&self.tag)?;
        namespace.sysctl(&SETTINGS)?;
        if Path::new("/proc/sys/net/bridge").exists() {
            namespace.sysctl(&BRIDGE_SETTINGS)?;
        }
        let mut command = namespace.command("unshare");
        command.args(["--mount", "sh", "-c", MOUNTS]).arg(self.path());
        let mut holder = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let output = holder.child().and_then(|child| child.stdout.take()).context("unshare has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() != "booted" {
            bail!("a mount namespace for a node could not be made: are you root, and is there overlayfs?");
        }
        let pid = holder.pid().context("the mount namespace has ended")?;
        self.on = Some(On { holder, pid, namespace, _own: own });
        Ok(())
    }

    /// Switches it off, as a power cut does; what is to outlast that stays.
    pub fn halt(&mut self) {
        let Some(on) = self.on.take() else { return };
        sweep::ground(&self.tag, self.path(), &on.namespace);
        drop(on);
        let _gone = fs::remove_dir_all(self.join("run"));
    }

    /// A command that will run on it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let on = self.on.as_ref().context("the node is off")?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", on.namespace.path().display()));
        command.arg(format!("--mount=/proc/{}/ns/mnt", on.pid)).arg("--").arg(program);
        command.env("PATH", search_path()).env("HOME", "/run").env("TMPDIR", "/run");
        Ok(command)
    }

    /// How a file of it is reached from here.
    pub fn outside(&self, path: &str) -> Result<PathBuf> {
        let on = self.on.as_ref().context("the node is off")?;
        Ok(PathBuf::from(format!("/proc/{}/root{path}", on.pid)))
    }

    /// Joins its interface `eth0` to a bridge in another namespace.
    pub fn plug(&self, fabric: &Namespace, bridge: &str, port: &str, lines: &str) -> Result<()> {
        let namespace = self.namespace()?;
        // What an earlier boot left goes with its namespace, in the background.
        let _gone = fabric.ip(&format!("link del {port}\n"));
        ip_batch(
            &mut fabric.command("ip"),
            &format!(
                "link add {port} type veth peer name eth0 netns {}\n\
                 link set {port} master {bridge}\nlink set {port} up\n",
                namespace.name()
            ),
        )?;
        namespace.ip(&format!("link set eth0 up\n{lines}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.halt();
    }
}

impl Drop for On {
    fn drop(&mut self) {
        let _gone = self.holder.signal(rustix::process::Signal::KILL);
    }
}
