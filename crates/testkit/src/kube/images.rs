//! The image with the real binary, made without a registry.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::process::checked_output;
use crate::runtime::image::{self, Contents};

/// Name of the image that has nothing but `portcullis`.
pub const PORTCULLIS_IMAGE: &str = "portcullis.test/portcullis:tests";

/// Where the binary is in the image, as in the real one.
const PLACE: &str = "usr/local/bin/portcullis";

/// The archive of that image. The binary is `PORTCULLIS_STATIC` if set; else the tests' own (`PORTCULLIS_BIN`) with the libraries that
/// it is linked to: a static one would have to be built with everything that it is made of, which takes ten minutes.
pub fn portcullis() -> Result<PathBuf> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    MADE.get_or_init(|| make().map_err(|error: anyhow::Error| format!("the image of portcullis: {error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

fn make() -> Result<PathBuf> {
    let chosen = std::env::var_os("PORTCULLIS_STATIC").map(PathBuf::from);
    let binary = chosen.map_or_else(crate::binary::portcullis, Ok)?;
    let mut files = vec![(PLACE.to_owned(), stripped(&binary)?)];
    for library in libraries(&binary)? {
        let content = std::fs::read(&library).with_context(|| library.display().to_string())?;
        files.push((library.display().to_string().trim_start_matches('/').to_owned(), content));
    }
    let directories = directories(&files);
    let files: Vec<(&str, u32, &[u8])> =
        files.iter().map(|(path, content)| (path.as_str(), 0o755, content.as_slice())).collect();
    image::find_or_make(&Contents {
        name: PORTCULLIS_IMAGE,
        command: &["/usr/local/bin/portcullis"],
        directories: &directories.iter().map(String::as_str).collect::<Vec<_>>(),
        files: &files,
        links: &[("portcullis", PLACE)],
    })
}

/// Without what only debuggers read: nodes import it faster.
fn stripped(binary: &Path) -> Result<Vec<u8>> {
    let directory = tempfile::tempdir()?;
    let copy = directory.path().join("portcullis");
    checked_output(Command::new("strip").arg("-o").arg(&copy).arg(binary)).context("strip (binutils)")?;
    Ok(std::fs::read(&copy)?)
}

/// The dynamic libraries and their loader; none of a static program.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let told = Command::new("ldd").arg(binary).output().context("ldd (libc-bin)")?;
    let text = String::from_utf8_lossy(&told.stdout);
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}

/// Every directory, each after those that it is in.
fn directories(files: &[(String, Vec<u8>)]) -> Vec<String> {
    let usual = ["tmp/", "etc/", "run/", "var/", "proc/", "sys/", "dev/"].map(str::to_owned);
    let mut all: Vec<String> = usual.into();
    for (path, _) in files {
        let ends = path.match_indices('/').map(|(at, _)| path[..=at].to_owned());
        for directory in ends {
            if !all.contains(&directory) {
                all.push(directory);
            }
        }
    }
    all
}
