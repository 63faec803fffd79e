//! Honest traffic: ping, which counts what was lost by itself.

use std::process::Stdio;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::namespace::Namespace;
use crate::process::Process;

/// What ping counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pings {
    /// Requests sent.
    pub sent: u64,
    /// Answers received.
    pub received: u64,
}

impl Pings {
    /// Whether something was sent and everything was answered.
    #[must_use]
    pub const fn none_lost(self) -> bool {
        self.sent > 0 && self.sent == self.received
    }

    fn parse(text: &str) -> Option<Self> {
        // "5 packets transmitted, 5 received, 0% packet loss, time 41ms"
        let line = text.lines().find(|line| line.contains("packets transmitted"))?;
        let mut numbers = line.split(',').filter_map(|part| part.split_whitespace().next()?.parse().ok());
        Some(Self { sent: numbers.next()?, received: numbers.next()? })
    }
}

/// Pings `count` times, a hundred a second, and counts the answers.
pub fn ping(namespace: &Namespace, address: &str, count: u32) -> Result<Pings> {
    let mut command = namespace.command("ping");
    command.args(["-n", "-q", "-i", "0.01", "-W", "2", "-c", &count.to_string(), address]);
    let output =
        command.stdin(Stdio::null()).output().context("starting ping: is iputils-ping installed?")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Pings::parse(&text)
        .with_context(|| format!("ping said: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// A ping that goes on, a hundred times a second, until it is stopped.
#[derive(Debug)]
pub struct PingStream {
    process: Process,
}

impl PingStream {
    /// Starts it.
    pub fn start(namespace: &Namespace, address: &str) -> Result<Self> {
        Self::start_with(namespace, &[], address)
    }

    /// The same from one of several addresses.
    pub fn start_from(namespace: &Namespace, source: &str, address: &str) -> Result<Self> {
        Self::start_with(namespace, &["-I", source], address)
    }

    fn start_with(namespace: &Namespace, further: &[&str], address: &str) -> Result<Self> {
        let mut command = namespace.command("ping");
        command.args(["-n", "-q", "-i", "0.01"]).args(further).arg(address);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(Self { process: Process::spawn(&mut command)? })
    }

    /// Stops it and gives its count. An answer may still be under way when it stops: one is forgiven.
    pub fn stop(self) -> Result<Pings> {
        self.process.signal(Signal::INT)?;
        let output = self.process.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut pings = Pings::parse(&text).with_context(|| format!("ping said: {text}"))?;
        if pings.sent == pings.received + 1 {
            pings.sent -= 1;
        }
        Ok(pings)
    }
}

#[cfg(test)]
mod tests {
    use super::Pings;

    #[test]
    fn counts_are_read() {
        let text = "PING 10.77.0.1\n\n--- statistics ---\n12 packets transmitted, 11 received, 8% packet loss, time 1ms\n";
        let pings = Pings::parse(text);
        assert_eq!(pings, Some(Pings { sent: 12, received: 11 }));
        assert!(!Pings { sent: 12, received: 11 }.none_lost());
        assert!(!Pings { sent: 0, received: 0 }.none_lost());
        let errors = "12 packets transmitted, 0 received, +3 errors, 100% packet loss, time 1ms\n";
        assert_eq!(Pings::parse(errors), Some(Pings { sent: 12, received: 0 }));
    }
}
