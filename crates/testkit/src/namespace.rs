//! Named network namespaces.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{Process, checked_output};
use crate::sys::PacketSocket;

/// A network namespace: one under `/run/netns`, or a process's. It does not delete itself: the lab does.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    path: PathBuf,
    handle: File,
}

impl Namespace {
    /// The one of this name, which must exist.
    pub fn open(name: &str) -> Result<Self> {
        let path = Path::new("/run/netns").join(name);
        let handle = File::open(&path).with_context(|| format!("network namespace {}", path.display()))?;
        Ok(Self { name: name.to_owned(), path, handle })
    }

    /// The one that a process is in. It lives as long as this does.
    pub fn of_process(pid: u32) -> Result<Self> {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let handle = File::open(&path).with_context(|| format!("network namespace of process {pid}"))?;
        Ok(Self { name: format!("process {pid}"), path, handle })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path, as `--netns` takes it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its inode number.
    pub fn inode(&self) -> Result<u64> {
        Ok(self.handle.metadata()?.ino())
    }

    /// A command that will run inside. `nsenter`, since `ip netns exec` would hide bpffs and cgroups.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path.display())).arg("--").arg(program);
        command
    }

    /// Runs a command line (words separated by spaces) inside; gives its standard output.
    pub fn run(&self, line: &str) -> Result<String> {
        checked_output(&mut self.words(line)?)
    }

    /// Starts a command line inside, its output discarded.
    pub fn spawn(&self, line: &str) -> Result<Process> {
        let mut command = self.words(line)?;
        Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    fn words(&self, line: &str) -> Result<Command> {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().context("an empty command")?);
        command.args(words);
        Ok(command)
    }

    /// Runs many `ip` commands inside, one a line, in one process.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let mut command = self.command("ip");
        ip_batch(&mut command, lines).with_context(|| format!("in {}", self.name))
    }

    /// Runs `f` inside, on a thread of its own.
    pub fn within<R: Send>(&self, f: impl FnOnce() -> R + Send) -> Result<R> {
        let entered = thread::scope(|scope| {
            scope
                .spawn(|| {
                    move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))
                        .map(|()| f())
                })
                .join()
        });
        match entered {
            Ok(result) => result.with_context(|| format!("entering {}", self.path.display())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Sets `(name, value)` under `/proc/sys/net`.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.within(|| {
            for (name, value) in settings {
                // /proc/sys/net shows the opening thread's namespace.
                fs::write(Path::new("/proc/sys/net").join(name), value)
                    .with_context(|| format!("setting {name} to {value}"))?;
            }
            Ok(())
        })?
    }

    /// A packet socket on one of its interfaces. It stays in this namespace whoever uses it.
    pub fn socket(&self, interface: &str) -> Result<PacketSocket> {
        self.within(|| PacketSocket::open(interface))?
            .with_context(|| format!("a packet socket on {interface} in {}", self.name))
    }

    /// Index of an interface.
    pub fn index_of(&self, interface: &str) -> Result<u32> {
        self.within(|| crate::sys::index_of(interface))?
            .with_context(|| format!("interface {interface} in {}", self.name))
    }

    /// Whether it has an interface of this name.
    #[must_use]
    pub fn has_interface(&self, interface: &str) -> bool {
        self.index_of(interface).is_ok()
    }
}

/// Feeds lines to `ip -batch`, whatever namespace `command` starts it in.
pub fn ip_batch(command: &mut Command, lines: &str) -> Result<()> {
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting ip: is iproute2 installed?")?;
    let mut input = child.stdin.take().context("ip has no standard input")?;
    // When ip gives up early, what it says matters more than the broken pipe.
    let written = input.write_all(lines.as_bytes());
    drop(input);
    let output = child.wait_with_output().context("waiting for ip")?;
    if !output.status.success() {
        bail!("ip: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    written.context("writing to ip")
}
