//! Developer tasks, run as `cargo xtask TASK`. `./dev` is the friendlier door to the same things.
//!
//! Nothing here may depend on a crate that embeds the kernel programs: this builds them.

mod invariants;
mod kernels;

use anyhow::{Context, Result};
use clap::Parser;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Parser)]
#[command(name = "xtask", about = "Developer tasks of Portcullis")]
enum Task {
    /// Build the kernel programs and print the path of the object.
    BuildEbpf {
        /// Where to leave portcullis.o.
        #[arg(long, default_value = "target/ebpf")]
        out_dir: PathBuf,
    },
    /// Run the kernel check on Debian's kernels in QEMU.
    Kernels(kernels::Args),
    /// Check what ARCHITECTURE.md promises about who depends on what.
    Invariants,
}

fn main() -> ExitCode {
    match run(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // No backtrace: these are messages for whoever typed the command.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let root = workspace_root()?;
    match task {
        Task::BuildEbpf { out_dir } => {
            let object = portcullis_ebpf_build::build(&root, &root.join(out_dir))?;
            println!("{}", object.display());
            Ok(())
        }
        Task::Kernels(args) => kernels::run(&root, &args),
        Task::Invariants => invariants::check(&root),
    }
}

/// The checkout this binary was built from.
fn workspace_root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    Ok(root.to_owned())
}
