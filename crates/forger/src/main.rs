//! What runs in containers of tests: forges from its first instruction, or does nothing.
//!
//! Linked statically into the tests' image; it is the image's pause program too.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use portcullis_abi::Mac;
use portcullis_forger::{Forgery, Sender};
use rustix::process::{WaitOptions, wait};
use signal_hook::consts::SIGTERM;
use signal_hook::flag::register_conditional_shutdown;

const USAGE: &str =
    "usage: forger pause | forger forge INTERFACE KIND[,KIND...] COUNT INTERVAL_US  (COUNT 0: without end)";

fn main() -> Result<()> {
    // To process 1 of a container no signal means anything unless it asks for it.
    register_conditional_shutdown(SIGTERM, 0, Arc::new(AtomicBool::new(true))).context("SIGTERM")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["pause"] => pause(),
        ["forge", interface, kinds, count, interval] => {
            let kinds: Vec<Forgery> = kinds.split(',').map(str::parse).collect::<Result<_>>()?;
            let interval = Duration::from_micros(interval.parse().context(USAGE)?);
            let sent = forge(interface, &kinds, count.parse().context(USAGE)?, interval)?;
            println!("sent {sent}");
            pause()
        }
        _ => bail!(USAGE),
    }
}

/// Sends each kind in turn; gives how many frames the kernel took.
fn forge(interface: &str, kinds: &[Forgery], count: u64, interval: Duration) -> Result<u64> {
    let socket = open(interface);
    let own = own_mac(interface)?;
    let frames: Vec<Vec<u8>> = kinds.iter().map(|kind| kind.frame(own)).collect();
    let mut sent = 0;
    for frame in frames.iter().cycle() {
        if count > 0 && sent >= count {
            break;
        }
        match socket.send(frame) {
            Ok(()) => sent += 1,
            // Not up yet, or no room: the next one may pass.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ENOBUFS)) => {}
            Err(error) => return Err(error).context("sending"),
        }
        if !interval.is_zero() {
            thread::sleep(interval);
        }
    }
    Ok(sent)
}

/// A network may be connected later: as soon as the interface is there.
fn open(interface: &str) -> Sender {
    loop {
        match Sender::open(interface) {
            Ok(socket) => return socket,
            Err(_not_there_yet) => thread::sleep(Duration::from_micros(200)),
        }
    }
}

fn own_mac(interface: &str) -> Result<Mac> {
    let path = format!("/sys/class/net/{interface}/address");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    text.trim().parse().ok().with_context(|| format!("{path} holds {text:?}, which is no MAC"))
}

/// Waits for ever, reaping what init has to reap.
fn pause() -> ! {
    loop {
        if wait(WaitOptions::NOHANG).is_ok_and(|child| child.is_some()) {
            continue;
        }
        thread::sleep(Duration::from_millis(200));
    }
}
