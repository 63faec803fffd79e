//! What a cell with entries of its own comes to.

use portcullis_abi::shield::Class;

use super::Item;
use super::sweep::Around;
use crate::shield::Listing;

/// More single addresses than this make a bitmap.
pub(super) const MOST_HOSTS: usize = 24;

/// A bit for each address of a cell.
pub(super) type Bitmap = [u64; 4];

/// How a cell is to stand in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// All of it alike.
    Whole(Class),
    /// These of its addresses, by their last byte, by the favoured class.
    Hosts(Vec<u8>),
    /// Each class with its addresses.
    Bitmaps(Vec<(Class, Bitmap)>),
}

/// Works it out.
pub(super) fn content(around: Around, items: &[Item], favoured: Class) -> Content {
    if around.allowed {
        return Content::Whole(Class::NONE);
    }
    let plain = items.iter().all(|item| is_plain(*item, favoured));
    if around.class.is_none() && items.len() <= MOST_HOSTS && plain {
        return Content::Hosts(items.iter().map(|item| item.address() as u8).collect());
    }
    let classes = classes(around, items);
    if classes.iter().all(|class| *class == classes[0]) {
        return Content::Whole(classes[0]);
    }
    let hosts = classes.iter().filter(|class| !class.is_none()).count();
    let favoured_only = classes.iter().all(|class| class.is_none() || *class == favoured);
    // So that no list needs more tags than it has entries.
    if favoured_only && hosts <= items.len().min(MOST_HOSTS) {
        let listed = (0..=255u8).filter(|host| !classes[usize::from(*host)].is_none());
        return Content::Hosts(listed.collect());
    }
    Content::Bitmaps(bitmaps(&classes))
}

/// Whether an entry blocks one address, by the favoured class.
pub(super) fn is_plain(item: Item, favoured: Class) -> bool {
    item.len() == 32 && item.listing() == Listing::block(favoured)
}

/// Whom each address's entries block.
fn classes(around: Around, items: &[Item]) -> [Class; 256] {
    let mut classes = [around.class; 256];
    let range = |item: &Item| {
        let first = usize::from(item.address() as u8);
        first..first + (1usize << (32 - item.len().clamp(24, 32)))
    };
    // In this order a prefix comes before those within it.
    for item in items.iter().filter(|item| !item.listing().block.is_none()) {
        classes[range(item)].fill(item.listing().block);
    }
    for item in items.iter().filter(|item| item.listing().allow) {
        classes[range(item)].fill(Class::NONE);
    }
    classes
}

fn bitmaps(classes: &[Class; 256]) -> Vec<(Class, Bitmap)> {
    let mut found: Vec<(Class, Bitmap)> = Vec::new();
    for (host, class) in classes.iter().enumerate().filter(|(_, class)| !class.is_none()) {
        let at = found.iter().position(|(known, _)| known == class).unwrap_or_else(|| {
            found.push((*class, [0; 4]));
            found.len() - 1
        });
        found[at].1[host / 64] |= 1 << (host % 64);
    }
    found
}
