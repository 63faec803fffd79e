//! The shield: what it adds to an empty XDP program, beside the smallest C programs that do some of it.

mod load;
mod reference;
mod rules;
mod veth;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use portcullis_abi::shield::{Class, sample};
use portcullis_datapath::shield::{Kind, Profile, Program, Shield, Table};
use portcullis_policy::shield::list4::List4;
use portcullis_policy::shield::{Listing, Prefix4};

use crate::measure::{self, Subject};
use crate::report::{Measure, Target};
use reference::Reference;

const OFF: &str = "shield/off";
const FEW: &str = "shield/few";
const FEW_DROPPED: &str = "shield/few-dropped";
const RULES: &str = "shield/rules-1024";
const RANDOM: &str = "shield/million-random";
const LISTED: &str = "shield/million-listed";

const PASS: i32 = 2;
const DROP: i32 = 1;
/// Addresses of the list of a handful, and one that is not among them.
const HANDFUL: std::ops::Range<u32> = 0x0a00_0010..0x0a00_0018;
const STRANGER: u32 = 0x0a00_0020;
const MILLION: u32 = 1_000_000;

/// Names of all measures here.
pub const NAMES: [&str; 11] = [
    OFF,
    FEW,
    FEW_DROPPED,
    RULES,
    rules::CHANGE,
    RANDOM,
    LISTED,
    load::NAME,
    load::MEMORY,
    load::CHANGE,
    veth::NAME,
];

/// Measures what is wanted.
pub fn measure(wants: impl Fn(&str) -> bool, rounds: usize, repeat: u32) -> Result<Vec<Measure>> {
    if !NAMES.iter().any(|name| wants(name)) {
        return Ok(Vec::new());
    }
    let kernel = Kernel::open()?;
    let mut measures = Vec::new();
    if [OFF, FEW, FEW_DROPPED, RULES].into_iter().any(&wants) {
        measures.extend(small(&kernel, &wants, rounds, repeat)?);
    }
    if wants(rules::CHANGE) {
        measures.push(rules::change(&kernel, kernel.profile(2)?)?);
    }
    if [load::NAME, load::MEMORY, load::CHANGE].into_iter().any(&wants) {
        measures.extend(load::measure(&kernel, &wants)?);
    }
    if wants(RANDOM) || wants(LISTED) {
        measures.extend(million(&kernel, &wants, rounds, repeat)?);
    }
    if wants(veth::NAME) {
        measures.push(veth::measure(&kernel)?);
    }
    Ok(measures)
}

/// Nothing, a handful of addresses, a thousand rules.
fn small(kernel: &Kernel, wants: impl Fn(&str) -> bool, rounds: usize, repeat: u32) -> Result<Vec<Measure>> {
    let handful = HANDFUL.map(|address| (Prefix4::of(address, 32), Listing::block(Class::TCP)));
    kernel.publish(kernel.profile(1)?, &handful.collect())?;
    let counted = rules::publish(kernel, kernel.profile(2)?)?;
    let (passed, dropped) = (frame(STRANGER), frame(HANDFUL.start));
    let off = kernel.profile(0)?;
    let few = kernel.profile(1)?;
    let ours = |profile, program, frame, action| -> Box<dyn Subject + '_> {
        Box::new(Ours { kernel, profile, program, frame, action })
    };
    let reference = |frame| Reference::few(HANDFUL, frame);
    let mut subjects: Vec<Box<dyn Subject + '_>> = vec![
        ours(off, Program::Empty, &passed, PASS),
        ours(off, Program::Xdp, &passed, PASS),
        ours(few, Program::Xdp, &passed, PASS),
        Box::new(reference(&passed)?),
        ours(few, Program::Xdp, &dropped, DROP),
        Box::new(reference(&dropped)?),
        ours(kernel.profile(2)?, Program::Xdp, &counted, DROP),
    ];
    let times = measure::over_first(&mut subjects, rounds, repeat)?;
    let [empty, off, passed, c_passed, dropped, c_dropped, rules] = times[..] else {
        bail!("not every subject was measured");
    };
    let mut measures = vec![Measure::alone("shield/empty-program", empty, "ns", None)];
    let all = [
        (OFF, Measure::alone(OFF, off, "ns", Some(Target::AtMost(3.0)))),
        (FEW, Measure::beside(FEW, passed, reference::HASH, c_passed, Some(Target::Ratio(0.7)))),
        (
            FEW_DROPPED,
            Measure::beside(FEW_DROPPED, dropped, reference::HASH, c_dropped, Some(Target::Ratio(0.7))),
        ),
        (RULES, Measure::alone(RULES, rules, "ns", Some(Target::AtMost(120.0)))),
    ];
    measures.extend(all.into_iter().filter(|(name, _)| wants(name)).map(|(_, measure)| measure));
    Ok(measures)
}

/// A million prefixes, beside a hash table of a million addresses and the kernel's trie.
fn million(
    kernel: &Kernel,
    wants: impl Fn(&str) -> bool,
    rounds: usize,
    repeat: u32,
) -> Result<Vec<Measure>> {
    let profile = kernel.profile(3)?;
    kernel.publish(profile, &entries().collect())?;
    let tables = reference::Tables::million()?;
    let frame = frame(STRANGER);
    let mut measures = Vec::new();
    for (name, base, program, random, most) in [
        (RANDOM, Program::RandomBase, Program::Random, true, 40.0),
        (LISTED, Program::ListedBase, Program::Listed, false, 130.0),
    ] {
        if !wants(name) {
            continue;
        }
        let ours = |program| -> Box<dyn Subject + '_> {
            // Random sources may be listed, too.
            Box::new(Ours { kernel, profile, program, frame: &frame, action: ANY })
        };
        let mut subjects = vec![ours(base), ours(program)];
        for kind in [reference::HASH, reference::TRIE] {
            subjects.push(Box::new(tables.subject(kind, random, &frame)));
        }
        // The trie takes a microsecond: fewer runs of all.
        let times = measure::over_first(&mut subjects, rounds, (repeat / 4).max(1))?;
        let [_, ours, hash, trie] = times[..] else {
            bail!("not every subject was measured");
        };
        measures.push(Measure::beside(name, ours, reference::HASH, hash, Some(Target::AtMost(most))));
        measures.push(Measure::beside(name, ours, reference::TRIE, trie, None));
    }
    Ok(measures)
}

/// The list that measurements are taken with: three of four are single addresses, one is a /24.
pub fn entries() -> impl Iterator<Item = (Prefix4, Listing)> {
    (0..MILLION).map(|entry| {
        let len = if entry.is_multiple_of(4) { 24 } else { 32 };
        (Prefix4::of(sample(entry), len), Listing::BLOCK)
    })
}

/// A TCP segment of 64 bytes to port 80.
pub fn frame(source: u32) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 50, 0, 1, 0, 0, 64, 6, 0, 0]);
    frame.extend(source.to_be_bytes());
    frame.extend([10, 0, 0, 1]);
    frame.extend([0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    frame.resize(64, 0);
    frame
}

/// The shield under a directory of its own.
pub struct Kernel {
    shield: RefCell<Shield>,
    base: PathBuf,
}

impl Kernel {
    fn open() -> Result<Self> {
        let base = Path::new("/sys/fs/bpf").join(format!("portcullis-bench-shield-{}", std::process::id()));
        let shield = Shield::open(&base).context("cannot load the shield's programs")?;
        Ok(Self { shield: RefCell::new(shield), base })
    }

    fn profile(&self, number: u32) -> Result<Profile> {
        Profile::new(number).context("no such firewall")
    }

    fn publish(&self, profile: Profile, list: &List4) -> Result<()> {
        let mut table = Table::new(Kind::List4)?;
        list.compile(&mut table)?;
        Ok(self.shield.borrow().publish(profile, &table)?)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.shield.borrow().unpin_all();
        let _already_gone = std::fs::remove_dir(&self.base);
    }
}

/// Whatever comes of it.
const ANY: i32 = -1;

/// One of our programs on one frame.
struct Ours<'a> {
    kernel: &'a Kernel,
    profile: Profile,
    program: Program,
    frame: &'a [u8],
    action: i32,
}

impl Subject for Ours<'_> {
    fn time_ns(&mut self, repeat: u32) -> Result<f64> {
        let mut shield = self.kernel.shield.borrow_mut();
        let outcome = shield.test(self.profile, self.program, self.frame, repeat)?;
        if self.action != ANY && outcome.action != self.action {
            bail!("{:?} came to {} instead of {}", self.program, outcome.action, self.action);
        }
        // As the kernel measures it, in whole nanoseconds: around the runs it exchanges XDP's dispatcher, which waits for ticks.
        Ok(f64::from(outcome.duration_ns))
    }
}
