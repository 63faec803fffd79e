//! What the agent asks for; kept while the runtime cannot be asked.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// More sandboxes to look at than this are all of them.
const MOST: usize = 1024;

/// What the agent asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Look at this sandbox.
    LookAt(String),
    /// It was stopped by us: look until it is seen to be gone.
    Stopped(String),
    /// Read everything anew, and tell it all.
    Resync,
}

/// Wishes that were not fulfilled yet.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    open: Mutex<Open>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Open {
    look_at: HashSet<String>,
    stopped: HashSet<String>,
    resync: bool,
}

impl Wishes {
    /// Adds one.
    pub fn add(&self, wish: Wish) {
        let mut open = self.lock();
        match wish {
            Wish::LookAt(id) if open.look_at.len() < MOST => drop(open.look_at.insert(id)),
            Wish::Stopped(id) => drop(open.stopped.insert(id)),
            Wish::LookAt(_) | Wish::Resync => open.resync = true,
        }
        drop(open);
        self.more.notify_one();
    }

    /// Takes one, as soon as there is one.
    pub async fn next(&self) -> Wish {
        loop {
            if let Some(wish) = self.lock().take() {
                return wish;
            }
            self.more.notified().await;
        }
    }

    /// Everything is about to be read anyway.
    pub fn clear(&self) {
        *self.lock() = Open::default();
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn take(&mut self) -> Option<Wish> {
        if std::mem::take(&mut self.resync) {
            return Some(Wish::Resync);
        }
        if let Some(id) = self.stopped.iter().next().cloned() {
            self.stopped.remove(&id);
            return Some(Wish::Stopped(id));
        }
        let id = self.look_at.iter().next().cloned()?;
        self.look_at.remove(&id);
        Some(Wish::LookAt(id))
    }
}
