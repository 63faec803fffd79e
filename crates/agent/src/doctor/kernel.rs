//! What the running kernel is and has.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::Check;

/// The oldest kernel that every program is tested on.
const FLOOR: Version = Version(5, 10);
/// First kernel with TCX (commit e420bed02507).
const TCX: Version = Version(6, 6);
/// First kernel with netkit (commit 35dfaad7188c).
const NETKIT: Version = Version(6, 7);

/// Major and minor number of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl Version {
    /// Reads `6.1.0-18-amd64`.
    pub(super) fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// Release of the running kernel; empty where it cannot be read.
pub(super) fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Which of the symbols that we ask for the kernel has. They tell of backports, and of features
/// left out of a build, which a version number does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Symbols {
    /// Whether the list could be read at all; otherwise the version has to do.
    known: bool,
    tcx: bool,
    netkit: bool,
    clsact: bool,
    cls_bpf: bool,
}

impl Symbols {
    pub(super) fn read(path: &Path) -> Self {
        fs::File::open(path).map(|file| Self::scan(BufReader::new(file))).unwrap_or_default()
    }

    fn scan(lines: impl BufRead) -> Self {
        let mut found = Self::default();
        // `address type name [module]`
        for line in lines.lines().map_while(Result::ok) {
            let Some(name) = line.split_ascii_whitespace().nth(2) else { continue };
            found.known = true;
            match name {
                "tcx_prog_attach" | "tcx_link_attach" => found.tcx = true,
                "netkit_prog_attach" | "netkit_link_attach" => found.netkit = true,
                "clsact_init" => found.clsact = true,
                "cls_bpf_init" => found.cls_bpf = true,
                _ => {}
            }
        }
        found
    }
}

pub(super) fn floor(release: &str, version: Option<Version>) -> Check {
    match version {
        Some(version) if version >= FLOOR => Check::ok("kernel", release),
        Some(_) => Check::fail(
            "kernel",
            format!("{release} is older than {}.{}", FLOOR.0, FLOOR.1),
            "boot a kernel of 5.10 or newer (Debian 11, Ubuntu 22.04 and later have one)",
        ),
        None => Check::warn(
            "kernel",
            format!("the release {release:?} is not understood"),
            "see that it is 5.10 or newer: `uname -r`",
        ),
    }
}

/// TCX, or the queueing discipline that stands in for it.
pub(super) fn tcx(symbols: &Symbols, version: Option<Version>, release: &str) -> Check {
    let tcx = if symbols.known { symbols.tcx } else { version >= Some(TCX) };
    if tcx {
        return Check::ok("attachment", "tcx: programs stand first on the hook, held by pinned links");
    }
    let modules = format!("/lib/modules/{release}/modules.dep");
    let modules = fs::read_to_string(modules).unwrap_or_default();
    let clsact = symbols.clsact || modules.contains("/sch_ingress.ko");
    let cls_bpf = symbols.cls_bpf || modules.contains("/cls_bpf.ko");
    if symbols.known && !(clsact && cls_bpf) {
        return Check::fail(
            "attachment",
            "neither tcx nor clsact: this kernel has nowhere to attach to",
            "use a kernel with CONFIG_BPF_SYSCALL and CONFIG_NET_XGRESS (6.6 or newer), or CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF",
        );
    }
    Check::warn(
        "attachment",
        "clsact: no tcx before Linux 6.6; the gate works, but another program can take its place until the agent puts it back",
        "boot a kernel of 6.6 or newer to have the kernel hold the place",
    )
}

/// netkit devices only matter to those who have them.
pub(super) fn netkit(symbols: &Symbols, version: Option<Version>) -> Check {
    let has = if symbols.known { symbols.netkit } else { version >= Some(NETKIT) };
    Check::ok(
        "netkit",
        match (has, version >= Some(NETKIT)) {
            (true, _) => "supported",
            (false, true) => "not in this kernel (CONFIG_NETKIT is off); only netkit interfaces need it",
            (false, false) => "not in this kernel (it came with 6.7); only netkit interfaces need it",
        },
    )
}

pub(super) fn btf(path: &Path) -> Check {
    if path.exists() {
        return Check::ok("btf", path.display().to_string());
    }
    Check::warn(
        "btf",
        format!("{} does not exist", path.display()),
        "nothing of ours needs it; tools such as bpftool show more with CONFIG_DEBUG_INFO_BTF",
    )
}

pub(super) fn jit(path: &Path) -> Check {
    match fs::read_to_string(path).as_deref().map(str::trim) {
        Ok("0") => Check::warn(
            "jit",
            "off: every frame is checked by an interpreter, several times slower",
            "switch it on: `sysctl -w net.core.bpf_jit_enable=1`",
        ),
        Ok(_) => Check::ok("jit", "on"),
        // Only the first network namespace has the setting, and only root may read it.
        Err(_) => Check::ok(
            "jit",
            "cannot be told from here (set for the whole machine in the first network namespace)",
        ),
    }
}

pub(super) fn unprivileged(path: &Path) -> Check {
    match fs::read_to_string(path).as_deref().map(str::trim) {
        Ok("0") => Check::warn(
            "unprivileged-bpf",
            "every user may load programs, which widens what the kernel exposes",
            "forbid it: `sysctl -w kernel.unprivileged_bpf_disabled=1` (the agent does not need it)",
        ),
        Ok(_) => Check::ok("unprivileged-bpf", "forbidden to ordinary users, as it should be"),
        Err(_) => Check::ok("unprivileged-bpf", "not a setting of this kernel"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::CheckStatus;
    use super::*;

    #[test]
    fn versions_are_read_from_releases() {
        assert_eq!(Version::parse("6.1.0-18-amd64"), Some(Version(6, 1)));
        assert_eq!(Version::parse("5.10"), Some(Version(5, 10)));
        assert_eq!(Version::parse("six"), None);
        assert!(Version(6, 6) > Version(5, 15));
    }

    #[test]
    fn old_kernels_fail_and_new_ones_do_not() {
        assert_eq!(floor("5.4.0", Version::parse("5.4.0")).status, CheckStatus::Fail);
        assert_eq!(floor("5.10.0", Version::parse("5.10.0")).status, CheckStatus::Ok);
        assert_eq!(floor("", None).status, CheckStatus::Warn);
    }

    #[test]
    fn symbols_rule_over_the_version() {
        let list = "0000 T tcx_link_attach\n0000 t clsact_init\t[sch_ingress]\n0000 t cls_bpf_init\n";
        let backport = Symbols::scan(list.as_bytes());
        assert_eq!(tcx(&backport, Some(Version(6, 1)), "x").status, CheckStatus::Ok);
        let without = Symbols { tcx: false, ..backport };
        assert_eq!(tcx(&without, Some(Version(6, 12)), "x").status, CheckStatus::Warn);
        let bare = Symbols { known: true, ..Symbols::default() };
        assert_eq!(tcx(&bare, Some(Version(6, 12)), "x").status, CheckStatus::Fail);
        let unknown = Symbols::default();
        assert_eq!(tcx(&unknown, Some(Version(6, 6)), "x").status, CheckStatus::Ok);
        assert_eq!(tcx(&unknown, Some(Version(6, 5)), "x").status, CheckStatus::Warn);
    }

    #[test]
    fn a_sleeping_jit_is_told() {
        let path = std::env::temp_dir().join(format!("pc-jit-{}", std::process::id()));
        fs::write(&path, "0\n").unwrap();
        assert_eq!(jit(&path).status, CheckStatus::Warn);
        fs::write(&path, "1\n").unwrap();
        assert_eq!(jit(&path).status, CheckStatus::Ok);
        fs::remove_file(&path).unwrap();
        assert_eq!(jit(&path).status, CheckStatus::Ok);
    }
}
