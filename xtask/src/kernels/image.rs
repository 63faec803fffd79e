//! Makes the guest's file system: an initramfs of busybox, a few modules and the kernel check.

use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::fetch::Kernel;

/// What the check needs and Debian's kernels have as modules; what these depend on comes along.
const MODULES: [&str; 6] = ["veth", "sch_ingress", "cls_bpf", "bridge", "8021q", "tun"];

const BUSYBOX: &str = "/bin/busybox";

/// The guest's first process. It must end in a power-off whatever happens.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /sbin /usr/bin /usr/sbin
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp RUST_BACKTRACE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /run/netns
mount -t cgroup2 cgroup /sys/fs/cgroup
for module in $(cat /modules/order); do
    insmod "/modules/$module.ko" || echo "not ok insmod $module"
done
ip link set lo up
echo "kernel $(uname -r)"
/kernel-check 2>&1
echo "exit $?"
poweroff -f
"#;

/// Writes the initramfs and returns its path.
pub fn build(kernel: &Kernel, check: &Path) -> Result<PathBuf> {
    let mut archive = Archive::default();
    for directory in ["bin", "modules"] {
        archive.directory(directory);
    }
    let busybox = fs::read(BUSYBOX).with_context(|| {
        format!("cannot read {BUSYBOX}: apt-get install busybox-static (or ./dev kernels)")
    })?;
    archive.file("bin/busybox", 0o755, &busybox);
    archive.file("init", 0o755, INIT.as_bytes());
    let check_content = fs::read(check).with_context(|| format!("cannot read {}", check.display()))?;
    archive.file("kernel-check", 0o755, &check_content);

    let modules = Modules::load(kernel)?;
    for name in &modules.order {
        archive.file(&format!("modules/{name}.ko"), 0o644, &modules.contents[name]);
    }
    archive.file("modules/order", 0o644, modules.order.join("\n").as_bytes());

    let path = kernel.directory.join("initramfs");
    fs::write(&path, archive.finish()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Modules in an order in which each comes after those it depends on.
#[derive(Default)]
struct Modules {
    order: Vec<String>,
    contents: BTreeMap<String, Vec<u8>>,
}

impl Modules {
    fn load(kernel: &Kernel) -> Result<Self> {
        let available = kernel.modules()?;
        let mut modules = Self::default();
        for name in MODULES {
            modules.add(name, &available)?;
        }
        Ok(modules)
    }

    fn add(&mut self, name: &str, available: &BTreeMap<String, PathBuf>) -> Result<()> {
        if self.contents.contains_key(name) {
            return Ok(());
        }
        let path = available.get(name).with_context(|| format!("the kernel has no module {name}"))?;
        let content = decompress(path)?;
        for dependency in dependencies(&content) {
            self.add(&dependency, available)?;
        }
        self.contents.insert(name.to_owned(), content);
        self.order.push(name.to_owned());
        Ok(())
    }
}

/// What the module's `.modinfo` names after `depends=`: a module carries its own dependencies, so the
/// kernel's index (which only an installed package has) is not needed.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = &module[start + KEY.len()..];
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end])
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

fn decompress(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).with_context(|| format!("cannot read {}", path.display())),
    };
    let output = Command::new(program)
        .arg("-dc")
        .arg(path)
        .output()
        .with_context(|| format!("cannot start {program} to unpack {}", path.display()))?;
    if !output.status.success() {
        bail!(
            "{program} cannot unpack {}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

/// A cpio archive in the `newc` format (the kernel's Documentation/driver-api/early-userspace/buffer-format).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | permissions, content);
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (inode, links, size, name_size) = (self.entries, 1, content.len(), name.len() + 1);
        let header = format!(
            "070701{inode:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}",
            0, 0, 0, 0, 0, 0, 0, 0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_modules_dependencies() {
        assert_eq!(dependencies(b"x\0license=GPL\0depends=stp,llc-x\0name=bridge\0"), ["stp", "llc_x"]);
        assert_eq!(dependencies(b"x\0depends=\0name=veth\0"), Vec::<String>::new());
        assert_eq!(dependencies(b"nothing"), Vec::<String>::new());
    }

    #[test]
    fn aligns_archive_entries() {
        let mut archive = Archive::default();
        archive.file("a", 0o644, b"12345");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.starts_with(b"07070100000001000081a4"));
        let name = 110;
        assert_eq!(&bytes[name..name + 2], b"a\0");
        assert_eq!(&bytes[112..117], b"12345");
        assert_eq!(&bytes[120..126], b"070701");
    }
}
