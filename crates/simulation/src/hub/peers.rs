//! Probing agents: what a connection takes, with real TLS over loopback.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use portcullis_kubernetes::peer::{
    Connection, Identity, Listener, Trusted, certificate_from_pem, client_config, server_config,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// About what an agent answers to `/api/v1/status`.
const STATUS: usize = 2500;
/// An agent takes at most 128 connections.
const EACH: usize = 100;

/// What connections to agents take on a hub's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peering {
    /// Resident memory of each, in kilobytes.
    pub connection_kb: f64,
    /// Time on the processor for the first question, with TCP and TLS, in microseconds.
    pub first_us: f64,
    /// For each further one.
    pub next_us: f64,
}

/// A process that answers as agents do; ended when this is dropped.
struct Agents(Child);

impl Drop for Agents {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Measures so many connections. To be run in a process of its own.
///
/// # Errors
/// If no process can be started, or it does not answer.
pub fn peering(connections: usize) -> Result<Peering> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let identity = Identity::generate("portcullis-hub-0")?;
    let program = std::env::current_exe().context("this program")?;
    let mut child = Command::new(program)
        .arg("--answer-as-agents")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a process that answers as agents do")?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let _agents = Agents(child);
    let mut input = input.context("no input")?;
    let listeners = connections.div_ceil(EACH);
    writeln!(input, "{}", serde_json::to_string(&(listeners, identity.pem()))?)?;
    let mut line = String::new();
    BufReader::new(output.context("no output")?).read_line(&mut line)?;
    let (addresses, certificate): (Vec<String>, String) = serde_json::from_str(&line)?;
    runtime.block_on(ask(&identity, &addresses, &certificate, connections))
}

async fn ask(
    identity: &Identity,
    addresses: &[String],
    certificate: &str,
    connections: usize,
) -> Result<Peering> {
    let before = super::memory("VmRSS:")?;
    let busy = Busy::now()?;
    let mut all = Vec::new();
    for number in 0..connections {
        // As the hub does for each agent.
        let certificate = certificate_from_pem(certificate)?;
        let config = client_config(Some(identity), &certificate)?;
        let address = addresses.get(number / EACH).context("too few addresses")?;
        let connection = Connection::new(address, config);
        let _status: serde_json::Value = connection.get_json("/api/v1/status").await?;
        all.push(connection);
    }
    let first = busy.elapsed_us()?;
    let after = super::memory("VmRSS:")?;
    let busy = Busy::now()?;
    for connection in &all {
        let _status: serde_json::Value = connection.get_json("/api/v1/status").await?;
    }
    let count = crate::ledger::number(connections as u64);
    Ok(Peering {
        connection_kb: (after - before) * 1000.0 / count,
        first_us: first / count,
        next_us: busy.elapsed_us()? / count,
    })
}

/// Time on the processor.
pub(super) struct Busy(f64);

impl Busy {
    pub fn now() -> Result<Self> {
        let text =
            std::fs::read_to_string("/proc/thread-self/schedstat").context("/proc/thread-self/schedstat")?;
        let ns: f64 = text.split_whitespace().next().context("schedstat")?.parse()?;
        Ok(Self(ns / 1000.0))
    }

    pub fn elapsed_us(&self) -> Result<f64> {
        Ok(Self::now()?.0 - self.0)
    }
}

/// Answers as agents do, until its input ends.
///
/// # Errors
/// If it is not told how, or cannot listen.
pub fn serve() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let (listeners, hub): (usize, String) = serde_json::from_str(&line)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let identity = Identity::generate("agent")?;
        let trusted = Trusted::default();
        trusted
            .replace(std::collections::BTreeMap::from([("hub.crt".to_owned(), certificate_from_pem(&hub)?)]));
        let mut addresses = Vec::new();
        for _ in 0..listeners {
            let config = server_config(&identity, &trusted)?;
            let listener = Listener::bind("127.0.0.1:0", config, Some(trusted.clone())).await?;
            addresses.push(listener.local_addr()?.to_string());
            tokio::spawn(answer_all(listener));
        }
        println!("{}", serde_json::to_string(&(addresses, identity.pem()))?);
        // The other side's end ends this one.
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        _ = ended.await?;
        Ok(())
    })
}

async fn answer_all(mut listener: Listener) {
    loop {
        let (mut stream, _) = listener.accept().await;
        tokio::spawn(async move {
            let body = format!("{{\"padding\":\"{}\"}}", "x".repeat(STATUS));
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut read = vec![0; 4096];
            // One question at a time, in one piece: that is how it is asked here.
            while stream.read(&mut read).await.is_ok_and(|count| count > 0) {
                if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
        });
    }
}
