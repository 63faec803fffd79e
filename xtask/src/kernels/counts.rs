//! The checked-in numbers of verified instructions: growth is a decision, not an accident.

use anyhow::{Context, Result};
use std::{collections::BTreeMap, fmt::Write as _, fs, io, path::Path};

use super::report::Report;

/// Growth beyond this fails.
const GROWTH_PERCENT: u64 = 10;

const HEADER: &str = "\
# Instructions that the verifier goes through, by kernel and program (`./dev kernels --bless` rewrites this).
# Growth by more than 10 % fails the tests; the verifier itself gives up at 1,000,000.
";

/// Counts by kernel series and program.
#[derive(Default)]
pub struct Counts {
    by_kernel: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Counts {
    /// Reads the file; one that does not exist is empty.
    pub fn read(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| format!("in {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let mut counts = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [kernel, program, count] = fields[..] else {
                anyhow::bail!("a line must be `KERNEL PROGRAM COUNT`, not `{line}`");
            };
            let count = count.parse().with_context(|| format!("no count in `{line}`"))?;
            counts.by_kernel.entry(kernel.to_owned()).or_default().insert(program.to_owned(), count);
        }
        Ok(counts)
    }

    /// Takes a kernel's new counts for granted.
    pub fn replace(&mut self, kernel: &str, instructions: &BTreeMap<String, u64>) {
        self.by_kernel.insert(kernel.to_owned(), instructions.clone());
    }

    /// Adds a failure to the report for every program that grew, is new or has gone.
    pub fn compare(&self, kernel: &str, report: &mut Report) {
        const BLESS: &str = "if that is wanted: ./dev kernels --bless";
        let none = BTreeMap::new();
        let known = self.by_kernel.get(kernel).unwrap_or(&none);
        for (program, &count) in &report.instructions.clone() {
            match known.get(program) {
                None => report.fail(program, &format!("has no checked-in instruction count; {BLESS}")),
                Some(&before) if count * 100 > before * (100 + GROWTH_PERCENT) => report
                    .fail(program, &format!("grew from {before} to {count} verified instructions; {BLESS}")),
                Some(&before) if count * (100 + GROWTH_PERCENT) < before * 100 => report.notes.push(format!(
                    "{program} shrank from {before} to {count}: ./dev kernels --bless keeps it so"
                )),
                Some(_) => {}
            }
        }
        if !report.done {
            return;
        }
        for program in known
            .keys()
            .filter(|program| !report.instructions.contains_key(*program))
            .cloned()
            .collect::<Vec<_>>()
        {
            report.fail(&program, &format!("has a checked-in instruction count but reported none; {BLESS}"));
        }
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = HEADER.to_owned();
        let mut kernels: Vec<_> = self.by_kernel.iter().collect();
        kernels.sort_by_key(|(kernel, _)| version_key(kernel));
        for (kernel, programs) in kernels {
            for (program, count) in programs {
                writeln!(text, "{kernel} {program} {count}")?;
            }
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// 6.1 comes before 6.12 and after 5.10.
fn version_key(kernel: &str) -> Vec<u32> {
    kernel.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(count: u64) -> Report {
        Report { instructions: BTreeMap::from([("gate".to_owned(), count)]), done: true, ..Report::default() }
    }

    #[test]
    fn growth_beyond_ten_percent_fails() {
        let counts = Counts::parse("# comment\n6.1 gate 1000\n").unwrap();
        for (count, failures, notes) in [(1100, 0, 0), (1101, 1, 0), (1000, 0, 0), (500, 0, 1)] {
            let mut report = report(count);
            counts.compare("6.1", &mut report);
            assert_eq!((report.failed.len(), report.notes.len()), (failures, notes), "{count}");
        }
    }

    #[test]
    fn new_and_missing_programs_fail() {
        let counts = Counts::parse("6.1 old 1000\n").unwrap();
        let mut report = report(10);
        counts.compare("6.1", &mut report);
        assert_eq!(report.failed.len(), 2);
    }

    #[test]
    fn kernels_are_sorted_as_versions() {
        assert!(version_key("5.10") < version_key("6.1"));
        assert!(version_key("6.1") < version_key("6.12"));
    }
}
