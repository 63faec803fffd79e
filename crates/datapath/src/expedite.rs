//! Many attachments in a short time.

use std::fs;

const SWITCH: &str = "/sys/kernel/rcu_expedited";

/// While this lives, the kernel's grace periods are expedited.
///
/// Attaching to TCX waits for a grace period under the lock of all interfaces
/// (`tcx_entry_sync`, Linux 6.6): 13 ms each time, two minutes for ten thousand endpoints, in which no
/// interface of the host can be changed. Expedited, it is a tenth of a millisecond, at the price
/// of short interruptions of all CPUs. Where the switch cannot be written, nothing changes.
#[derive(Debug)]
pub struct Expedited {
    before: Option<String>,
}

/// Attachments from which on it is worth it.
const WORTH_IT: usize = 16;

impl Expedited {
    /// For so many attachments.
    #[must_use]
    pub fn for_attachments(count: usize) -> Self {
        let before = fs::read_to_string(SWITCH).ok().filter(|now| count >= WORTH_IT && now.trim() == "0");
        let before = before.filter(|_| fs::write(SWITCH, "1").is_ok());
        Self { before }
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(error) = fs::write(SWITCH, before)
        {
            tracing::warn!(%error, "cannot restore {SWITCH}");
        }
    }
}
