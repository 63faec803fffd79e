//! First act: no gate.

use std::time::Duration;

use anyhow::Result;
use portcullis_testkit::{Flood, Pace};

use crate::attack::{self, Watch};
use crate::interrupt::Interrupt;
use crate::lab;
use crate::screen::{Screen, number};

/// How often each frame is sent.
const ROUNDS: u64 = 20;

/// What came of it.
#[derive(Clone, Copy)]
pub struct Outcome {
    /// Forged frames sent.
    pub sent: u64,
    /// Of these, arrived.
    pub arrived: u64,
}

/// Sends every forgery into a lab of its own: what arrives there poisons caches.
pub fn show(screen: &Screen, interrupt: &Interrupt) -> Result<Outcome> {
    screen.title("1  Without a gate", "mallory sends in other names, and nothing checks");
    screen.blank();
    let lab = lab()?;
    let kinds = attack::kinds(&lab)?;
    let watch = Watch::start(&lab, &kinds)?;
    screen.row("forged by mallory", "sent", "arrived", "");
    let mut total = 0;
    for kind in &kinds {
        interrupt.check()?;
        let pace = Pace { frames: ROUNDS * kind.frames.len() as u64, ..Pace::default() };
        let flood = Flood::start(lab.container(3).namespace(), "eth0", kind.frames.clone(), pace)?;
        total += flood.finish()?;
    }
    // Listening ends after what was sent had its time to be routed.
    interrupt.sleep(Duration::from_millis(200))?;
    let arrived = watch.stop()?;
    for (kind, arrived) in kinds.iter().zip(&arrived) {
        screen.row(kind.title, &number(ROUNDS * kind.frames.len() as u64), &number(*arrived), "");
    }
    Ok(Outcome { sent: total, arrived: arrived.iter().sum() })
}
