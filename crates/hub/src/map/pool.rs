//! Texts, and sets of texts, that many have in common.

use std::collections::HashSet;
use std::sync::Arc;

/// Swept when it has grown to twice what was in use then, but not below this.
const LEAST: usize = 1024;

/// Keeps each once.
#[derive(Debug, Default)]
pub struct Pool {
    texts: HashSet<Arc<str>>,
    sets: HashSet<Arc<[Arc<str>]>>,
    sweep_at: usize,
}

impl Pool {
    /// The one that is this text.
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        self.sweep();
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        new
    }

    /// The one that is this list.
    pub fn set(&mut self, texts: &[Arc<str>]) -> Arc<[Arc<str>]> {
        if let Some(known) = self.sets.get(texts) {
            return Arc::clone(known);
        }
        self.sweep();
        let texts: Vec<Arc<str>> = texts.iter().map(|text| self.text(text)).collect();
        let new: Arc<[Arc<str>]> = texts.into();
        self.sets.insert(Arc::clone(&new));
        new
    }

    /// What nobody else has goes.
    fn sweep(&mut self) {
        let size = self.texts.len() + self.sets.len();
        if size < self.sweep_at.max(LEAST) {
            return;
        }
        self.sets.retain(|set| Arc::strong_count(set) > 1);
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        self.sweep_at = 2 * (self.texts.len() + self.sets.len());
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.texts.len() + self.sets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_kept_once_and_what_is_not_used_goes() {
        let mut pool = Pool::default();
        let (a, b) = (pool.text("shop"), pool.text("shop"));
        assert!(Arc::ptr_eq(&a, &b));
        let set = [pool.text("x"), pool.text("y")];
        assert!(Arc::ptr_eq(&pool.set(&set), &pool.set(&set.clone())));
        for n in 0..100_000 {
            pool.text(&n.to_string());
        }
        assert!(pool.len() < 3 * LEAST, "{}", pool.len());
        assert!(Arc::ptr_eq(&a, &pool.text("shop")));
    }
}
