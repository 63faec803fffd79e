//! What this kernel can do. Probed, not guessed from its version.

use std::fs;

use crate::sys;

/// What this kernel can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Programs attach to TCX (6.6); else to clsact.
    pub tcx: bool,
    /// XDP programs can make SYN cookies and look at them (6.0, and a kernel that is built with SYN cookies).
    pub syn_cookies: bool,
}

impl Features {
    /// Asks the kernel.
    #[must_use]
    pub fn detect() -> Self {
        // A kernel without TCX does not know the attach type (EINVAL); with it, the loopback
        // interface answers, and a namespace without interface 1 says ENODEV.
        let tcx = match sys::query(1, sys::TCX_INGRESS) {
            Ok(_) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENODEV),
        };
        Self { tcx, syn_cookies: sys::has_syn_cookies() }
    }

    /// Whether this process may use what we need, told by a question that changes nothing.
    pub(crate) fn is_permitted() -> bool {
        !matches!(sys::query(1, sys::TCX_INGRESS), Err(error) if error.raw_os_error() == Some(libc::EPERM))
    }
}

/// CPUs that there may be: per-CPU values have one for each.
#[must_use]
pub fn possible_cpus() -> usize {
    fs::read_to_string("/sys/devices/system/cpu/possible")
        .ok()
        .and_then(|list| count(list.trim()))
        .unwrap_or(1)
}

/// Counts a list such as `0-3,8`.
fn count(list: &str) -> Option<usize> {
    list.split(',').try_fold(0, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(sum + last.checked_sub(first)? + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn cpu_lists() {
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("0-3"), Some(4));
        assert_eq!(count("0-3,8,10-11"), Some(7));
        assert_eq!(count("x"), None);
    }
}
