//! Attachments without the wait.
//!
//! Attaching to TCX waits for a grace period under the lock of all interfaces (`tcx_entry_sync`, Linux
//! 6.6): 13 ms each time, in which no interface of the host can be changed. Expedited, it is a tenth of a
//! millisecond, at the price of short interruptions of all CPUs. So the switch is on while programs are
//! attached and detached, and at no other time.
//!
//! The switch is the host's. Whatever it was before is put back, by whichever of our threads is the last to
//! need it. A process that dies meanwhile leaves a mark, a symbolic link beside the pins that names it, and
//! the next one puts the switch back.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SWITCH: &str = "/sys/kernel/rcu_expedited";
/// Name of the mark. (The BPF file system has no plain files.)
const MARK: &str = "expedited";

static STATE: Mutex<State> = Mutex::new(State { holders: 0, is_ours: false, mark: None });

/// What all threads of this process know of the switch.
struct State {
    /// Guards that live.
    holders: usize,
    /// Whether we turned it on.
    is_ours: bool,
    /// Where to leave the mark.
    mark: Option<PathBuf>,
}

/// While this lives, the kernel's grace periods are expedited. Where the switch cannot be written, nothing
/// changes.
#[derive(Debug)]
pub struct Expedited(());

impl Expedited {
    /// For so many attachments.
    #[must_use]
    pub fn for_attachments(count: usize) -> Self {
        let mut state = state();
        state.holders += 1;
        if count > 0 && !state.is_ours {
            state.is_ours = state.turn_on();
        }
        Self(())
    }

    /// Puts back what a process that died left on, and leaves marks of our own in this directory from
    /// here on.
    pub(crate) fn watch_over(directory: &Path) {
        let mark = directory.join(MARK);
        if fs::read_link(&mark).is_ok_and(|owner| !is_alive(&owner)) {
            tracing::warn!("{SWITCH} was left on by a process that died; turning it off");
            turn_off(Some(&mark));
        }
        state().mark = Some(mark);
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        let mut state = state();
        state.holders = state.holders.saturating_sub(1);
        if state.holders == 0 && std::mem::take(&mut state.is_ours) {
            turn_off(state.mark.as_deref());
        }
    }
}

impl State {
    /// Turns it on if it is off; says whether it did.
    fn turn_on(&self) -> bool {
        if fs::read_to_string(SWITCH).is_ok_and(|now| now.trim() != "0") {
            return false;
        }
        if let (Some(mark), Some(identity)) = (&self.mark, identity()) {
            let _best_effort = symlink(identity, mark);
        }
        let on = fs::write(SWITCH, "1").is_ok();
        if !on {
            forget(self.mark.as_deref());
        }
        on
    }
}

fn turn_off(mark: Option<&Path>) {
    match fs::write(SWITCH, "0") {
        Ok(()) => forget(mark),
        Err(error) => tracing::warn!(%error, "cannot restore {SWITCH}: write 0 to it"),
    }
}

fn forget(mark: Option<&Path>) {
    if let Some(Err(error)) = mark.map(fs::remove_file)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "cannot remove the mark of {SWITCH}");
    }
}

fn state() -> MutexGuard<'static, State> {
    // Nothing panics while it is held, and what is in it is sound by itself.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This process as a mark names it: its id and when it began, so that a later one of the same id is another.
fn identity() -> Option<String> {
    let pid = std::process::id();
    Some(format!("{pid}-{}", started(pid)?))
}

/// Whether the process that a mark names still runs.
fn is_alive(mark: &Path) -> bool {
    let named = mark.to_str().and_then(|mark| mark.split_once('-'));
    named.is_some_and(|(pid, start)| {
        pid.parse().ok().and_then(started).is_some_and(|started| started == start)
    })
}

/// When a process began, in ticks since the host did (proc(5), field 22 of `stat`).
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{identity, is_alive};
    use std::path::Path;

    #[test]
    fn a_mark_names_one_process_for_good() {
        let own = identity().unwrap();
        assert!(is_alive(Path::new(&own)));
        for stranger in [format!("{own}0"), "1".to_owned(), "4294967295-1".to_owned(), "x-y".to_owned()] {
            assert!(!is_alive(Path::new(&stranger)), "{stranger}");
        }
    }
}
