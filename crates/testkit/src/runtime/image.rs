//! Images, made here since there is no registry. That of all tests has busybox and the forger.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::programs::program;
use crate::process::checked_output;

/// Its name in every runtime.
pub const IMAGE: &str = "portcullis.test/lab:1";

/// Commands of busybox that the image has.
const APPLETS: [&str; 12] =
    ["sh", "sleep", "ip", "cat", "echo", "ls", "true", "wget", "nc", "ping", "ping6", "httpd"];

/// The archive of the image, as `docker save` writes it; every runtime takes that.
pub fn archive() -> Result<PathBuf> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    MADE.get_or_init(|| lab().map_err(|error| format!("the tests' image: {error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

fn lab() -> Result<PathBuf> {
    let busybox = fs::read(program("busybox")?)?;
    let forger = fs::read(static_program("PORTCULLIS_FORGER", "portcullis-forger", "forger")?)?;
    let applets = APPLETS.map(|applet| (format!("bin/{applet}"), "busybox"));
    find_or_make(&Contents {
        name: IMAGE,
        command: &["/bin/forger", "pause"],
        directories: &["bin/", "etc/", "tmp/", "proc/", "sys/", "dev/"],
        files: &[
            ("bin/busybox", 0o755, &busybox),
            ("bin/forger", 0o755, &forger),
            ("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n"),
        ],
        links: &applets.each_ref().map(|(path, to)| (path.as_str(), *to)),
    })
}

/// What an image has.
pub struct Contents<'a> {
    /// Its name in every runtime.
    pub name: &'a str,
    /// What runs.
    pub command: &'a [&'a str],
    /// Its directories, each after those that it is in, with a slash at the end.
    pub directories: &'a [&'a str],
    /// Its files: path, mode, bytes.
    pub files: &'a [(&'a str, u32, &'a [u8])],
    /// Its symbolic links: path, and where to.
    pub links: &'a [(&'a str, &'a str)],
}

/// The archive of an image, made if there is none with these contents yet.
pub fn find_or_make(contents: &Contents<'_>) -> Result<PathBuf> {
    let layer = layer(contents)?;
    let hash = Sha256::new()
        .chain_update(contents.name)
        .chain_update(contents.command.join(" "))
        .chain_update(&layer);
    let directory = target().join("testkit");
    let path = directory.join(format!("image-{:x}.tar", hash.finalize()));
    if path.is_file() {
        return Ok(path);
    }
    fs::create_dir_all(&directory)?;
    let mut made = tempfile::NamedTempFile::new_in(&directory)?;
    write_archive(made.as_file_mut(), contents, &layer)?;
    // Whoever comes second puts the same there.
    made.persist(&path)?;
    Ok(path)
}

fn write_archive(file: &mut File, contents: &Contents<'_>, layer: &[u8]) -> Result<()> {
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": contents.command, "Env": ["PATH=/bin:/usr/local/bin"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{:x}", Sha256::digest(layer))]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "portcullis-testkit"}],
    })
    .to_string();
    let config_name = format!("{:x}.json", Sha256::digest(&config));
    let manifest =
        json!([{"Config": &config_name, "RepoTags": [contents.name], "Layers": ["layer.tar"]}]).to_string();
    let mut archive = Builder::new(io::BufWriter::new(file));
    add(&mut archive, "layer.tar", 0o644, layer)?;
    add(&mut archive, &config_name, 0o644, config.as_bytes())?;
    add(&mut archive, "manifest.json", 0o644, manifest.as_bytes())?;
    Ok(archive.into_inner()?.flush()?)
}

fn layer(contents: &Contents<'_>) -> Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    for directory in contents.directories {
        let mut header = header(0o755, 0);
        header.set_entry_type(EntryType::Directory);
        layer.append_data(&mut header, directory, io::empty())?;
    }
    for (path, mode, content) in contents.files {
        add(&mut layer, path, *mode, content)?;
    }
    for (path, to) in contents.links {
        let mut header = header(0o777, 0);
        header.set_entry_type(EntryType::Symlink);
        layer.append_link(&mut header, path, to)?;
    }
    Ok(layer.into_inner()?)
}

fn add(archive: &mut Builder<impl Write>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(mode, content.len() as u64), path, content)
}

fn header(mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header
}

/// A static binary: what the variable names, else built now.
pub fn static_program(variable: &str, package: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return PathBuf::from(path).canonicalize().with_context(|| variable.to_owned());
    }
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .args(["build", "--quiet", "--release", "--package", package, "--target", &target])
        .env(flags, "-C target-feature=+crt-static");
    checked_output(&mut command).with_context(|| format!("building {name}"))?;
    let built = self::target().join(target).join("release").join(name);
    if !built.is_file() {
        bail!("{} was not built; build it, or name it with {variable}", built.display());
    }
    Ok(built)
}

/// Cargo's target directory.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    }
}
