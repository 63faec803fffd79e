//! The C programs that the shield is measured against: `benches/shield.bpf.c`.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use aya::maps::{HashMap, LpmTrie, lpm_trie};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use portcullis_abi::shield::sample;

use super::MILLION;
use crate::measure::Subject;
use crate::reference::compile;

/// Their names in the results.
pub const HASH: &str = "c-hash";
pub const TRIE: &str = "lpm-trie";

/// One of them on one frame.
pub struct Reference<'a> {
    ebpf: Rc<RefCell<Ebpf>>,
    program: &'static str,
    frame: &'a [u8],
}

fn load() -> Result<Ebpf> {
    let object = compile("shield.bpf")?;
    EbpfLoader::new().btf(None).load_file(object).context("the kernel refused the C references' tables")
}

fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let program: &mut Xdp = ebpf.program_mut(name).context("a C reference is missing")?.try_into()?;
    program.load().with_context(|| format!("the kernel refused {name}"))
}

impl<'a> Reference<'a> {
    /// A handful of addresses.
    pub fn few(addresses: Range<u32>, frame: &'a [u8]) -> Result<Self> {
        let mut ebpf = load()?;
        let mut few: HashMap<_, u32, u32> = ebpf.map_mut("few").context("no table `few`")?.try_into()?;
        for address in addresses {
            few.insert(address.to_be(), 1, 0)?;
        }
        load_program(&mut ebpf, "c_few")?;
        Ok(Self { ebpf: Rc::new(RefCell::new(ebpf)), program: "c_few", frame })
    }
}

/// All of them, with the list of a million.
pub struct Tables {
    ebpf: Rc<RefCell<Ebpf>>,
}

impl Tables {
    pub fn million() -> Result<Self> {
        let mut ebpf = load()?;
        let mut hash: HashMap<_, u32, u32> =
            ebpf.map_mut("addresses").context("no table `addresses`")?.try_into()?;
        for entry in 0..MILLION {
            hash.insert(sample(entry).to_be(), 1, 0)?;
        }
        let mut trie: LpmTrie<_, u32, u32> =
            ebpf.map_mut("prefixes").context("no table `prefixes`")?.try_into()?;
        for entry in 0..MILLION {
            let len = if entry.is_multiple_of(4) { 24 } else { 32 };
            trie.insert(&lpm_trie::Key::new(len, sample(entry).to_be()), 1, 0)?;
        }
        for name in ["c_hash_random", "c_hash_listed", "c_trie_random", "c_trie_listed"] {
            load_program(&mut ebpf, name)?;
        }
        Ok(Self { ebpf: Rc::new(RefCell::new(ebpf)) })
    }

    pub fn subject<'a>(&self, kind: &str, random: bool, frame: &'a [u8]) -> Reference<'a> {
        let program = match (kind, random) {
            (HASH, true) => "c_hash_random",
            (HASH, false) => "c_hash_listed",
            (_, true) => "c_trie_random",
            (_, false) => "c_trie_listed",
        };
        Reference { ebpf: Rc::clone(&self.ebpf), program, frame }
    }
}

impl Subject for Reference<'_> {
    fn time_ns(&mut self, repeat: u32) -> Result<f64> {
        let ebpf = self.ebpf.borrow();
        let program: &Xdp = ebpf.program(self.program).context("a C reference is missing")?.try_into()?;
        let options = TestRunOptions { data_in: Some(self.frame), repeat, ..TestRunOptions::new() };
        let outcome = program.test_run(options).context("test run of a C reference")?;
        if !matches!(outcome.return_value, 1 | 2) {
            bail!("{} came to {}", self.program, outcome.return_value);
        }
        Ok(outcome.duration.as_nanos() as f64)
    }
}
