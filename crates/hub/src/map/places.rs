//! On which nodes something is: nearly always on one.

/// A node, by its number in the store.
pub type NodeId = u32;

/// Some nodes, in little memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Places {
    /// One, and how often it is there.
    One(NodeId, u32),
    /// Several. (In a box of its own, since there are millions of the other kind.)
    #[expect(clippy::box_collection, reason = "half as large as a Vec")]
    Many(Box<Vec<(NodeId, u32)>>),
}

impl Places {
    /// It is on this node.
    pub const fn new(node: NodeId) -> Self {
        Self::One(node, 1)
    }

    /// It is on this node, too; or once more.
    pub fn add(&mut self, node: NodeId) {
        match self {
            Self::One(known, times) if *known == node => *times += 1,
            Self::One(known, times) => *self = Self::Many(Box::new(vec![(*known, *times), (node, 1)])),
            Self::Many(all) => match all.iter_mut().find(|(known, _)| *known == node) {
                Some((_, times)) => *times += 1,
                None => all.push((node, 1)),
            },
        }
    }

    /// It is on this node once less. Whether it is nowhere any more.
    pub fn remove(&mut self, node: NodeId) -> bool {
        match self {
            Self::One(known, times) => {
                if *known == node {
                    *times = times.saturating_sub(1);
                }
                *times == 0
            }
            Self::Many(all) => {
                if let Some(at) = all.iter().position(|(known, _)| *known == node) {
                    all[at].1 -= 1;
                    if all[at].1 == 0 {
                        all.remove(at);
                    }
                }
                if let [(node, times)] = all[..] {
                    *self = Self::One(node, times);
                    return false;
                }
                all.is_empty()
            }
        }
    }

    /// The nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let (one, many) = match self {
            Self::One(node, _) => (Some(*node), &[][..]),
            Self::Many(all) => (None, &all[..]),
        };
        one.into_iter().chain(many.iter().map(|(node, _)| *node))
    }

    /// Whether there are several.
    pub const fn is_many(&self) -> bool {
        matches!(self, Self::Many(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_and_go() {
        let mut places = Places::new(1);
        places.add(1);
        places.add(2);
        assert!(places.is_many());
        assert_eq!(places.nodes().collect::<Vec<_>>(), [1, 2]);
        assert!(!places.remove(2) && !places.is_many());
        assert!(!places.remove(1) && !places.remove(7));
        assert!(places.remove(1));
        assert_eq!(size_of::<Places>(), 16);
    }
}
