//! Finding the real binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::process::checked_output;

/// The `portcullis` binary: `PORTCULLIS_BIN` if set, else built now in this test's own profile.
pub fn portcullis() -> Result<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PORTCULLIS_BIN") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("PORTCULLIS_BIN names {}, which is not a file", path.display());
        }
        return path.canonicalize().context("PORTCULLIS_BIN");
    }
    let own = std::env::current_exe().context("where is this test?")?;
    // target/PROFILE/deps/TEST or target/PROFILE/PROGRAM
    let profile = own
        .ancestors()
        .skip(1)
        .find(|path| !path.ends_with("deps"))
        .context("this test is not in a target directory")?;
    build(profile)?;
    let path = profile.join("portcullis");
    if !path.is_file() {
        bail!("{} was not built; build it, or name it with PORTCULLIS_BIN", path.display());
    }
    Ok(path)
}

/// Cargo builds no other package's binary for a test, so it is asked to.
fn build(profile: &Path) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--quiet", "--package", "portcullis-cli"]);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    checked_output(&mut command).map(drop).context("building portcullis")
}
