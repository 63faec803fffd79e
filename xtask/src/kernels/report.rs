//! What a guest reported: lines of `ok NAME`, `not ok NAME REASON`, `insns PROGRAM COUNT`, at the end `done`.

use anyhow::{Result, bail};
use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use super::fetch::Kernel;

/// When a program does not load everything fails: nobody reads all of it.
const MOST_FAILURES: usize = 20;

/// How much of a long reason is shown from its beginning and from its end. The verifier's log is long; what
/// was asked stands at its beginning, what it did not like at its end.
const SHOWN: (usize, usize) = (160, 480);

/// The results of one guest, or of several together.
#[derive(Default)]
pub struct Report {
    /// How many checks passed.
    pub passed: usize,
    /// Name and reason of those that did not.
    pub failed: Vec<(String, String)>,
    /// Remarks that are no failure.
    pub notes: Vec<String>,
    /// Instructions that the verifier went through, by program.
    pub instructions: BTreeMap<String, u64>,
    /// Whether the check reached its end.
    pub done: bool,
    /// From the start of QEMU to its end.
    pub duration: Duration,
}

impl Report {
    /// Reads the serial line; other lines are the kernel's own.
    pub fn parse(output: &str) -> Self {
        let mut report = Self::default();
        let mut exit = None;
        for line in output.lines().map(str::trim) {
            if line.starts_with("ok ") {
                report.passed += 1;
            } else if let Some(rest) = line.strip_prefix("not ok ") {
                let (name, reason) = rest.split_once(' ').unwrap_or((rest, "no reason given"));
                report.fail(name, reason);
            } else if let Some(name) =
                line.strip_prefix("insns ").and_then(|rest| rest.strip_suffix(" unknown"))
            {
                // Kernels before 5.16 do not tell.
                report
                    .notes
                    .push(format!("{name}: accepted; this kernel does not tell how many instructions"));
            } else if let Some(rest) = line.strip_prefix("insns ") {
                match rest.split_once(' ').and_then(|(name, count)| Some((name, count.parse().ok()?))) {
                    Some((name, count)) => _ = report.instructions.insert(name.to_owned(), count),
                    None => report.fail("insns", &format!("cannot be read: {line}")),
                }
            } else if let Some(code) = line.strip_prefix("exit ") {
                exit = Some(code.to_owned());
            } else if line == "done" {
                report.done = true;
            }
        }
        if let Some(code) = exit.filter(|code| code != "0" && report.failed.is_empty()) {
            report.fail("kernel-check", &format!("ended with exit status {code}"));
        }
        report
    }

    /// Adds a failure.
    pub fn fail(&mut self, name: &str, reason: &str) {
        self.failed.push((name.to_owned(), reason.to_owned()));
    }

    /// Adds another guest's results to these.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.duration += other.duration;
    }

    /// One line if all is well, and one more for every failure, remark and program.
    pub fn print(&self, kernel: &Kernel) {
        println!(
            "kernel {} ({}): {} passed, {} failed, {:.1} s",
            kernel.series,
            kernel.release,
            self.passed,
            self.failed.len(),
            self.duration.as_secs_f64()
        );
        for (name, reason) in self.failed.iter().take(MOST_FAILURES) {
            println!("    not ok {name}: {}", shortened(reason));
        }
        if let Some(more @ 1..) = self.failed.len().checked_sub(MOST_FAILURES) {
            println!("    and {more} more; all are in {}", kernel.serial_log().display());
        }
        for note in &self.notes {
            println!("    {note}");
        }
        for (program, count) in &self.instructions {
            println!("    {program}: {count} instructions verified");
        }
    }

    /// The closing line, in the form of cargo's own, and the outcome.
    pub fn conclude(self) -> Result<()> {
        let (word, passed, failed) =
            (if self.failed.is_empty() { "ok" } else { "FAILED" }, self.passed, self.failed.len());
        println!(
            "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; \
             finished in {:.2}s\n",
            self.duration.as_secs_f64()
        );
        if failed > 0 {
            bail!("{failed} checks failed on other kernels; they are named above");
        }
        Ok(())
    }
}

/// A reason of bearable length.
fn shortened(reason: &str) -> Cow<'_, str> {
    let (head, tail) = SHOWN;
    let length = reason.chars().count();
    if length <= head + tail {
        return Cow::Borrowed(reason);
    }
    let beginning: String = reason.chars().take(head).collect();
    let end: String = reason.chars().skip(length - tail).collect();
    Cow::Owned(format!("{beginning} […] {end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reasons_keep_their_beginning_and_end() {
        let reason = format!("cannot load: {} processed 99 insns", "é".repeat(5000));
        let short = shortened(&reason);
        assert!(short.starts_with("cannot load: ") && short.ends_with(" processed 99 insns"));
        assert!(short.chars().count() < 700);
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn reads_what_a_guest_prints() {
        let report = Report::parse(
            "[    0.1] booting\r\nok load gate\r\nnot ok arp-probe expected Pass, got Drop\r\ninsns gate 812\r\n\
             done\r\nexit 1\r\n",
        );
        assert_eq!(report.passed, 1);
        assert_eq!(report.failed, [("arp-probe".to_owned(), "expected Pass, got Drop".to_owned())]);
        assert_eq!(report.instructions["gate"], 812);
        assert!(report.done);
    }

    #[test]
    fn an_exit_status_alone_is_a_failure() {
        let report = Report::parse("ok load\ndone\nexit 139\n");
        assert_eq!(report.failed.len(), 1);
    }

    #[test]
    fn a_guest_that_stops_early_is_not_done() {
        assert!(!Report::parse("ok load\nKernel panic\n").done);
    }
}
