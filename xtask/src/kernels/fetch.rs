//! Gets a kernel package from Debian's archive with apt, and unpacks it.

use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Old releases move from the first to the second.
const MIRRORS: [&str; 2] = ["http://deb.debian.org/debian", "http://archive.debian.org/debian"];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An unpacked kernel.
pub struct Kernel {
    /// The series, as in `6.1`.
    pub series: String,
    /// The full release, as in `6.1.0-50-cloud-amd64`.
    pub release: String,
    /// The directory of this kernel in the cache.
    pub directory: PathBuf,
    /// Held as long as the kernel is in use: one run at a time writes to the directory.
    _lock: File,
}

impl Kernel {
    /// The kernel of a Debian release: from the cache, or fetched into it.
    pub fn fetch(directory: &Path, series: &str, suite: &str) -> Result<Self> {
        let lock = lock(directory)?;
        let release = match unpacked_release(directory) {
            Some(release) => release,
            None => {
                eprintln!("fetching Debian's kernel {series} ({suite}), once");
                download_from_any(directory, suite)
                    .with_context(|| format!("cannot get Debian's kernel {series} ({suite})"))?
            }
        };
        Ok(Self { series: series.to_owned(), release, directory: directory.to_owned(), _lock: lock })
    }

    /// The kernel image.
    pub fn image(&self) -> PathBuf {
        self.directory.join("root/boot").join(format!("vmlinuz-{}", self.release))
    }

    /// Everything that the guest printed the last time.
    pub fn serial_log(&self) -> PathBuf {
        self.directory.join("serial.log")
    }

    /// Every module of the kernel by its name (with underscores, as the kernel spells it).
    pub fn modules(&self) -> Result<BTreeMap<String, PathBuf>> {
        // Newer packages have /usr/lib/modules.
        let below = ["root/lib/modules", "root/usr/lib/modules"].map(|path| self.directory.join(path));
        let top = below.iter().find(|path| path.is_dir()).context("the kernel package has no modules")?;
        let mut modules = BTreeMap::new();
        let mut pending = vec![top.clone()];
        while let Some(directory) = pending.pop() {
            let entries = fs::read_dir(&directory)
                .with_context(|| format!("cannot read the modules in {}", directory.display()))?;
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() {
                    pending.push(path);
                } else if let Some(name) = module_name(&path) {
                    modules.insert(name, path);
                }
            }
        }
        Ok(modules)
    }
}

/// `cls_bpf` of `…/cls_bpf.ko.xz`.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, compression) = file.split_once(".ko")?;
    matches!(compression, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

/// The kernel that was completely unpacked before, if any: the stamp is written last.
fn unpacked_release(directory: &Path) -> Option<String> {
    let release = fs::read_to_string(directory.join("release")).ok()?.trim().to_owned();
    (!release.is_empty()).then_some(release)
}

/// Waits for other runs that use the same kernel.
fn lock(directory: &Path) -> Result<File> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let path = directory.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

fn download_from_any(directory: &Path, suite: &str) -> Result<String> {
    let mut failures = Vec::new();
    for mirror in MIRRORS {
        match download(directory, suite, mirror) {
            Ok(()) => return unpacked_release(directory).context("the package holds no kernel"),
            Err(error) => failures.push(format!("{mirror}: {error:#}")),
        }
    }
    bail!("no mirror has it:\n  {}", failures.join("\n  "))
}

fn download(directory: &Path, suite: &str, mirror: &str) -> Result<()> {
    ensure!(
        Path::new(KEYRING).is_file(),
        "{KEYRING} is missing, which the packages are verified with: apt-get install debian-archive-keyring"
    );
    let apt = Apt::new(directory, suite, mirror)?;
    apt.run("apt-get", &["update"]).context("apt-get update failed")?;
    // The meta package names the newest kernel of the release.
    let depends = apt.run("apt-cache", &["depends", "--important", "linux-image-cloud-amd64"])?;
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .context("linux-image-cloud-amd64 depends on no kernel")?
        .to_owned();
    apt.run("apt-get", &["download", &package]).with_context(|| format!("cannot download {package}"))?;

    let archive = fs::read_dir(&apt.directory)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get download left no package of {package}"))?;
    let root = directory.join("root");
    let status =
        Command::new("dpkg").arg("-x").arg(&archive).arg(&root).status().context("cannot start dpkg")?;
    ensure!(status.success(), "dpkg could not unpack {}", archive.display());
    fs::remove_dir_all(&apt.directory).context("cannot remove apt's temporary files")?;
    fs::write(directory.join("release"), package.trim_start_matches("linux-image-"))?;
    Ok(())
}

/// An apt with its own sources, state and cache, which touches nothing of the system's.
struct Apt {
    directory: PathBuf,
}

impl Apt {
    fn new(below: &Path, suite: &str, mirror: &str) -> Result<Self> {
        let directory = below.join("apt");
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(part))
                .with_context(|| format!("cannot create {}", directory.join(part).display()))?;
        }
        // Only the package lists, no descriptions or metadata of applications.
        let source = format!("deb [arch=amd64 target=Packages signed-by={KEYRING}] {mirror} {suite} main\n");
        fs::write(directory.join("sources.list"), source)?;
        fs::write(directory.join("status"), "")?;
        Ok(Self { directory })
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let path = |name: &str| self.directory.join(name).display().to_string();
        let settings = [
            format!("Dir::Etc::sourcelist={}", path("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State={}", path("state")),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::Cache={}", path("cache")),
            "Acquire::Languages=none".to_owned(),
            // Releases that are out of support keep their last, expired signatures.
            "Acquire::Check-Valid-Until=false".to_owned(),
            // apt's own user may not enter the checkout.
            "APT::Sandbox::User=root".to_owned(),
            "APT::Architecture=amd64".to_owned(),
        ];
        let errors = self.directory.join("errors");
        let output = Command::new(program)
            .args(settings.iter().flat_map(|setting| ["-o", setting]))
            .args(args)
            .current_dir(&self.directory)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stderr(File::create(&errors)?)
            .output()
            .with_context(|| format!("cannot start {program}"))?;
        let messages = fs::read_to_string(&errors).unwrap_or_default();
        // A mirror that lacks the release is a mere warning of `apt-get update`.
        if !output.status.success() || messages.lines().any(|line| line.starts_with("W: Failed")) {
            bail!("{program} {}: {}", args.join(" "), messages.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
