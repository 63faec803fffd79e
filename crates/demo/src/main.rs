//! `./dev demo`: a small lab, honest and forged traffic for real, the gate down and up.
//!
//! Everything happens in network namespaces that the lab makes and takes away again. The exit
//! status is 0 only if nothing forged arrived, nothing honest was lost and every count was exact.

mod attack;
mod guarded;
mod interrupt;
mod screen;
mod unguarded;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use portcullis_testkit::{Lab, portcullis};

use interrupt::Interrupt;
use screen::{Screen, number};

/// Who is who in the lab: containers 1, 2 and 3.
const NAMES: [&str; 3] = ["web", "db", "mallory"];

fn main() -> ExitCode {
    let interrupt = match Interrupt::install() {
        Ok(interrupt) => interrupt,
        Err(error) => return fail(&error),
    };
    match run(&interrupt) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) if interrupt.came() => {
            eprintln!("\ninterrupted; everything is cleaned up");
            ExitCode::from(130)
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("\ndemo: {error:#}");
    ExitCode::FAILURE
}

/// Tells the whole story; whether the gate held.
fn run(interrupt: &Interrupt) -> Result<bool> {
    let seconds = arguments()?;
    let screen = Screen::new();
    portcullis()?;
    screen.title("Portcullis", "the source of every frame that a container sends, verified in the kernel");
    screen.text("The lab is made of network namespaces; nothing touches this machine's own interfaces.");
    screen.blank();
    for line in [
        "  web      10.77.0.11  fd77::b ──┐",
        "  db       10.77.0.12  fd77::c ──┼── bridge br0 ── host ── outside 192.0.2.2",
        "  mallory  10.77.0.13  fd77::d ──┘   10.77.0.1",
    ] {
        screen.text(line);
    }
    let open = unguarded::show(&screen, interrupt)?;
    let guarded = guarded::show(&screen, interrupt, Duration::from_secs(seconds))?;
    Ok(summary(&screen, open, &guarded))
}

fn arguments() -> Result<u64> {
    let mut seconds = 8;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let value = words.next().and_then(|v| v.parse().ok()).filter(|v| (1..=3600).contains(v));
                seconds = value.context("--seconds takes a number from 1 to 3600")?;
            }
            "-h" | "--help" => {
                println!("usage: demo [--seconds N]   (N: how long the traffic runs, 8 unless given)");
                std::process::exit(0);
            }
            _ => bail!("there is no option {word}; there is --seconds N"),
        }
    }
    Ok(seconds)
}

/// A new lab with the three containers.
fn lab() -> Result<Lab> {
    Lab::new(NAMES.len())
}

fn summary(screen: &Screen, open: unguarded::Outcome, guarded: &guarded::Outcome) -> bool {
    screen.title("Summary", "");
    let of = |part: u64, all: u64, what: &str| format!("{} of {} {what}", number(part), number(all));
    screen.pair("without the gate", &of(open.arrived, open.sent, "forged frames arrived"));
    screen.verdict(
        "with the gate",
        guarded.arrived == 0,
        &of(guarded.arrived, guarded.sent, "forged frames arrived"),
    );
    screen.verdict(
        "while no agent ran",
        guarded.arrived_unattended == 0,
        &of(guarded.arrived_unattended, guarded.sent_unattended, "forged frames arrived"),
    );
    let pings = &guarded.pings;
    screen.verdict(
        "honest traffic",
        pings.none_lost(),
        &of(pings.sent - pings.received, pings.sent, "pings lost"),
    );
    screen.verdict(
        "counters",
        guarded.counts_exact(),
        &format!(
            "{} dropped from mallory, {} from anybody else",
            number(guarded.dropped),
            number(guarded.dropped_others)
        ),
    );
    // An attack that does not work proves nothing about the gate.
    let attacked = open.arrived > 0 && guarded.sent > 0;
    let held = attacked
        && guarded.arrived == 0
        && guarded.arrived_unattended == 0
        && guarded.pings.none_lost()
        && guarded.counts_exact();
    screen.blank();
    screen.result(held);
    held
}
