//! The plugin's file.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{InstallError, Outcome, file};
use crate::PLUGIN_TYPE;

/// Copies a binary into the directory of plugins, under the name that configurations call it.
pub(super) fn put(binary: &Path, bin_dir: &Path, dry_run: bool) -> Result<(PathBuf, Outcome), InstallError> {
    if !bin_dir.is_dir() {
        return Err(InstallError::NotFound(format!(
            "there is no directory {}: name the one that the runtime looks for plugins in with --bin-dir \
             (Debian's plugins are in /usr/lib/cni)",
            bin_dir.display()
        )));
    }
    let target = bin_dir.join(PLUGIN_TYPE);
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::Io { what, path, source }
    };
    let present = match fs::metadata(&target) {
        Ok(present) if present.is_dir() => {
            let why = "a directory stands where the plugin is to be; move it away".to_owned();
            return Err(InstallError::Refused { path: target, why });
        }
        Ok(present) => Some(present),
        Err(_) => None,
    };
    let own = fs::metadata(binary).map_err(failed("read", binary))?;
    if present.as_ref().is_some_and(|present| (present.dev(), present.ino()) == (own.dev(), own.ino())) {
        return Ok((target, Outcome::Unchanged));
    }
    let content = fs::read(binary).map_err(failed("read", binary))?;
    let runs = present.as_ref().is_some_and(|present| present.mode() & 0o111 == 0o111);
    if runs && fs::read(&target).is_ok_and(|there| there == content) {
        return Ok((target, Outcome::Unchanged));
    }
    if !dry_run {
        file::replace(&target, &content, |new| new.set_permissions(Permissions::from_mode(0o755)))?;
    }
    Ok((target, if present.is_some() { Outcome::Updated } else { Outcome::Installed }))
}
