//! Ctrl-C: told to the story, which ends and lets the lab clean up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether SIGINT, SIGTERM or SIGHUP has come.
pub struct Interrupt {
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    /// From here on the signals no longer end the process.
    pub fn install() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("handling signals")?;
        }
        Ok(Self { flag })
    }

    /// Whether one has come.
    pub fn came(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Fails if one has come.
    pub fn check(&self) -> Result<()> {
        if self.came() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Sleeps, and fails as soon as one comes.
    pub fn sleep(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}
