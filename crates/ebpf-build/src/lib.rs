//! Builds the kernel programs (`crates/ebpf`) into one BPF object file.
//!
//! Both `cargo xtask build-ebpf` and the build script of `portcullis-datapath` call [`build`], so there is
//! one answer to "which compiler, which flags". This crate must not depend on any crate that embeds the
//! object: that would be a cycle.

use anyhow::{Context, Result, bail};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

mod toolchain;

pub use toolchain::Toolchain;

/// Cargo's name for the little-endian BPF target; the supported machines are all little-endian.
pub const TARGET: &str = "bpfel-unknown-none";

/// The file name of the object that [`build`] leaves in its output directory.
pub const OBJECT: &str = "portcullis.o";

/// The object of the shield's programs, beside it.
pub const SHIELD_OBJECT: &str = "shield.o";

/// A feature of the target: one load for an unaligned word instead of a load per byte. The kernel allows such loads
/// from packets on every machine with efficient unaligned access (x86-64, arm64).
const MISALIGNED: &str = "allows-misaligned-mem-access";

/// What the object is made of, relative to the workspace root: a build script re-runs when one changes.
pub const INPUTS: [&str; 5] =
    ["crates/abi", "crates/engine", "crates/ebpf", "crates/ebpf-build", "Cargo.lock"];

/// The environment variables that change the object: a build script re-runs when one changes.
pub const VARIABLES: [&str; 3] =
    ["PORTCULLIS_EBPF_RUSTC", "PORTCULLIS_EBPF_MISALIGNED", "PORTCULLIS_EBPF_TARGET_DIR"];

/// Builds the kernel programs and returns the path of the gate's object, `out_dir/portcullis.o`; the shield's is
/// beside it.
///
/// Intermediate files go to [`target_dir`].
pub fn build(workspace_root: &Path, out_dir: &Path) -> Result<PathBuf> {
    let object = out_dir.join(OBJECT);
    fs::create_dir_all(out_dir).with_context(|| format!("cannot create {}", out_dir.display()))?;

    let toolchain = Toolchain::find()?;
    let linker = find_linker()?;
    let target_dir = target_dir(workspace_root);
    let built = target_dir.join(TARGET).join("release");

    let status = cargo(&toolchain, &linker, workspace_root, &target_dir).status().with_context(|| {
        format!("cannot start {} to build the kernel programs", toolchain.cargo.display())
    })?;
    if !status.success() {
        bail!("building the kernel programs with {toolchain} failed ({status}); its messages are above");
    }
    copy_if_changed(&built.join("portcullis-shield"), &out_dir.join(SHIELD_OBJECT))?;
    copy_if_changed(&built.join("portcullis-ebpf"), &object)?;
    Ok(object)
}

/// Where cargo keeps the intermediate files of the kernel programs: apart from the workspace's own target
/// directory, whose lock the calling cargo may hold, and shared by all callers, so only the first one is slow.
pub fn target_dir(workspace_root: &Path) -> PathBuf {
    match env::var_os("PORTCULLIS_EBPF_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => workspace_root.join("target").join("ebpf"),
    }
}

fn cargo(toolchain: &Toolchain, linker: &Path, workspace_root: &Path, target_dir: &Path) -> Command {
    let mut command = Command::new(&toolchain.cargo);
    // An outer cargo, clippy or rustup leaves settings for its own compiler in the environment.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_inherited_setting) {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(workspace_root)
        .args(["build", "--package", "portcullis-ebpf", "--bins", "--release"])
        .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .arg(target_dir)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(linker).join("\x1f"))
        // The workspace strips its release binaries and unwinds; BTF comes from debug information, and BPF
        // cannot unwind. More than one codegen unit can exceed the 512 bytes of stack.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3");
    command
}

fn rustflags(linker: &Path) -> Vec<String> {
    let mut flags = vec![
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // v3 has 32-bit arithmetic and jumps, and loads on 5.10.
        "-Ctarget-cpu=v3".to_owned(),
    ];
    // The linker makes the machine code, so it alone need know (LLVM 20 and later).
    let wanted = env::var_os("PORTCULLIS_EBPF_MISALIGNED").is_none_or(|value| value != "0");
    if wanted && toolchain::output(linker, &["--help"]).is_some_and(|help| help.contains(MISALIGNED)) {
        flags.push(format!("-Clink-arg=--cpu-features=+{MISALIGNED}"));
    }
    flags
}

fn is_inherited_setting(name: &str) -> bool {
    const EXACT: [&str; 8] = [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_LINKER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "CLIPPY_ARGS",
    ];
    // CARGO_HOME, CARGO_NET_* and CARGO_HTTP_* say where crates come from: those stay.
    const KEPT: [&str; 4] = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR"];
    EXACT.contains(&name) || (name.starts_with("CARGO") && !KEPT.iter().any(|kept| name.starts_with(kept)))
}

/// bpf-linker, from PATH or from where `cargo install` puts it.
pub fn find_linker() -> Result<PathBuf> {
    let in_path = env::var_os("PATH")
        .into_iter()
        .flat_map(|path| env::split_paths(&path).collect::<Vec<_>>())
        .map(|dir| dir.join("bpf-linker"));
    let installed = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .into_iter()
        .chain(env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .map(|home| home.join("bin").join("bpf-linker"));
    in_path.chain(installed).find(|path| path.is_file()).context(
        "bpf-linker is missing: `./dev build` installs it (LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker \
         --no-default-features --features llvm-22)",
    )
}

/// Leaves the file alone when its content is the same, so that what embeds it is not rebuilt.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read the object {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(to, new).with_context(|| format!("cannot write the object {}", to.display()))
}
