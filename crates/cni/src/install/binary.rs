//! The plugin's file.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{InstallError, Outcome, file};
use crate::PLUGIN_TYPE;

/// Bytes that are compared at a time.
const PIECE: usize = 1 << 16;

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
    let is_like_ours = |there: &Metadata| there.mode() & 0o111 == 0o111 && there.size() == own.size();
    if present.as_ref().is_some_and(is_like_ours)
        && same_content(binary, &target).map_err(failed("read", binary))?
    {
        return Ok((target, Outcome::Unchanged));
    }
    if !dry_run {
        let mut from = File::open(binary).map_err(failed("read", binary))?;
        file::replace_with(&target, |new| {
            io::copy(&mut from, new)?;
            new.set_permissions(Permissions::from_mode(0o755))
        })?;
    }
    Ok((target, if present.is_some() { Outcome::Updated } else { Outcome::Installed }))
}

/// Whether two files of one length say the same. Piece by piece: the binary is large, and whoever installs it may have
/// little memory.
fn same_content(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut ours, mut theirs) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let read = a.read(&mut ours)?;
        if read == 0 {
            return Ok(true);
        }
        match b.read_exact(&mut theirs[..read]) {
            Ok(()) if ours[..read] == theirs[..read] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
