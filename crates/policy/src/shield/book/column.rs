//! Keys in order, each with a number beside it.

/// What entries are ordered by.
pub(super) trait Key: Copy + Ord {}

impl<K: Copy + Ord> Key for K {}

/// Keys in order, each with the number of its [`super::list::Meta`].
#[derive(Clone, Debug)]
pub(super) struct Column<K> {
    pub keys: Vec<K>,
    pub metas: Vec<u32>,
}

impl<K> Default for Column<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), metas: Vec::new() }
    }
}

impl<K: Key> Column<K> {
    /// Of pairs in any order; of a key that is there several times the last one counts.
    pub fn of(mut pairs: Vec<(K, u32)>) -> Self {
        // Numbers grow in the order of the pairs, so that the last one is behind the others.
        pairs.sort_unstable();
        let mut column =
            Self { keys: Vec::with_capacity(pairs.len()), metas: Vec::with_capacity(pairs.len()) };
        for (key, meta) in pairs {
            match (column.keys.last(), column.metas.last_mut()) {
                (Some(last), Some(kept)) if *last == key => *kept = meta,
                _ => {
                    column.keys.push(key);
                    column.metas.push(meta);
                }
            }
        }
        column
    }

    pub fn get(&self, key: K) -> Option<u32> {
        let at = self.keys.binary_search(&key).ok()?;
        self.metas.get(at).copied()
    }

    /// Puts a key; answers what was there.
    pub fn put(&mut self, key: K, meta: u32) -> Option<u32> {
        match self.keys.binary_search(&key) {
            Ok(at) => self.metas.get_mut(at).map(|kept| std::mem::replace(kept, meta)),
            Err(at) => {
                self.keys.insert(at, key);
                self.metas.insert(at, meta);
                None
            }
        }
    }

    /// Takes a key away; answers whether it was there.
    pub fn remove(&mut self, key: K) -> bool {
        let Ok(at) = self.keys.binary_search(&key) else { return false };
        self.keys.remove(at);
        self.metas.remove(at);
        true
    }

    pub fn iter(&self) -> impl Iterator<Item = (K, u32)> + '_ {
        self.keys.iter().copied().zip(self.metas.iter().copied())
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Keys that are here and not there.
    pub fn count_beyond(&self, other: &Self) -> u64 {
        let mut theirs = other.keys.iter().peekable();
        let is_missing = |key: &&K| {
            while theirs.next_if(|their| *their < *key).is_some() {}
            theirs.peek() != Some(key)
        };
        self.keys.iter().filter(is_missing).count() as u64
    }

    /// Keeps what fits; answers what went.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) -> Vec<K> {
        let gone: Vec<K> = self.iter().filter(|(_, meta)| !keep(*meta)).map(|(key, _)| key).collect();
        if gone.is_empty() {
            return gone;
        }
        let kept: Vec<(K, u32)> = self.iter().filter(|(_, meta)| keep(*meta)).collect();
        (self.keys, self.metas) = kept.into_iter().unzip();
        gone
    }
}
