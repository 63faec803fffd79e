//! The C program that the gate is measured against: `benches/ifindex_ipv4.bpf.c`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use aya::maps::HashMap;
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use portcullis_abi::Ipv4;

use crate::measure::Subject;

/// Its name in the results.
pub const NAME: &str = "c-ifindex-ipv4";

const PROGRAM: &str = "c_ifindex_ipv4";
/// `TC_ACT_OK`.
const PASS: u32 = 0;

/// The program, loaded, with one interface bound.
pub struct Reference<'a> {
    ebpf: Ebpf,
    frame: &'a [u8],
    context: &'a [u8],
}

impl<'a> Reference<'a> {
    /// Compiles and loads it, and binds `ifindex` to `address`.
    pub fn new(ifindex: u32, address: Ipv4, frame: &'a [u8], context: &'a [u8]) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .load_file(compile("ifindex_ipv4.bpf")?)
            .context("the kernel refused the C reference's tables")?;
        let map = ebpf.map_mut("addresses").context("the C reference has no table `addresses`")?;
        let mut addresses: HashMap<_, u32, u32> = map.try_into()?;
        addresses.insert(ifindex, u32::from_ne_bytes(address.0), 0)?;
        let program = ebpf.program_mut(PROGRAM).context("the C reference has no program")?;
        let program: &mut SchedClassifier = program.try_into()?;
        program.load().context("the kernel refused the C reference")?;
        Ok(Self { ebpf, frame, context })
    }

    fn program(&self) -> Result<&SchedClassifier> {
        Ok(self.ebpf.program(PROGRAM).context("the C reference has no program")?.try_into()?)
    }
}

impl Subject for Reference<'_> {
    fn time_ns(&mut self, repeat: u32) -> Result<f64> {
        let program = self.program()?;
        let options = TestRunOptions {
            data_in: Some(self.frame),
            ctx_in: Some(self.context),
            repeat,
            ..TestRunOptions::new()
        };
        let started = Instant::now();
        let outcome = program.test_run(options).context("test run of the C reference")?;
        let elapsed = started.elapsed();
        if outcome.return_value != PASS {
            bail!("the C reference does not pass the honest frame: it would not do what is measured");
        }
        Ok(elapsed.as_secs_f64() * 1e9 / f64::from(repeat))
    }
}

/// Compiles a reference of `benches` next to the other build results.
pub fn compile(name: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("no workspace root")?;
    let source = root.join("benches").join(format!("{name}.c"));
    let directory = root.join("target/bench");
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let object = directory.join(format!("{name}.o"));
    let status = Command::new("clang")
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror"])
        // Where Debian keeps the machine's own <asm/types.h>.
        .arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH))
        .arg("-c")
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .status()
        .context("cannot start clang: apt-get install clang libbpf-dev (or ./dev setup bench)")?;
    if !status.success() {
        bail!("clang could not compile {}; its messages are above", source.display());
    }
    Ok(object)
}
