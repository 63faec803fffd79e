//! Senders and listeners on threads of their own.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::namespace::Namespace;
use crate::sys::PacketSocket;
use crate::wait::wait_until;

/// How a flood goes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Frames per second, at most.
    pub per_second: u32,
    /// Frames in all, at most.
    pub frames: u64,
    /// Time in all, at most.
    pub time: Duration,
}

impl Default for Pace {
    /// 2,000 a second, until stopped, for a minute at most.
    fn default() -> Self {
        Self { per_second: 2000, frames: u64::MAX, time: Duration::from_secs(60) }
    }
}

/// Sends frames from an interface until it is stopped or its bound is reached.
#[derive(Debug)]
pub struct Flood {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Flood {
    /// Starts sending `frames` in turn.
    pub fn start(namespace: &Namespace, interface: &str, frames: Vec<Vec<u8>>, pace: Pace) -> Result<Self> {
        if frames.is_empty() {
            bail!("a flood of no frames");
        }
        let socket = namespace.socket(interface)?;
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, flag) = (Arc::clone(&sent), Arc::clone(&stop));
        let thread = thread::spawn(move || send_all(&socket, &frames, pace, &counter, &flag));
        Ok(Self { sent, stop, thread: Some(thread) })
    }

    /// Frames sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Waits until so many were sent.
    pub fn wait_for(&self, frames: u64) -> Result<()> {
        wait_until("a flood to send", || self.sent() >= frames)
    }

    /// Stops and gives how many frames were sent.
    pub fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        self.join()?;
        Ok(self.sent())
    }

    /// Waits for its bound and gives how many frames were sent.
    pub fn finish(mut self) -> Result<u64> {
        self.join()?;
        Ok(self.sent())
    }

    fn join(&mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.context("sending a flood"),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn send_all(
    socket: &PacketSocket,
    frames: &[Vec<u8>],
    pace: Pace,
    sent: &AtomicU64,
    stop: &AtomicBool,
) -> io::Result<()> {
    let start = Instant::now();
    for frame in frames.iter().cycle() {
        let done = sent.load(Ordering::Acquire);
        let elapsed = start.elapsed();
        if done >= pace.frames || elapsed >= pace.time || stop.load(Ordering::Acquire) {
            return Ok(());
        }
        let due = Duration::from_secs_f64(done as f64 / f64::from(pace.per_second.max(1)));
        if let Some(early) = due.checked_sub(elapsed) {
            thread::sleep(early.min(Duration::from_millis(20)));
        }
        match socket.send(frame) {
            Ok(()) => {
                sent.fetch_add(1, Ordering::AcqRel);
            }
            // The queue is full: these were not sent and are not counted.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Counts frames that arrive on an interface and match.
pub struct Listener {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<u32>>>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl Listener {
    /// Starts listening; from the return on nothing is missed.
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        matches: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Self> {
        let socket = namespace.socket(interface)?;
        socket.listen(64 << 20).with_context(|| format!("listening on {interface}"))?;
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, flag) = (Arc::clone(&count), Arc::clone(&stop));
        let thread = thread::spawn(move || listen(&socket, &matches, &counter, &flag));
        Ok(Self { count, stop, thread: Some(thread) })
    }

    /// Matching frames so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until so many have come.
    pub fn wait_for(&self, frames: u64) -> Result<()> {
        wait_until("frames to arrive", || self.count() >= frames)
            .with_context(|| format!("{} of {frames} frames arrived", self.count()))
    }

    /// Stops, after everything that the kernel had for it, and gives the count. Fails if the
    /// kernel had no room for some frames: the count would not be the truth.
    pub fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(overruns)) => match overruns.context("listening")? {
                0 => Ok(self.count()),
                lost => bail!("{lost} frames came too fast to be counted"),
            },
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(self.count()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn listen(
    socket: &PacketSocket,
    matches: &dyn Fn(&[u8]) -> bool,
    count: &AtomicU64,
    stop: &AtomicBool,
) -> io::Result<u32> {
    loop {
        let last = stop.load(Ordering::Acquire);
        let wait = if last { Duration::ZERO } else { Duration::from_millis(20) };
        while let Some(frame) = socket.receive(wait)? {
            if matches(&frame) {
                count.fetch_add(1, Ordering::AcqRel);
            }
        }
        if last {
            return socket.overruns();
        }
    }
}
