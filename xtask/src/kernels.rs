//! Runs one static binary, the kernel check, on several of Debian's kernels under QEMU.
//!
//! The kernels come from Debian's own archive through apt, with a private configuration below
//! `.cache/kernels`: nothing is installed and no root is needed. QEMU emulates in software, so this
//! works in any virtual machine or container; a boot takes a few seconds.

mod counts;
mod fetch;
mod guest;
mod image;
mod report;

use anyhow::{Context, Result, bail};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use counts::Counts;
use fetch::Kernel;
use report::Report;

/// The kernels that are supported, by the Debian release that ships them.
const KERNELS: [(&str, &str); 3] = [("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "trixie")];

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The options of `cargo xtask kernels`.
#[derive(clap::Args)]
pub struct Args {
    /// Only this kernel; may be given several times.
    #[arg(long, value_name = "VERSION")]
    kernel: Vec<String>,
    /// Accept the instruction counts of this run as the checked-in ones.
    #[arg(long)]
    bless: bool,
    /// Run this static program instead of building the kernel check.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Show everything that the guest prints.
    #[arg(long)]
    verbose: bool,
}

/// Boots every chosen kernel; fails if a check fails or the instruction counts grew.
pub fn run(root: &Path, args: &Args) -> Result<()> {
    if cfg!(not(target_arch = "x86_64")) {
        bail!("the kernels are x86-64 ones and so is the kernel check: run this on an x86-64 machine");
    }
    let chosen = choose(&args.kernel)?;
    let check = match &args.check {
        Some(path) => path.clone(),
        None => build_check(root)?,
    };
    let cache = root.join(".cache").join("kernels");
    let counts_file = root.join("kernels").join("verified-instructions.txt");
    let mut counts = Counts::read(&counts_file)?;

    let mut total = Report::default();
    for (version, suite) in chosen {
        let kernel = Kernel::fetch(&cache.join(version), version, suite)?;
        let initramfs = image::build(&kernel, &check)?;
        let mut report = guest::boot(&kernel, &initramfs, args.verbose)?;
        if args.bless {
            counts.replace(version, &report.instructions);
        } else {
            counts.compare(version, &mut report);
        }
        report.print(&kernel);
        total.add(report);
    }
    if args.bless {
        counts.write(&counts_file)?;
        println!("wrote {}", counts_file.display());
    }
    total.conclude()
}

fn choose(wanted: &[String]) -> Result<Vec<(&'static str, &'static str)>> {
    for version in wanted {
        if !KERNELS.iter().any(|(known, _)| known == version) {
            let known: Vec<_> = KERNELS.iter().map(|(version, _)| *version).collect();
            bail!("there is no kernel {version} here; there are: {}", known.join(", "));
        }
    }
    Ok(KERNELS
        .into_iter()
        .filter(|(version, _)| wanted.is_empty() || wanted.iter().any(|name| name == version))
        .collect())
}

/// Builds `kernel-check` statically, with the flags of `./dev build` so that both share their dependencies.
fn build_check(root: &Path) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--quiet", "--target", TARGET])
        .args(["--package", "portcullis-kernel-check", "--bin", "kernel-check"])
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .context("cannot start cargo to build the kernel check")?;
    if !status.success() {
        bail!("building the kernel check failed; the compiler's messages are above");
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let built = target.join(TARGET).join("release").join("kernel-check");
    fs::metadata(&built).with_context(|| format!("the kernel check is not at {}", built.display()))?;
    Ok(built)
}
