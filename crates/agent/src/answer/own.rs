//! Which container the agent itself runs in, if any: that one is never ended.

/// Shortest id that is looked for: anything shorter could stand in a path by chance.
const SHORTEST_ID: usize = 12;

/// Traces that a runtime leaves in a process of its container.
#[derive(Clone, Debug, Default)]
pub struct Own {
    traces: String,
}

impl Own {
    /// Looks at this process: its cgroup, and where the files that runtimes mount come from (in a cgroup
    /// namespace the path of the cgroup says nothing).
    #[must_use]
    pub fn of_this_process() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::from_traces(&[read("/proc/self/cgroup"), read("/proc/self/mountinfo")].join("\n"))
    }

    pub(super) fn from_traces(text: &str) -> Self {
        // Of the mounts only those of the runtimes' own files: a host's process sees every container's root.
        let ours = |line: &&str| {
            !line.contains(" - ")
                || [" /etc/hostname ", " /etc/hosts ", " /etc/resolv.conf "].iter().any(|m| line.contains(m))
        };
        Self { traces: text.lines().filter(ours).collect::<Vec<_>>().join("\n") }
    }

    /// Whether that container is the one that the agent runs in.
    #[must_use]
    pub fn is(&self, container: &str) -> bool {
        container.len() >= SHORTEST_ID && self.traces.contains(container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_container_is_recognised_by_its_traces() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let other = id.replace('0', "f");
        let docker = format!("0::/system.slice/docker-{id}.scope");
        assert!(Own::from_traces(&docker).is(id) && !Own::from_traces(&docker).is(&other));
        let mounted = format!(
            "0::/\n1 2 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n\
             3 2 0:9 / /var/lib/docker/overlay2/{other}/merged rw - overlay overlay rw"
        );
        assert!(Own::from_traces(&mounted).is(id));
        assert!(!Own::from_traces(&mounted).is(&other), "a mount of another container says nothing about us");
        assert!(!Own::from_traces(&docker).is("") && !Own::from_traces(&docker).is("0123"));
    }
}
