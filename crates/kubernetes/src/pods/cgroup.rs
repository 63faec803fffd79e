//! Which pod a process belongs to, by its cgroup.
//!
//! The kubelet makes a cgroup for each pod, and the runtime one in it for each container (and for the sandbox), whatever
//! runtime it is:
//!
//! - `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope` (systemd; dashes in
//!   the UID are underscores there)
//! - `/kubepods/burstable/pod<uid>/<id>` (cgroupfs)
//!
//! A container may make cgroups below its own and call them what it likes, so the outermost that names a pod counts.

/// A pod's UID as the kubelet writes it, and what comes below its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    uid: &'a str,
    /// The id of the container, or of the sandbox.
    pub container: Option<&'a str>,
}

impl Place<'_> {
    /// The UID, with dashes.
    pub fn uid(&self) -> String {
        self.uid.replace('_', "-")
    }
}

/// Where a process is, from its `/proc/PID/cgroup`.
pub(super) fn place(cgroups: &str) -> Option<Place<'_>> {
    // `ID:CONTROLLERS:PATH`, one line for each hierarchy: all say the same of a pod.
    cgroups.lines().find_map(|line| of_path(line.splitn(3, ':').nth(2)?))
}

fn of_path(path: &str) -> Option<Place<'_>> {
    let mut parts = path.split('/');
    let mut in_pods = false;
    loop {
        let part = parts.next()?;
        in_pods |= part.starts_with("kubepods") || part.contains("-kubepods");
        // Where containerd and the kubelet do not agree about systemd, both stand in one.
        let (pod, inside) = match part.split_once(".slice:") {
            Some((slice, inside)) => (slice, Some(inside)),
            None => (part.strip_suffix(".slice").unwrap_or(part), None),
        };
        if in_pods && let Some(uid) = uid_of(pod) {
            return Some(Place { uid, container: inside.or_else(|| parts.next()).and_then(container_of) });
        }
    }
}

fn uid_of(part: &str) -> Option<&str> {
    let uid = part.rsplit_once("-pod").map_or_else(|| part.strip_prefix("pod"), |(_, uid)| Some(uid))?;
    let plain = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_');
    ((16..=64).contains(&uid.len()) && uid.bytes().all(plain)).then_some(uid)
}

fn container_of(part: &str) -> Option<&str> {
    if part.contains("conmon") {
        return None; // CRI-O's watcher of a container, on the host's side
    }
    let scope = part.strip_suffix(".scope").unwrap_or(part);
    let id = scope.rsplit_once('-').map_or(scope, |(_, id)| id);
    let id = id.rsplit_once(':').map_or(id, |(_, id)| id);
    ((12..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b7c4c0e-6f2c-4f4b-9a53-2f7f2f0f3a11";
    const ID: &str = "9d1c2a5f0a8b4c7d8e9f00112233445566778899aabbccddeeff001122334455";

    #[test]
    fn pods_are_recognized_whoever_made_their_cgroups() {
        let underscored = UID.replace('-', "_");
        for path in [
            format!("/kubepods/burstable/pod{UID}/{ID}"),
            format!("/kubepods/pod{UID}/{ID}"),
            format!(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscored}.slice/cri-containerd-{ID}.scope"
            ),
            format!("/kubepods.slice/kubepods-pod{underscored}.slice/crio-{ID}.scope"),
            format!("/kubepods.slice/kubepods-pod{underscored}.slice/crio-{ID}.scope/container"),
            format!("/kubepods.slice/kubepods-pod{underscored}.slice/docker-{ID}.scope"),
            format!(
                "/system.slice/containerd.service/kubepods-burstable-pod{underscored}.slice:cri-containerd:{ID}"
            ),
            format!("/docker/{ID}/kubelet/kubepods/burstable/pod{UID}/{ID}"),
            format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{underscored}.slice/cri-containerd-{ID}.scope"
            ),
            format!("/../../kubepods/burstable/pod{UID}/{ID}"),
        ] {
            for cgroups in [format!("0::{path}\n"), format!("12:pids:{path}\n11:cpu,cpuacct:{path}\n0::/\n")]
            {
                let found = place(&cgroups).unwrap_or_else(|| panic!("{cgroups}"));
                assert_eq!((found.uid().as_str(), found.container), (UID, Some(ID)), "{cgroups}");
            }
        }
        let hash = "7e4f4f3f0a0b1c2d3e4f5a6b7c8d9e0f";
        assert!(place(&format!("0::/kubepods/burstable/pod{hash}/{ID}")).unwrap().uid() == hash);
    }

    #[test]
    fn what_a_container_makes_below_its_own_counts_for_nothing() {
        let other = "11111111-2222-3333-4444-555555555555";
        let path = format!("0::/kubepods/burstable/pod{UID}/{ID}/kubepods/pod{other}/{ID}");
        assert_eq!(place(&path).unwrap().uid(), UID);
        for path in [
            "0::/".to_owned(),
            "0::/system.slice/ssh.service".to_owned(),
            format!("0::/user.slice/pod{UID}/{ID}"),
            "0::/kubepods/burstable/podman/x".to_owned(),
            "0::/kubepods.slice/kubepods-burstable.slice".to_owned(),
            format!("0::/kubepods/pod{UID}x!/{ID}"),
            "garbage".to_owned(),
            String::new(),
        ] {
            assert_eq!(place(&path), None, "{path}");
        }
        let conmon = format!("0::/kubepods.slice/kubepods-pod{UID}.slice/crio-conmon-{ID}.scope");
        assert_eq!(place(&conmon).unwrap().container, None);
    }
}
