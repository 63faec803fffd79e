//! Child processes that do not outlive their owner.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A running child; killed and waited for when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Option<Child>,
}

impl Process {
    /// Starts a command.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name, child: Some(child) })
    }

    /// Its process id; none after it was waited for.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The child itself, to reach its pipes.
    pub const fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.with_context(|| format!("{} has ended already", self.name))?;
        kill_process(pid, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().with_context(|| format!("{} was waited for already", self.name))?;
        child.wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// Waits for its end and gives what it wrote into its pipes.
    pub fn output(mut self) -> Result<Output> {
        let child = self.child.take().with_context(|| format!("{} was waited for already", self.name))?;
        child.wait_with_output().with_context(|| format!("waiting for {}", self.name))
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill9(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        let status = self.wait()?;
        if status.signal() != Some(Signal::KILL.as_raw()) {
            bail!("{} had ended before it was killed: {status}", self.name);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to kill, but still to reap.
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// Runs a command to its end and gives its standard output; fails with what it said if it failed.
pub fn checked_output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {shown}"))?;
    if !output.status.success() {
        bail!(
            "{shown} failed ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
