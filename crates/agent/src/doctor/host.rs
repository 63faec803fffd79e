//! What this process may do, and whether the places it needs are there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities as thread_capabilities};

use super::Check;
use super::kernel::Version;

/// Since this kernel maps are charged to the cgroup instead of RLIMIT_MEMLOCK (bpf_map_charge, 5.11).
const CHARGED_TO_CGROUP: Version = Version(5, 11);
/// Room that the tables take, roughly, with the default capacity.
const TABLES_BYTES: u64 = 64 << 20;

pub(super) fn capabilities() -> Check {
    let effective = match thread_capabilities(None) {
        Ok(sets) => sets.effective,
        Err(error) => {
            return Check::warn(
                "privileges",
                format!("cannot be read: {error}"),
                "see that this runs as root",
            );
        }
    };
    let missing = missing_capabilities(effective);
    if !missing.is_empty() {
        return Check::fail(
            "privileges",
            format!("{} missing", missing.join(", ")),
            "run as root, or give the capabilities to the service (AmbientCapabilities= in its systemd unit)",
        );
    }
    // A user namespace grants the bits, but the kernel asks for them in the first one.
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if map.split_ascii_whitespace().ne(["0", "0", "4294967295"]) {
        return Check::fail(
            "privileges",
            "this is a user namespace, whose capabilities do not count for bpf",
            "run the agent outside of it, or in a container that shares the host's user namespace",
        );
    }
    Check::ok("privileges", "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN")
}

/// CAP_SYS_ADMIN implies CAP_BPF and CAP_PERFMON; it is needed itself to enter network namespaces
/// (setns(2)).
fn missing_capabilities(has: CapabilitySet) -> Vec<&'static str> {
    let needed = [
        (CapabilitySet::BPF | CapabilitySet::SYS_ADMIN, "CAP_BPF"),
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN, "CAP_PERFMON"),
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    ];
    needed.into_iter().filter(|(any, _)| !has.intersects(*any)).map(|(_, name)| name).collect()
}

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    kind: String,
}

fn mounts() -> Vec<Mount> {
    parse_mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

fn parse_mounts(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (fields, rest) = line.split_once(" - ")?;
            let point = fields.split(' ').nth(4)?.replace("\\040", " ");
            Some(Mount { point: point.into(), kind: rest.split(' ').next()?.to_owned() })
        })
        .collect()
}

/// The mount that `path` lies on: the longest mount point, the last one mounted there.
fn mount_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

pub(super) fn bpffs(dir: &Path) -> Check {
    let mounts = mounts();
    let Some(mount) = mount_of(&mounts, dir).filter(|mount| mount.kind == "bpf") else {
        return Check::fail(
            "bpffs",
            format!("{} is not on a bpf file system: nothing could be pinned", dir.display()),
            "mount it: `mount -t bpf bpf /sys/fs/bpf`",
        );
    };
    if nearest_existing(dir).is_none_or(|found| access(found, Access::WRITE_OK).is_err()) {
        return Check::fail("bpffs", format!("{} is not writable", dir.display()), "run as root");
    }
    // Anybody may make directories in a bpf file system (its root has mode 1777), this one too.
    match fs::metadata(dir) {
        Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => Check::fail(
            "bpffs",
            format!("{} belongs to user {}, who could undo what is pinned there", dir.display(), found.uid()),
            format!("find out who made it, then remove it: `rm -r {}`", dir.display()),
        ),
        _ => Check::ok("bpffs", format!("mounted at {}", mount.point.display())),
    }
}

pub(super) fn cgroup2() -> Check {
    match mounts().into_iter().find(|mount| mount.kind == "cgroup2") {
        Some(mount) => Check::ok("cgroup2", format!("mounted at {}", mount.point.display())),
        None => Check::warn(
            "cgroup2",
            "not mounted: events cannot name the process behind a frame",
            "mount it: `mount -t cgroup2 none /sys/fs/cgroup` (or boot with systemd.unified_cgroup_hierarchy=1)",
        ),
    }
}

pub(super) fn memlock(version: Option<Version>) -> Check {
    if version >= Some(CHARGED_TO_CGROUP) {
        return Check::ok("memlock", "tables are charged to the cgroup, not to the limit of locked memory");
    }
    match getrlimit(Resource::Memlock).current {
        Some(bytes) if bytes < TABLES_BYTES => Check::warn(
            "memlock",
            format!(
                "the limit of locked memory is {} KiB, and this kernel charges the tables to it",
                bytes >> 10
            ),
            "raise it: `ulimit -l unlimited` (LimitMEMLOCK=infinity in a systemd unit)",
        ),
        Some(bytes) => Check::ok("memlock", format!("{} MiB", bytes >> 20)),
        None => Check::ok("memlock", "unlimited"),
    }
}

/// Whether files can be made in `dir`, or it can be made itself.
pub(super) fn writable(name: &str, dir: &Path, flag: &str) -> Check {
    let shown = dir.display();
    let Some(existing) = nearest_existing(dir) else {
        return Check::fail(name, format!("{shown} cannot be reached"), format!("name another with {flag}"));
    };
    if !existing.is_dir() {
        return Check::fail(
            name,
            format!("{} is not a directory", existing.display()),
            format!("move it away, or name another place with {flag}"),
        );
    }
    if let Err(error) = access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        return Check::fail(
            name,
            format!("{} is not writable: {error}", existing.display()),
            format!("run as root, or name another place with {flag}"),
        );
    }
    if existing == dir {
        Check::ok(name, shown.to_string())
    } else {
        Check::ok(name, format!("{shown} (made when the agent starts)"))
    }
}

fn nearest_existing(path: &Path) -> Option<&Path> {
    // A relative name of one part has the empty path as its parent, which means here.
    path.ancestors().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p }).find(|p| p.exists())
}

#[cfg(test)]
mod tests {
    use super::super::CheckStatus;
    use super::*;

    #[test]
    fn sys_admin_stands_in_for_the_newer_ones() {
        let old = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
        assert_eq!(missing_capabilities(old), Vec::<&str>::new());
        let cut = CapabilitySet::BPF | CapabilitySet::NET_ADMIN;
        assert_eq!(missing_capabilities(cut), ["CAP_PERFMON", "CAP_SYS_ADMIN"]);
        assert_eq!(missing_capabilities(CapabilitySet::empty()).len(), 4);
    }

    #[test]
    fn the_innermost_mount_counts() {
        let text = "22 1 0:20 / / rw - ext4 /dev/vda rw\n\
                    23 22 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
                    24 23 0:22 / /sys/fs/bpf rw - bpf bpf rw\n\
                    25 22 0:23 / /with\\040space rw - tmpfs none rw\n";
        let mounts = parse_mounts(text);
        assert_eq!(mounts.len(), 4);
        let kind = |path: &str| mount_of(&mounts, Path::new(path)).map(|m| m.kind.as_str());
        assert_eq!(kind("/sys/fs/bpf/portcullis"), Some("bpf"));
        assert_eq!(kind("/sys/fs"), Some("sysfs"));
        assert_eq!(kind("/sys/fs/bpffs"), Some("sysfs"));
        assert_eq!(kind("/with space/x"), Some("tmpfs"));
    }

    #[test]
    fn a_place_that_can_be_made_is_good_enough() {
        let dir = std::env::temp_dir().join(format!("pc-writable-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(writable("d", &dir, "--d").status, CheckStatus::Ok);
        assert!(writable("d", &dir.join("a/b"), "--d").detail.contains("made when"));
        fs::write(dir.join("file"), "").unwrap();
        assert_eq!(writable("d", &dir.join("file"), "--d").status, CheckStatus::Fail);
        assert_eq!(writable("d", &dir.join("file/x"), "--d").status, CheckStatus::Fail);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_plain_directory_is_no_bpffs() {
        let check = bpffs(&std::env::temp_dir());
        assert_eq!(check.status, CheckStatus::Fail);
        assert!(check.remedy.is_some_and(|remedy| remedy.contains("mount -t bpf")));
    }
}
