//! The end of a process, noticed when it happens.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process that is watched (pidfd_open(2), Linux 5.3): this very one, whoever has its number later.
#[derive(Debug)]
pub struct Process {
    handle: AsyncFd<OwnedFd>,
    pid: Pid,
}

impl Process {
    /// Begins to watch the process that has this number now. Must be called within a tokio runtime.
    pub fn watch(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { handle: crate::sys::watched(handle, Interest::READABLE)?, pid })
    }

    /// Its cgroups, a line for each hierarchy (`/proc/PID/cgroup`).
    pub fn cgroups(&self) -> io::Result<String> {
        std::fs::read_to_string(format!("/proc/{}/cgroup", self.pid.as_raw_nonzero()))
    }

    /// Waits for its end. Cancel safe.
    pub async fn ended(&self) {
        if self.handle.readable().await.is_err() {
            // The runtime is shutting down.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_noticed() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let process = Process::watch(child.id()).unwrap();
        assert!(process.cgroups().unwrap().contains(':'));
        let early = tokio::time::timeout(std::time::Duration::from_millis(50), process.ended()).await;
        assert!(early.is_err(), "it still runs");
        child.kill().unwrap();
        process.ended().await;
        child.wait().unwrap();
        assert!(Process::watch(0).is_err());
    }
}
