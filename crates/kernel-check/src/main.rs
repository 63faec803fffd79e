//! Everything the kernel side must do, checked on the kernel that this runs on.
//!
//! One static binary: `./dev kernels` runs it as the only program in QEMU guests, and it runs on
//! any host as root. It says `ok NAME` or `not ok NAME REASON` for each check, `insns PROGRAM
//! COUNT` for each program, and `done` at the end. It works in network namespaces of its own and
//! leaves nothing behind. With the argument `shield` it checks the shield only.

mod adopt;
mod answer;
mod bindings;
mod kernel;
mod live;
mod net;
mod netkit;
mod programs;
mod shield;
mod suite;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};

/// Prints outcomes and remembers whether any was bad.
#[derive(Default)]
pub struct Report {
    failed: usize,
}

impl Report {
    /// Runs a check; answers whether it was good.
    pub fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) -> bool {
        let Err(error) = check() else {
            println!("ok {name}");
            return true;
        };
        self.failed += 1;
        // One line: a new line would start another record.
        println!("not ok {name} {}", ends(&format!("{error:#}").replace('\n', " | ")));
        false
    }
}

/// The beginning and the end of a text: a verifier's log can have megabytes, and says why it
/// refused a program at its end.
fn ends(text: &str) -> String {
    const HEAD: usize = 300;
    const TAIL: usize = 2500;
    let chars = text.chars().count();
    if chars <= HEAD + TAIL {
        return text.to_owned();
    }
    let head: String = text.chars().take(HEAD).collect();
    let tail: String = text.chars().skip(chars - TAIL).collect();
    format!("{head} […] {tail}")
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => check_all(),
        ["shield"] => check_these(&[shield::check]),
        [adopt::ARGUMENT, base, ifindex] => adopt::child(Path::new(base), ifindex),
        _ => {
            eprintln!("usage: kernel-check [shield]");
            ExitCode::from(2)
        }
    }
}

fn check_all() -> ExitCode {
    check_these(&[gate, shield::check])
}

fn gate(report: &mut Report) {
    // Where a program is refused nothing else can work.
    if programs::check(report) {
        suite::check(report);
        bindings::check(report);
        answer::check(report);
        live::check(report);
        netkit::check(report);
    }
}

fn check_these(parts: &[fn(&mut Report)]) -> ExitCode {
    // Before any thread is there: from here on this process's namespace is one of its own.
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET).context("a network namespace of our own") {
        println!("not ok namespace {error:#}");
        return ExitCode::FAILURE;
    }
    let mut report = Report::default();
    parts.iter().for_each(|part| part(&mut report));
    println!("done");
    if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
