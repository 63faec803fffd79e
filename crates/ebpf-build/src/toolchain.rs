//! Which compiler builds the kernel programs.

use anyhow::{Result, bail};
use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// The workspace's `rust-version` is 1.93: cargo refuses older compilers.
const MINIMUM_MINOR: u32 = 93;

/// A compiler that can build `core` for BPF: it has its own sources beside it.
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// The cargo that belongs to the compiler.
    pub cargo: PathBuf,
    /// The compiler.
    pub rustc: PathBuf,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rustc.display())
    }
}

impl Toolchain {
    /// Finds the first usable compiler: rustup's nightly with its rust-src component, then the
    /// distribution's with its source package. `PORTCULLIS_EBPF_RUSTC` overrides both.
    pub fn find() -> Result<Self> {
        let chosen = env::var_os("PORTCULLIS_EBPF_RUSTC").map(PathBuf::from);
        let candidates = chosen.into_iter().chain(rustup_nightly()).chain(system_compilers());
        for rustc in candidates {
            if let Some(toolchain) = Self::beside(&rustc) {
                return Ok(toolchain);
            }
        }
        bail!(
            "no Rust compiler of version 1.{MINIMUM_MINOR} or newer with its library sources was found, and BPF \
             needs to compile `core`. On Debian: apt-get install rustc-web cargo-web rust-web-src (or `./dev \
             build`); elsewhere: rustup toolchain install nightly --component rust-src"
        )
    }

    fn beside(rustc: &Path) -> Option<Self> {
        let cargo = rustc.with_file_name(rustc.file_name()?.to_str()?.replacen("rustc", "cargo", 1));
        if !rustc.is_file() || !cargo.is_file() {
            return None;
        }
        if minor_version(rustc)? < MINIMUM_MINOR {
            return None;
        }
        let sysroot = PathBuf::from(output(rustc, &["--print", "sysroot"])?);
        if !sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file() {
            return None;
        }
        Some(Self { cargo, rustc: rustc.to_owned() })
    }
}

/// The nightly compiler's own path: rustup's proxies would need an environment that names the toolchain.
fn rustup_nightly() -> Option<PathBuf> {
    output(Path::new("rustup"), &["which", "--toolchain", "nightly", "rustc"]).map(PathBuf::from)
}

/// `/usr/bin/rustc` (Debian), then versioned ones (Ubuntu's `rustc-1.89`), newest first.
fn system_compilers() -> Vec<PathBuf> {
    let mut versioned: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/bin")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let minor = entry.file_name().to_str()?.strip_prefix("rustc-1.")?.parse().ok()?;
            Some((minor, entry.path()))
        })
        .collect();
    versioned.sort_by_key(|(minor, _)| std::cmp::Reverse(*minor));
    let mut all = vec![PathBuf::from("/usr/bin/rustc")];
    all.extend(versioned.into_iter().map(|(_, path)| path));
    all
}

/// 96 of `rustc 1.96.0 (…)`.
fn minor_version(rustc: &Path) -> Option<u32> {
    output(rustc, &["--version"])?.split_whitespace().nth(1)?.split('.').nth(1)?.parse().ok()
}

/// The trimmed standard output of a command that succeeded.
pub(crate) fn output(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("RUSTC_BOOTSTRAP", "1")
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}
